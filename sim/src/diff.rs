//! Where two runs part: the first event after which their frame maps differ.
//!
//! # Rules
//! 1. Events are counted; the n-th of one run is held against the n-th of the other.
//! 2. Of each run a digest of all frames that changed hands is kept. While those of both are equal, so are the maps.
//! 3. Both go on by strides. At the end of each the digests are compared and both runs are kept as they are; where the digests
//!    differ, the stride is halved from its start until one event is left.
//! 4. Frames that changed hands in another order within one event leave the same map: then both go on from there.
//!
//! # Cost
//! One run of each, and of the last stride twice; two copies of each run at a time.

use framesim_models::kernel::HandedOver;

use crate::digest::{Digest, Trajectory};
use crate::simulation::{Happened, RunError, Simulation};

/// Events between two checkpoints.
const STRIDE: u64 = 1 << 14;

/// Two runs around the event that parts them.
pub struct Parting {
    /// The event, counted from 1.
    pub event: u64,
    /// The first run.
    pub first: Side,
    /// The second run.
    pub second: Side,
}

/// A run around the event.
pub struct Side {
    /// After the event before: the frame maps of both are equal.
    pub before: Simulation,
    /// After the event.
    pub after: Simulation,
    /// The event; `None` when the run had ended.
    pub happened: Option<Happened>,
}

/// A run and the digest of the frames that changed hands in it.
#[derive(Clone)]
struct Tracked {
    run: Simulation,
    changes: Trajectory,
    happened: Option<Happened>,
}

impl Tracked {
    fn of(run: Simulation) -> Tracked {
        Tracked { run, changes: Trajectory::default(), happened: None }
    }

    fn go_on(&mut self, events: u64) -> Result<(), RunError> {
        for _ in 0..events {
            self.happened = self.run.step()?;
            let Some(happened) = &self.happened else { return Ok(()) };
            for change in self.run.kernel().frame_changes() {
                let direction = u64::from(change.change == HandedOver::Taken) << 63;
                let owner = u64::from(change.owner.pid.0) << 8 | change.owner.region as u64;
                self.changes.absorb_pair(change.run.start.0 | direction, change.run.frames);
                self.changes.absorb_pair(owner, happened.event);
            }
        }
        Ok(())
    }

    fn digest(&self) -> Digest {
        self.changes.seal()
    }

    fn is_over(&self) -> bool {
        self.happened.is_none() && self.run.events() > 0
    }
}

/// Whether both maps say the same of every frame.
fn same_maps(first: &Simulation, second: &Simulation) -> bool {
    let runs = |simulation: &Simulation| {
        let mut runs = Vec::new();
        simulation.kernel().frame_map().for_each_run(|owner, run| {
            runs.push((run.start.0, run.frames, owner.pid.0, owner.region));
        });
        runs
    };
    first.kernel().frame_map().frames() == second.kernel().frame_map().frames() && runs(first) == runs(second)
}

/// The first event after which the maps of the two runs differ; `None` when none does.
///
/// # Errors
/// When a run cannot go on.
pub fn parting(first: Simulation, second: Simulation) -> Result<Option<Parting>, RunError> {
    if !same_maps(&first, &second) {
        return Ok(Some(at_start(first, second)));
    }
    let mut kept = [Tracked::of(first), Tracked::of(second)];
    loop {
        let behind = kept.clone();
        go_on(&mut kept, STRIDE)?;
        if kept[0].digest() == kept[1].digest() {
            if kept[0].is_over() && kept[1].is_over() {
                return Ok(None);
            }
            continue;
        }
        let (before, after) = narrowed(behind, kept)?;
        if !same_maps(&after[0].run, &after[1].run) {
            return Ok(Some(side_by_side(before, after)));
        }
        kept = after;
        kept[1].changes = kept[0].changes;
    }
}

fn go_on(both: &mut [Tracked; 2], events: u64) -> Result<(), RunError> {
    both.iter_mut().try_for_each(|run| run.go_on(events))
}

type Both = [Tracked; 2];

/// From a stride at whose end the digests differ to its one event that makes them differ.
fn narrowed(mut before: Both, mut after: Both) -> Result<(Both, Both), RunError> {
    let mut events = STRIDE;
    while events > 1 {
        let mut middle = before.clone();
        go_on(&mut middle, events / 2)?;
        if middle[0].digest() == middle[1].digest() {
            before = middle;
            events -= events / 2;
        } else {
            after = middle;
            events /= 2;
        }
    }
    Ok((before, after))
}

