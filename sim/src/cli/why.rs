//! `framesim run --why N`: what the policy saw at one step, and why it chose what it chose.

use std::fmt::Write as _;

use framesim_models::frames::{AllocError, FrameAllocator, FrameRequest, FrameRun, FrameSetting, PolicyChoice};
use framesim_models::kernel::HandedOver;
use framesim_models::{Coins, index};
use framesim_workloads::requests::Request;

use crate::Registries;
use crate::report::map;
use crate::report::scripted::Recorder;
use crate::report::steps;
use crate::simulation::{Call, Happened, Simulation};

/// Waits for a step, and keeps what explains it.
pub struct Why {
    step: u64,
    /// The policy as it was after the step before.
    before: Box<dyn FrameAllocator>,
    drawn_before: String,
    answer: Option<Answer>,
}

struct Answer {
    title: String,
    drawn_after: String,
    /// `None` when no frames were asked for.
    asked: Option<FrameRequest>,
}

impl Why {
    /// Of step `step` of a run that has not begun.
    #[must_use]
    pub fn new(step: u64, simulation: &Simulation) -> Why {
        let frames = simulation.kernel().frame_map().frames();
        let before = simulation.kernel().allocator().clone_boxed();
        Why { step, before, drawn_before: ".".repeat(index(frames.min(LETTERS))), answer: None }
    }

    /// Takes in the step that `recorder` has just recorded.
    pub fn see(&mut self, simulation: &Simulation, happened: &Happened, recorder: &Recorder) {
        let Some(step) = recorder.steps().last() else { return };
        let drawn = draw(recorder, simulation);
        if step.number < self.step {
            self.before = simulation.kernel().allocator().clone_boxed();
            self.drawn_before = drawn;
        } else if step.number == self.step {
            let policy = simulation.setting().workload.machine.frames.name().to_owned();
            let title = format!("step {}: {}, {policy}", step.number, step.request);
            self.answer = Some(Answer { title, drawn_after: drawn, asked: asked(simulation, happened) });
        }
    }

    /// The explanation in lines; `None` when the run has no such step.
    #[must_use]
    pub fn text(&self, registries: &Registries, policy: &str) -> Option<String> {
        let answer = self.answer.as_ref()?;
        let mut text = format!("{}\n", answer.title);
        let Some(request) = &answer.asked else {
            writeln!(text, "  no frames were asked for: what was held served it, or it gave back").ok()?;
            writeln!(text, "  before         {}\n  after          {}", self.drawn_before, answer.drawn_after).ok()?;
            return Some(text);
        };
        let explanation = self.before.explain(request);
        let others = others(registries, policy, self.before.as_ref(), request);
        let why = steps::Why {
            explanation: &explanation,
            before: &self.drawn_before,
            after: &answer.drawn_after,
            others: &others,
        };
        write!(text, "{why}").ok()?;
        Some(text)
    }
}

/// Letters of the drawings.
const LETTERS: u64 = 64;

fn draw(recorder: &Recorder, simulation: &Simulation) -> String {
    let frames = simulation.kernel().frame_map().frames();
    let memory = recorder.steps().last().map(|step| step.memory.clone()).unwrap_or_default();
    map::letters(recorder.holders(), memory, frames.div_ceil(LETTERS).next_power_of_two())
}

/// What the event asked the frame policy for: its own request, or the first frames that it was given.
fn asked(simulation: &Simulation, happened: &Happened) -> Option<FrameRequest> {
    if let Call::Request(Request::Take { frames, .. }) = happened.call {
        return Some(FrameRequest::frames(frames));
    }
    let taken = simulation.frame_changes().iter().find(|change| change.change == HandedOver::Taken);
    taken.map(|change| FrameRequest::frames(change.run.frames))
}

/// Memories up to this size are rebuilt for other policies.
const REBUILT_MAX: u64 = 1 << 14;

/// Policies whose choice depends on nothing but the free runs.
const STATELESS: [&str; 3] = ["first_fit", "best_fit", "worst_fit"];

/// What the other fits would have chosen with the same frames free.
fn others(
    registries: &Registries,
    policy: &str,
    before: &dyn FrameAllocator,
    request: &FrameRequest,
) -> Vec<(String, Result<FrameRun, AllocError>)> {
    if before.total_frames() > REBUILT_MAX || !STATELESS.contains(&policy) {
        return Vec::new();
    }
    let names = STATELESS.iter().filter(|name| **name != policy);
    names
        .filter_map(|name| Some(((*name).to_owned(), rebuilt(registries, name, before)?.explain(request).chosen)))
        .collect()
}

/// A policy of another name with the same frames free.
fn rebuilt(registries: &Registries, name: &str, like: &dyn FrameAllocator) -> Option<Box<dyn FrameAllocator>> {
    let frames = like.total_frames();
    let setting = FrameSetting { frames, coins: Coins::from_key([0; 32]) };
    let mut policy = registries.frames.build(name, &PolicyChoice::named(name), setting)?.ok()?;
    let singles: Option<Vec<FrameRun>> = (0..frames).map(|_| policy.allocate(&FrameRequest::frames(1)).ok()).collect();
    let mut free = vec![false; index(frames)];
    like.for_each_free(&mut |run| (run.start.0..run.end().0).for_each(|frame| free[index(frame)] = true));
    for run in singles?.into_iter().filter(|run| free[index(run.start.0)]) {
        policy.free(run).ok()?;
    }
    Some(policy)
}
