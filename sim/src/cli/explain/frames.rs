//! The example of a frame policy: a few blocks in a small memory.

use std::io::Write;

use framesim_models::frames::{
    AllocError, Explanation, FrameAllocator, FrameRequest, FrameRun, FrameSetting, PolicyChoice,
};
use framesim_models::{Coins, index};

use crate::Registries;
use crate::cli::exit::Failure;
use crate::report::map::{self, Holder};
use crate::report::steps::{self, Step, Why};

/// Frames of the example's memory.
const FRAMES: u64 = 24;

/// Leaves holes of 4, 7, 3 and 4 frames, in which first, best, worst and next fit each choose another for G.
const SCRIPT: &[(char, Ask)] = &[
    ('A', Ask::Take(4)),
    ('B', Ask::Take(2)),
    ('C', Ask::Take(7)),
    ('D', Ask::Take(2)),
    ('E', Ask::Take(3)),
    ('F', Ask::Take(2)),
    ('A', Ask::Give),
    ('C', Ask::Give),
    ('E', Ask::Give),
    ('G', Ask::Take(3)),
];

#[derive(Clone, Copy)]
enum Ask {
    Take(u64),
    Give,
}

/// Plays the script through the policy called `name` and shows each step; the last one with its reasons.
pub fn example(registries: &Registries, name: &str, screen: &mut impl Write) -> Result<(), Failure> {
    let setting = FrameSetting { frames: FRAMES, coins: Coins::from_key([0; 32]) };
    let built = registries.frames.build(name, &PolicyChoice::named(name), setting);
    let Some(Ok(policy)) = built else {
        // A policy whose default options do not suit so small a memory has rules, but no example.
        return Ok(());
    };
    let mut example = Example::new(policy);
    for &(block, ask) in &SCRIPT[..SCRIPT.len() - 1] {
        example.play(block, ask);
    }
    let last = SCRIPT[SCRIPT.len() - 1];
    let before = example.drawn();
    let explanation = example.explain(last.1);
    example.play(last.0, last.1);
    writeln!(screen, "\nAn example in {FRAMES} frames:\n")?;
    write!(screen, "{}", steps::table(&example.steps, &example.holders, FRAMES))?;
    if example.waste {
        writeln!(screen, "lower case: granted, but not asked for")?;
    }
    let why = Why { explanation: &explanation, before: &before, after: &example.drawn(), others: &[] };
    write!(screen, "\nstep {}, {}:\n{why}", example.steps.len(), example.steps[example.steps.len() - 1].request)?;
    Ok(())
}

/// The example as it is played.
struct Example {
    policy: Box<dyn FrameAllocator>,
    /// The most frames the policy hands out at once.
    limit: u64,
    holders: Vec<Holder>,
    /// Live blocks: the letter's holder number, frames asked for, and the run granted.
    live: Vec<(usize, u64, FrameRun)>,
    steps: Vec<Step>,
    waste: bool,
}

impl Example {
    fn new(policy: Box<dyn FrameAllocator>) -> Example {
        let limit = match policy.explain(&FrameRequest::frames(FRAMES / 2)).chosen {
            Err(AllocError::TooLarge { limit, .. }) => limit,
            _ => FRAMES,
        };
        // For each letter two holders: what was asked for, and what was granted beyond that.
        let letters =
            ('A'..='G').flat_map(|letter| [Holder::new(letter, ""), Holder::new(letter.to_ascii_lowercase(), "")]);
        let holders = std::iter::once(Holder::new('.', "free")).chain(letters).collect();
        Example { policy, limit, holders, live: Vec::new(), steps: Vec::new(), waste: false }
    }

    fn asked(&self, ask: Ask) -> u64 {
        match ask {
            Ask::Take(frames) => frames.min(self.limit),
            Ask::Give => 0,
        }
    }

    fn explain(&self, ask: Ask) -> Explanation {
        self.policy.explain(&FrameRequest::frames(self.asked(ask)))
    }

    fn play(&mut self, block: char, ask: Ask) {
        let holder = self.holders.iter().position(|holder| holder.sign == block).expect("a letter of the script");
        let (request, placed) = match ask {
            Ask::Take(_) => self.take(block, holder, self.asked(ask)),
            Ask::Give => self.give(block, holder),
        };
        self.steps.push(Step {
            number: self.steps.len() as u64 + 1,
            request,
            placed,
            memory: self.memory(),
            free: self.policy.free_frames(),
            longest: self.policy.largest_request(),
        });
    }

    fn take(&mut self, block: char, holder: usize, frames: u64) -> (String, String) {
        let answer = self.policy.allocate(&FrameRequest::frames(frames));
        if let Ok(run) = answer {
            self.live.push((holder, frames, run));
            self.waste |= run.frames > frames;
        }
        (format!("take {block}, {frames}"), answer.map_or_else(|_| "refused".to_owned(), |run| run.to_string()))
    }

    fn give(&mut self, block: char, holder: usize) -> (String, String) {
        let place = self.live.iter().position(|(letter, ..)| *letter == holder);
        let placed = place.map_or_else(
            || "not live".to_owned(),
            |place| {
                let (_, _, run) = self.live.remove(place);
                self.policy.free(run).expect("the example gives back what it took");
                run.to_string()
            },
        );
        (format!("give {block}"), placed)
    }

    /// All of memory, from the runs that were granted.
    fn memory(&self) -> Vec<(usize, u64)> {
        let mut owner = vec![0; index(FRAMES)];
        for &(holder, asked, run) in &self.live {
            for frame in 0..run.frames {
                owner[index(run.start.0 + frame)] = if frame < asked { holder } else { holder + 1 };
            }
        }
        owner.into_iter().map(|holder| (holder, 1)).collect()
    }

    fn drawn(&self) -> String {
        map::letters(&self.holders, self.memory(), 1)
    }
}