fn side_by_side(before: Both, after: Both) -> Parting {
    let [first_before, second_before] = before;
    let [first, second] = after;
    let event = first.run.events().max(second.run.events());
    let side =
        |before: Tracked, after: Tracked| Side { before: before.run, after: after.run, happened: after.happened };
    Parting { event, first: side(first_before, first), second: side(second_before, second) }
}

/// Maps that differ before anything happened: another size of memory, other frames that are reserved.
fn at_start(first: Simulation, second: Simulation) -> Parting {
    let side = |run: Simulation| Side { before: run.clone(), after: run, happened: None };
    Parting { event: 0, first: side(first), second: side(second) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Registries;
    use crate::simulation::Setting;
    use framesim_workloads::load::{self, Known, load};

    fn run(settings: &[(&str, &str)], text: &str) -> Simulation {
        let registries = Registries::default();
        let known = Known { frames: &registries.frames, heaps: &registries.heaps };
        let setting =
            |(path, value): &(&str, &str)| load::Setting { path: (*path).to_owned(), value: (*value).to_owned() };
        let settings: Vec<_> = settings.iter().map(setting).collect();
        let loaded = load("test", text, &settings, known).unwrap_or_else(|wrong| panic!("{}", wrong.render(false)));
        let setting = Setting { workload: loaded.workload, replica: 0, folder: "".into() };
        Simulation::new(setting, &registries).expect("it fits together")
    }

    const TWO_HOLES: &str = "(machine: (memory: 106496, frames: best_fit, kernel: free_of_charge), processes: [(name: \"P\", does: script([
        take(\"A\", 13), take(\"B\", 1), take(\"C\", 12), give(\"A\"), give(\"C\"), take(\"D\", 10), take(\"E\", 11)]))])";

    /// As often as is said, a block comes and goes; then the two holes.
    fn after_noise(times: u64) -> String {
        TWO_HOLES
            .replace("take(\"A\", 13)", &format!("repeat({times}, [take(\"x\", 3), give(\"x\")]), take(\"A\", 13)"))
    }

    #[test]
    fn the_first_event_that_places_differently_is_found_wherever_it_lies() {
        // Before the first checkpoint, around it, and far behind it.
        for times in [1, 2, 8_000, 8_189, 8_190, 20_000] {
            let text = after_noise(times);
            let (best, first) = (run(&[], &text), run(&[("machine.frames", "first_fit")], &text));
            let parting = parting(best, first).expect("scripts can be read").expect("D is placed differently");
            // Arrival and start, the noise, five steps, and D.
            let mut alone = run(&[], &text);
            let mut expected = 0;
            while let Some(happened) = alone.step().expect("a script") {
                expected = happened.event;
                if alone.kernel().frame_changes().iter().any(|change| change.run.frames == 10) {
                    break;
                }
            }
            assert_eq!(parting.event, expected, "{times} times");
            assert!(same_maps(&parting.first.before, &parting.second.before));
            assert!(!same_maps(&parting.first.after, &parting.second.after));
        }
    }

    #[test]
    fn runs_that_leave_the_same_maps_do_not_part() {
        let text = after_noise(10_000);
        assert!(parting(run(&[], &text), run(&[], &text)).expect("scripts can be read").is_none());
        // Another seed changes nothing in a script.
        assert!(parting(run(&[], &text), run(&[("seed", "9")], &text)).expect("scripts can be read").is_none());
    }

    #[test]
    fn a_run_that_goes_on_alone_parts_from_one_that_has_ended() {
        let longer = TWO_HOLES.replace("take(\"E\", 11)", "take(\"E\", 11), give(\"E\"), sleep(5), take(\"F\", 1)");
        let parting = parting(run(&[], TWO_HOLES), run(&[], &longer)).expect("scripts can be read");
        let parting = parting.expect("one ends and gives all back");
        assert!(parting.event > 8);
    }

    #[test]
    fn maps_of_other_sizes_differ_before_anything_happens() {
        let parting =
            parting(run(&[], TWO_HOLES), run(&[("machine.memory", "1MiB")], TWO_HOLES)).expect("scripts can be read");
        assert_eq!(parting.expect("26 frames and 256").event, 0);
    }
}
