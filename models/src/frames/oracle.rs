//! Every policy but buddy against a naive twin: a list of frames, searched from one end, that shares no code with them.

use std::fmt;

use proptest::prelude::*;

use super::fit::{Coalescing, FitOptions, JoinOptions, Place};
use super::{
    AllocError, FrameAllocator, FrameNumber, FrameRequest, FrameRun, FrameSetting, FreeError, PolicyChoice,
    PolicyRegistry,
};
use crate::Coins;

/// One frame: the piece of memory it belongs to, and whether that piece is taken.
#[derive(Clone, Copy, PartialEq)]
struct Cell {
    piece: u64,
    taken: bool,
}

struct Naive {
    cells: Vec<Cell>,
    pieces: u64,
    coalescing: Coalescing,
    place: Place,
    rover: usize,
    /// Free frames, the one to hand out first at the end.
    stack: Vec<usize>,
}

/// A free run that can hold a request, and the first frame it would get.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Found {
    hole: (usize, usize),
    at: usize,
}

impl Naive {
    fn new(frames: usize, coalescing: Coalescing, place: Place) -> Naive {
        let cells = vec![Cell { piece: 0, taken: false }; frames];
        Naive { cells, pieces: 1, coalescing, place, rover: 0, stack: (0..frames).rev().collect() }
    }

