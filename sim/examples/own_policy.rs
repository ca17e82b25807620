//! A frame policy of one's own: write it, register it, and every command knows it.
//!
//!     cargo run --release --example own_policy -- explain last_fit
//!     cargo run --release --example own_policy -- run workloads/textbook/sixteen_frames.ron --policy last_fit
//!
//! In a workload it is `frames: custom(name: "last_fit")`.

use std::process::ExitCode;

use framesim::{Registries, cli};
use framesim_models::frames::{
    AllocError, Explanation, FrameAllocator, FrameRequest, FrameRun, FrameSetting, FreeError, PolicyRegistry,
};
use framesim_models::registry::{BadOptions, CustomOptions, Model};
use framesim_models::{Violation, ensure, index};
use serde::{Deserialize, Serialize};

fn main() -> ExitCode {
    let mut registries = Registries::default();
    registries.frames.add(PolicyRegistry::custom::<LastFit>());
    cli::main(&registries, std::env::args_os())
}

/// Last fit: the highest free run that fits, from its high end.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LastFit {
    /// For the first frame of each live run, its length; 0 elsewhere.
    runs: Vec<u64>,
    taken: Vec<bool>,
}

impl Model<dyn FrameAllocator> for LastFit {
    const NAME: &'static str = "last_fit";
    const SUMMARY: &'static str = "the highest free run that fits, from its high end";
    const RULES: &'static str = "The highest free run that holds the request is used, from its high end.";
    type Options = CustomOptions;

    fn build(setting: FrameSetting, _options: &CustomOptions) -> Result<LastFit, BadOptions> {
        let frames = index(setting.frames);
        Ok(LastFit { runs: vec![0; frames], taken: vec![false; frames] })
    }
}

impl LastFit {
    fn holes(&self) -> Vec<FrameRun> {
        let mut holes: Vec<FrameRun> = Vec::new();
        for (frame, _) in self.taken.iter().enumerate().filter(|(_, taken)| !**taken) {
            match holes.last_mut() {
                Some(hole) if hole.end().0 == frame as u64 => hole.frames += 1,
                _ => holes.push(FrameRun::new(frame as u64, 1)),
            }
        }
        holes
    }

    fn choose(&self, request: &FrameRequest) -> Result<FrameRun, AllocError> {
        let (asked, free, holes) = (request.frames, self.free_frames(), self.holes());
        let place = |hole: &FrameRun| Some((hole.end().0.checked_sub(asked)? / request.align) * request.align);
        let fits = |hole: &FrameRun| place(hole).filter(|start| asked > 0 && hole.start.0 <= *start);
        let longest = self.largest_request();
        let none = match (asked, holes.len() as u64) {
            (0, _) => AllocError::Empty,
            (_, holes) if free < asked => AllocError::Shortage { asked, free, longest, holes },
            (_, holes) => AllocError::Fragmentation { asked, free, longest, holes },
        };
        holes.iter().rev().find_map(fits).map(|start| FrameRun::new(start, asked)).ok_or(none)
    }

    fn mark(&mut self, run: FrameRun, taken: bool) {
        self.taken[index(run.start.0)..index(run.end().0)].fill(taken);
        self.runs[index(run.start.0)] = if taken { run.frames } else { 0 };
    }
}

impl FrameAllocator for LastFit {
    fn allocate(&mut self, request: &FrameRequest) -> Result<FrameRun, AllocError> {
        let run = self.choose(request)?;
        self.mark(run, true);
        Ok(run)
    }

    fn free(&mut self, run: FrameRun) -> Result<(), FreeError> {
        match self.runs.get(index(run.start.0)) {
            Some(&frames) if frames == run.frames && frames > 0 => self.mark(run, false),
            _ => return Err(FreeError::NotLive(run)),
        }
        Ok(())
    }

    fn total_frames(&self) -> u64 {
        self.taken.len() as u64
    }

    fn free_frames(&self) -> u64 {
        self.taken.iter().filter(|taken| !**taken).count() as u64
    }

    fn largest_request(&self) -> u64 {
        self.holes().iter().map(|hole| hole.frames).max().unwrap_or(0)
    }

    fn holes(&self) -> u64 {
        LastFit::holes(self).len() as u64
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(FrameRun)) {
        LastFit::holes(self).into_iter().for_each(visit);
    }

    fn explain(&self, request: &FrameRequest) -> Explanation {
        let mut candidates = LastFit::holes(self);
        candidates.retain(|hole| hole.frames >= request.frames);
        candidates.reverse();
        let candidates_total = candidates.len() as u64;
        candidates.truncate(Explanation::SHOWN);
        Explanation { candidates, candidates_total, rule: "the highest run".to_owned(), chosen: self.choose(request) }
    }

    fn check(&self) -> Result<(), Violation> {
        let live: u64 = self.runs.iter().sum();
        let taken = self.total_frames() - self.free_frames();
        ensure(live == taken, || format!("live runs have {live} frames, {taken} are taken"))
    }
}
