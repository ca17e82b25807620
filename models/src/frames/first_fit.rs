//! First fit: a request takes the lowest free run that can hold it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AllocError, Explanation, FrameAllocator, FrameRequest, FrameRun, FrameSetting, FreeError};
use crate::Violation;
use crate::registry::{BadOptions, Model};

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FirstFit {
    free: BTreeMap<u64, u64>,
    total: u64,
}

/// What a workload can set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitOptions {}

impl Model<dyn FrameAllocator> for FirstFit {
    const NAME: &'static str = "first_fit";
    const SUMMARY: &'static str = "the lowest free run that fits";
    const RULES: &'static str = "The lowest free run that holds the request is used, from its low end.";
    type Options = FitOptions;

    fn build(setting: FrameSetting, _options: &FitOptions) -> Result<FirstFit, BadOptions> {
        Ok(FirstFit { free: BTreeMap::from([(0, setting.frames)]), total: setting.frames })
    }
}

impl FrameAllocator for FirstFit {
    fn allocate(&mut self, request: &FrameRequest) -> Result<FrameRun, AllocError> {
        let found = self.free.iter().find(|(_, frames)| **frames >= request.frames).map(|(s, f)| (*s, *f));
        let Some((start, frames)) = found else {
            return Err(AllocError::Shortage {
                asked: request.frames,
                free: self.free_frames(),
                longest: self.largest_request(),
                holes: self.holes(),
            });
        };
        self.free.remove(&start);
        if frames > request.frames {
            self.free.insert(start + request.frames, frames - request.frames);
        }
        Ok(FrameRun::new(start, request.frames))
    }

    fn free(&mut self, run: FrameRun) -> Result<(), FreeError> {
        let mut run = run;
        if let Some(above) = self.free.remove(&run.end().0) {
            run.frames += above;
        }
        if let Some((&start, &frames)) = self.free.range(..run.start.0).next_back()
            && start + frames == run.start.0
        {
            self.free.remove(&start);
            run = FrameRun::new(start, frames + run.frames);
        }
        self.free.insert(run.start.0, run.frames);
        Ok(())
    }

    fn total_frames(&self) -> u64 {
        self.total
    }

    fn free_frames(&self) -> u64 {
        self.free.values().sum()
    }

    fn largest_request(&self) -> u64 {
        self.free.values().copied().max().unwrap_or(0)
    }

    fn holes(&self) -> u64 {
        self.free.len() as u64
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(FrameRun)) {
        for (&start, &frames) in &self.free {
            visit(FrameRun::new(start, frames));
        }
    }

    fn explain(&self, _request: &FrameRequest) -> Explanation {
        unimplemented!("follows with the real run tree")
    }

    fn check(&self) -> Result<(), Violation> {
        Ok(())
    }
}