    /// Pieces from first frame to the frame after the last, ascending; free ones that touch are one if they join at once.
    fn runs(&self, taken: bool) -> Vec<(usize, usize)> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (frame, cell) in self.cells.iter().enumerate() {
            if cell.taken != taken {
                continue;
            }
            let same = frame > 0 && self.cells[frame - 1] == *cell;
            let joined =
                frame > 0 && !taken && !self.cells[frame - 1].taken && self.coalescing == Coalescing::Immediate;
            match runs.last_mut() {
                Some(run) if same || joined => run.1 = frame + 1,
                _ => runs.push((frame, frame + 1)),
            }
        }
        runs
    }

    fn paint(&mut self, from: usize, to: usize, taken: bool) {
        self.cells[from..to].fill(Cell { piece: self.pieces, taken });
        self.pieces += 1;
    }

    fn join_all(&mut self) -> bool {
        let before = self.runs(false).len();
        for frame in 1..self.cells.len() {
            if !self.cells[frame].taken && !self.cells[frame - 1].taken {
                self.cells[frame] = self.cells[frame - 1];
            }
        }
        self.runs(false).len() < before
    }

    /// First frames at which `request` fits into frames `from..to`.
    fn starts(from: usize, to: usize, request: &FrameRequest) -> Vec<usize> {
        let fits = |at: &usize| {
            let (first, end) = (*at as u64, *at as u64 + request.frames);
            first % request.align == 0 && end <= to as u64 && request.below.is_none_or(|below| end <= below.0)
        };
        (from..to).filter(fits).collect()
    }

    /// All places for `request`, the one it gets first; for random fit in no order.
    fn candidates(&self, policy: &str, request: &FrameRequest) -> Vec<Found> {
        let at = |hole: (usize, usize), from: usize, place: Place| {
            let starts = Naive::starts(from, hole.1, request);
            let at = if place == Place::Low { starts.first() } else { starts.last() };
            at.map(|at| Found { hole, at: *at })
        };
        let mut holes = self.runs(false);
        let whole =
            |holes: Vec<(usize, usize)>, place| holes.into_iter().filter_map(move |hole| at(hole, hole.0, place));
        if self.place == Place::High {
            holes.reverse();
        }
        match policy {
            "first_fit" | "random_fit" => whole(holes, self.place).collect(),
            "best_fit" => {
                holes.sort_by_key(|hole| hole.1 - hole.0);
                whole(holes, self.place).collect()
            }
            "worst_fit" => {
                holes.sort_by_key(|hole| usize::MAX - (hole.1 - hole.0));
                whole(holes, self.place).collect()
            }
            "next_fit" => {
                let part = holes.iter().find(|hole| hole.0 < self.rover && self.rover < hole.1);
                let part = part.and_then(|hole| at(*hole, self.rover, Place::Low));
                holes.sort_by_key(|hole| hole.0 < self.rover);
                part.into_iter().chain(whole(holes, Place::Low)).collect()
            }
            "next_hole" => {
                holes.sort_by_key(|hole| hole.1 <= self.rover);
                whole(holes, Place::Low).collect()
            }
            "free_stack" => {
                let frames = self.stack.iter().rev().map(|frame| (*frame, frame + 1)).collect();
                whole(frames, Place::Low).collect()
            }
            _ => unreachable!("no twin for {policy}"),
        }
    }

    /// Free runs that a search along a list looks at until it takes the first of `found`.
    fn looked_at(&self, policy: &str, found: &[Found]) -> usize {
        let mut holes = self.runs(false);
        let inside = holes.iter().find(|hole| hole.0 < self.rover && self.rover < hole.1).copied();
        match policy {
            "first_fit" if self.place == Place::High => holes.reverse(),
            "first_fit" => {}
            "next_fit" => {
                holes.sort_by_key(|hole| hole.0 < self.rover);
                if let Some(hole) = inside {
                    holes.insert(0, hole);
                    // The part above the rover was looked at first; the whole run comes again at the end.
                    if found.first().is_some_and(|found| found.hole == hole && found.at < self.rover) {
                        return holes.iter().rposition(|other| *other == hole).unwrap() + 1;
                    }
                }
            }
            "next_hole" => holes.sort_by_key(|hole| hole.1 <= self.rover),
            "free_stack" => holes = self.stack.iter().rev().map(|frame| (*frame, frame + 1)).collect(),
            _ => return holes.len(),
        }
        match found.first() {
            Some(found) => holes.iter().position(|hole| *hole == found.hole).unwrap() + 1,
            None => holes.len(),
        }
    }

    fn take(&mut self, found: Found, frames: usize) {
        let (hole, at) = (found.hole, found.at);
        self.paint(hole.0, at, false);
        self.paint(at, at + frames, true);
        self.paint(at + frames, hole.1, false);
        self.rover = at + frames;
        self.stack.retain(|frame| *frame != at);
    }

    fn give(&mut self, run: FrameRun) -> Result<(), FreeError> {
        let first = usize::try_from(run.start.0).unwrap_or(usize::MAX);
        let live = self.runs(true).into_iter().find(|live| live.0 <= first && first < live.1);
        let Some(live) = live else { return Err(FreeError::NotLive(run)) };
        let whole = FrameRun::new(live.0 as u64, (live.1 - live.0) as u64);
        if whole != run {
            return Err(FreeError::NotWhole { given: run, live: whole });
        }
        self.paint(live.0, live.1, false);
        self.stack.push(live.0);
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take(FrameRequest),
    /// The block handed out as this many-th, counted round.
    Give(usize),
    /// Whatever lies there.
    GiveAnything(FrameRun),
    Reload,
}

/// Prints as a script of a workload; what a script cannot say stands behind it.
#[derive(Clone)]
struct Script(Vec<Step>);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "script([")?;
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Take(request) => writeln!(
                    f,
                    "    take(\"b{number}\", {}), // aligned to {}, below {:?}",
                    request.frames, request.align, request.below
                )?,
                Step::Give(block) => writeln!(f, "    give(..), // live block {block}, counted round")?,
                Step::GiveAnything(run) => writeln!(f, "    // free of {run:?}")?,
                Step::Reload => writeln!(f, "    // written and read back")?,
            }
        }
        write!(f, "])")
    }
}

fn requests(frames: u64, frames_max: u64) -> impl Strategy<Value = FrameRequest> {
    let align = prop_oneof![6 => Just(1_u64), 1 => Just(2), 1 => Just(3), 1 => Just(8), 1 => Just(64)];
    let below = prop_oneof![5 => Just(None), 1 => (0..=frames + 1).prop_map(|frame| Some(FrameNumber(frame)))];
    let sizes = prop_oneof![4 => 1..=3_u64, 4 => 1..=frames_max, 1 => 0..=frames + 1];
    (sizes, align, below)
        .prop_map(|(frames, align, below)| FrameRequest { below, ..FrameRequest::frames(frames).aligned(align) })
}

