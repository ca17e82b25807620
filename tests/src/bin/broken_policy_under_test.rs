//! The command with a frame policy that has a bug, for the tests of what a user sees of one.

use std::process::ExitCode;

use framesim::{Registries, cli};
use framesim_models::Violation;
use framesim_models::frames::{
    AllocError, Explanation, FrameAllocator, FrameRequest, FrameRun, FrameSetting, FreeError, PolicyRegistry,
};
use framesim_models::registry::{BadOptions, CustomOptions, Model};
use serde::{Deserialize, Serialize};

fn main() -> ExitCode {
    let mut registries = Registries::default();
    registries.frames.add(PolicyRegistry::custom::<Forgetful>());
    cli::main(&registries, std::env::args_os())
}

/// Every request gets the lowest frames, taken or not.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Forgetful {
    frames: u64,
    free_frames: u64,
}

impl Model<dyn FrameAllocator> for Forgetful {
    const NAME: &'static str = "forgetful";
    const SUMMARY: &'static str = "the lowest frames, taken or not";
    const RULES: &'static str = "Every request gets the lowest frames, taken or not.";
    type Options = CustomOptions;

    fn build(setting: FrameSetting, _options: &CustomOptions) -> Result<Forgetful, BadOptions> {
        Ok(Forgetful { frames: setting.frames, free_frames: setting.frames })
    }
}

impl FrameAllocator for Forgetful {
    fn allocate(&mut self, request: &FrameRequest) -> Result<FrameRun, AllocError> {
        let FrameRequest { frames: asked, .. } = *request;
        let free = self.free_frames;
        self.free_frames =
            free.checked_sub(asked).ok_or(AllocError::Shortage { asked, free, longest: free, holes: 1 })?;
        Ok(FrameRun::new(0, asked))
    }

    fn free(&mut self, run: FrameRun) -> Result<(), FreeError> {
        self.free_frames += run.frames;
        Ok(())
    }

    fn total_frames(&self) -> u64 {
        self.frames
    }

    fn free_frames(&self) -> u64 {
        self.free_frames
    }

    fn largest_request(&self) -> u64 {
        self.free_frames
    }

    fn holes(&self) -> u64 {
        1
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(FrameRun)) {
        visit(FrameRun::new(self.frames - self.free_frames, self.free_frames));
    }

    fn explain(&self, request: &FrameRequest) -> Explanation {
        let chosen = Ok(FrameRun::new(0, request.frames));
        Explanation { candidates: Vec::new(), candidates_total: 0, rule: "the lowest frames".to_owned(), chosen }
    }

    fn check(&self) -> Result<(), Violation> {
        Ok(())
    }
}