fn scripts(frames: u64, frames_max: u64, steps: usize) -> impl Strategy<Value = Script> {
    let anything = (0..=frames, 0..=frames).prop_map(|(start, frames)| FrameRun::new(start, frames));
    let step = prop_oneof![
        10 => requests(frames, frames_max).prop_map(Step::Take),
        8 => any::<prop::sample::Index>().prop_map(|block| Step::Give(block.index(1 << 20))),
        1 => anything.prop_map(Step::GiveAnything),
        1 => Just(Step::Reload),
    ];
    prop::collection::vec(step, 1..steps).prop_map(Script)
}

fn policies() -> impl Strategy<Value = (PolicyChoice, Coalescing, Place)> {
    let coalescing = prop_oneof![
        2 => Just(Coalescing::Immediate),
        1 => Just(Coalescing::Deferred),
        1 => Just(Coalescing::Off),
    ];
    let place = prop_oneof![2 => Just(Place::Low), 1 => Just(Place::High)];
    (0..7, coalescing, place).prop_map(|(policy, coalescing, place)| {
        let fit = FitOptions { coalescing, place };
        let join = JoinOptions { coalescing };
        match policy {
            0 => (PolicyChoice::FirstFit(fit), coalescing, place),
            1 => (PolicyChoice::BestFit(fit), coalescing, place),
            2 => (PolicyChoice::WorstFit(fit), coalescing, place),
            3 => (PolicyChoice::NextFit(join), coalescing, Place::Low),
            4 => (PolicyChoice::NextHole(join), coalescing, Place::Low),
            5 => (PolicyChoice::RandomFit(join), coalescing, Place::Low),
            _ => (PolicyChoice::FreeStack(Default::default()), Coalescing::Immediate, Place::Low),
        }
    })
}

struct Twins {
    policy: Box<dyn FrameAllocator>,
    name: String,
    naive: Naive,
    live: Vec<FrameRun>,
}

impl Twins {
    fn new(frames: u64, choice: &PolicyChoice, coalescing: Coalescing, place: Place) -> Twins {
        let setting = FrameSetting { frames, coins: Coins::from_key([9; 32]) };
        let built = PolicyRegistry::default().build(choice.name(), choice, setting);
        let policy = built.expect("the policy is registered").expect("its options are good");
        let naive = Naive::new(crate::index(frames), coalescing, place);
        Twins { policy, name: choice.name().to_owned(), naive, live: Vec::new() }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Take(request) => self.take(request)?,
            Step::Give(_) if self.live.is_empty() => {}
            Step::Give(block) => {
                let run = self.live[block % self.live.len()];
                self.give(run)?;
            }
            Step::GiveAnything(run) => self.give(*run)?,
            Step::Reload => {
                let saved = self.policy.save();
                let restored = PolicyRegistry::default().restore(&self.name, &saved);
                self.policy = restored.expect("what was written can be read").clone();
                prop_assert_eq!(self.policy.save(), saved);
            }
        }
        self.compare()
    }

    fn take(&mut self, request: &FrameRequest) -> Result<(), TestCaseError> {
        let explained = self.policy.explain(request);
        let given = self.policy.allocate(request);
        prop_assert_eq!(explained.chosen, given, "explained otherwise than done");
        if request.frames == 0 {
            prop_assert_eq!(given, Err(AllocError::Empty));
            return Ok(());
        }
        if self.name == "free_stack" && request.frames > 1 {
            prop_assert_eq!(given, Err(AllocError::TooLarge { asked: request.frames, limit: 1 }));
            return Ok(());
        }
        let mut found = self.naive.candidates(&self.name, request);
        let mut looked_at = self.naive.looked_at(&self.name, &found);
        let enough = request.frames <= self.policy.free_frames() + given.map_or(0, |run| run.frames);
        if found.is_empty() && enough && self.naive.coalescing == Coalescing::Deferred && self.naive.join_all() {
            found = self.naive.candidates(&self.name, request);
            looked_at += self.naive.looked_at(&self.name, &found);
        }
        prop_assert_eq!(self.policy.last_search(), looked_at as u64);
        prop_assert_eq!(explained.candidates_total, found.len() as u64);
        if self.name == "random_fit" {
            // Its twin takes what the coins chose, as long as it is one of those that could be chosen.
            found.sort_by_key(|found| given.is_ok_and(|run| run.start.0 != found.at as u64));
            let told = explained.candidates.iter().all(|told| found.iter().any(|found| run_of(found.hole) == *told));
            prop_assert!(told, "explained {:?} out of {:?}", explained.candidates, found);
        } else {
            let expected: Vec<FrameRun> = found.iter().take(16).map(|found| run_of(found.hole)).collect();
            prop_assert_eq!(explained.candidates, expected);
        }
        let Some(first) = found.first() else { return self.compare_refusal(request, given) };
        prop_assert_eq!(given, Ok(FrameRun::new(first.at as u64, request.frames)));
        self.naive.take(*first, crate::index(request.frames));
        self.live.extend(given);
        Ok(())
    }

    fn compare_refusal(
        &self,
        request: &FrameRequest,
        given: Result<FrameRun, AllocError>,
    ) -> Result<(), TestCaseError> {
        let (asked, free) = (request.frames, self.policy.free_frames());
        let (longest, holes) = (self.policy.largest_request(), self.policy.holes());
        let expected = if asked > free {
            AllocError::Shortage { asked, free, longest, holes }
        } else {
            AllocError::Fragmentation { asked, free, longest, holes }
        };
        prop_assert_eq!(given, Err(expected));
        Ok(())
    }

    fn give(&mut self, run: FrameRun) -> Result<(), TestCaseError> {
        let given = self.policy.free(run);
        prop_assert_eq!(given, self.naive.give(run));
        if given.is_ok() {
            self.live.retain(|live| *live != run);
        }
        Ok(())
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.policy.check(), Ok(()));
        let mut runs = Vec::new();
        self.policy.for_each_free(&mut |run| runs.push(run));
        let expected: Vec<FrameRun> = self.naive.runs(false).into_iter().map(run_of).collect();
        prop_assert_eq!(self.policy.holes(), expected.len() as u64);
        prop_assert_eq!(self.policy.free_frames(), expected.iter().map(|run| run.frames).sum::<u64>());
        let longest = expected.iter().map(|run| run.frames).max().unwrap_or(0);
        let limit = if self.name == "free_stack" { 1 } else { u64::MAX };
        prop_assert_eq!(self.policy.largest_request(), longest.min(limit));
        prop_assert_eq!(runs, expected);
        Ok(())
    }
}

fn run_of(hole: (usize, usize)) -> FrameRun {
    FrameRun::new(hole.0 as u64, (hole.1 - hole.0) as u64)
}

fn run_script(
    frames: u64,
    (choice, coalescing, place): (PolicyChoice, Coalescing, Place),
    script: &Script,
) -> Result<(), TestCaseError> {
    let mut twins = Twins::new(frames, &choice, coalescing, place);
    script.0.iter().try_for_each(|step| twins.step(step))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]
    #[test]
    fn agrees_with_a_list_of_frames_on_a_small_memory(
        (frames, script) in (1..=200_u64).prop_flat_map(|frames| (Just(frames), scripts(frames, 12, 120))),
        policy in policies(),
    ) {
        run_script(frames, policy, &script)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn agrees_with_a_list_of_frames_on_a_large_memory(
        (frames, script) in (3_000..=20_000_u64).prop_flat_map(|frames| (Just(frames), scripts(frames, 700, 100))),
        policy in policies(),
    ) {
        run_script(frames, policy, &script)?;
    }
}
