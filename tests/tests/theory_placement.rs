//! What theory says about placing blocks that never move: exact tables, bounds and worst cases.

use std::collections::BTreeSet;

use framesim_models::frames::{FrameAllocator, FrameRequest, FrameRun};
use framesim_models::metrics::external_fragmentation;
use framesim_tests::theory::{Machine, Step, best_fit_worst_case, robson_adversary, robson_bound};
use insta::assert_snapshot;
use serde::Deserialize;

/// Policies that grow only when no hole below the high water fits.
const FITS: [&str; 4] = ["first_fit", "best_fit", "worst_fit", "next_hole"];

#[test]
fn robsons_program_needs_exactly_his_bound_from_the_fits_and_a_little_more_from_buddy() {
    for (live_limit, top_order, bound, aligned) in [
        (64, 2, 125, 128),
        (64, 3, 153, 160),
        (64, 4, 177, 192),
        (256, 4, 753, 768),
        (256, 6, 961, 1_024),
        (1_024, 5, 3_553, 3_584),
        (1_024, 8, 4_865, 5_120),
    ] {
        assert_eq!(robson_bound(live_limit, top_order), bound);
        let used = |policy: &str| {
            let mut machine = Machine::new(policy, 1 << 14);
            robson_adversary(&mut machine, live_limit, top_order);
            assert_eq!((machine.refused, machine.peak), (0, live_limit), "{policy}");
            machine.high_water
        };
        for policy in FITS {
            assert_eq!(used(policy), bound, "{policy} with {live_limit} frames live, orders up to {top_order}");
        }
        for policy in ["next_fit", "buddy"] {
            assert_eq!(used(policy), aligned, "{policy} with {live_limit} frames live, orders up to {top_order}");
        }
        assert!(used("random_fit") >= bound);
    }
}

#[test]
fn robsons_program_can_stay_below_the_bound_where_halves_do_not_come_out_even() {
    for (live_limit, top_order, used) in [(24, 3, 49), (100, 3, 241)] {
        let mut machine = Machine::new("first_fit", 1 << 10);
        robson_adversary(&mut machine, live_limit, top_order);
        assert_eq!(machine.high_water, used);
        assert!(used < robson_bound(live_limit, top_order));
    }
}

#[test]
fn best_fit_ends_with_free_runs_one_frame_short_of_every_request() {
    for (m, k, steps, peak, first_fit) in
        [(6, 5, 156, 22, 27), (8, 6, 217, 33, 42), (8, 50, 12_801, 77, 90), (16, 100, 50_601, 167, 196)]
    {
        let script = best_fit_worst_case(m, k);
        assert_eq!(script.len(), steps);
        let played = |policy: &str| {
            let mut machine = Machine::new(policy, 1 << 11);
            script.iter().for_each(|step| machine.play(*step));
            assert_eq!((machine.refused, machine.live_frames), (0, m - 2 + k), "{policy}");
            machine
        };
        let best = played("best_fit");
        let pattern = format!("R{}{}", m - 2, format!(" F{} R1", m - 3).repeat(usize::try_from(k).unwrap()));
        assert_eq!(best.picture(), pattern);
        assert_eq!((best.peak, best.high_water), (peak, (m - 2) * (k + 2)));
        assert_eq!(best.runs().last().unwrap().end().0, (m - 2) * (k + 1));
        assert_eq!(played("first_fit").high_water, first_fit);
    }
}

/// Harmonic number of `largest` times `peak` over ln 2: first fit never needs more frames (TAOCP 2.5, exercise 43).
fn is_within_the_bound_of_first_fit(machine: &Machine) -> bool {
    const UNIT: u128 = 1_000_000_000_000;
    const LN_2: u128 = 693_147_180_559;
    let harmonic: u128 = (1..=u128::from(machine.largest)).map(|part| UNIT / part).sum();
    u128::from(machine.high_water) * LN_2 <= harmonic * u128::from(machine.peak)
}

#[test]
fn first_fit_keeps_its_upper_bound_on_every_script() {
    #[derive(Deserialize)]
    struct Case {
        name: String,
        frames: u64,
        ops: Vec<String>,
    }
    let mut scripts = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/data/frames")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let case: Case = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut machine = Machine::new("first_fit", case.frames);
        for op in &case.ops {
            let words: Vec<&str> = op.split(' ').collect();
            let id = words[1].parse().unwrap();
            machine.play(match words[0] {
                "a" => Step::Take { id, frames: words[2].parse().unwrap() },
                _ => Step::Give { id },
            });
        }
        assert!(is_within_the_bound_of_first_fit(&machine), "{}", case.name);
        scripts += 1;
    }
    assert_eq!(scripts, 60);
    for (live_limit, top_order) in [(64, 3), (256, 6), (1_024, 8)] {
        let mut machine = Machine::new("first_fit", 1 << 14);
        robson_adversary(&mut machine, live_limit, top_order);
        assert!(is_within_the_bound_of_first_fit(&machine), "{live_limit} live, orders up to {top_order}");
    }
    let mut machine = Machine::new("first_fit", 1 << 11);
    best_fit_worst_case(16, 100).into_iter().for_each(|step| machine.play(step));
    assert!(is_within_the_bound_of_first_fit(&machine));
}

/// Where each request of a script goes; `.` where it is refused.
fn placements(policy: &str, frames: u64, steps: &[Step]) -> (String, Machine) {
    let mut machine = Machine::new(policy, frames);
    let mut places = Vec::new();
    for step in steps {
        machine.play(*step);
        if let Step::Take { id, .. } = step {
            places.push(machine.live.get(id).map_or(".".to_owned(), |run| run.start.to_string()));
        }
    }
    (places.join(" "), machine)
}

fn take(id: u64, frames: u64) -> Step {
    Step::Take { id, frames }
}

fn give(id: u64) -> Step {
    Step::Give { id }
}

#[test]
fn knuths_two_holes_serve_three_requests_by_first_fit_and_two_by_best_fit() {
    let steps =
        [take(1, 1_300), take(2, 1), take(3, 1_200), give(1), give(3), take(4, 1_000), take(5, 1_100), take(6, 250)];
    assert_eq!(placements("first_fit", 2_501, &steps).0, "0 1300 1301 0 1301 1000");
    assert_eq!(placements("worst_fit", 2_501, &steps).0, "0 1300 1301 0 1301 1000");
    let (places, best) = placements("best_fit", 2_501, &steps);
    assert_eq!(places, "0 1300 1301 1301 0 .");
    let share = external_fragmentation(best.memory.largest_request(), best.memory.free_frames());
    assert_eq!(format!("{share:.1}"), "0.5");
}

#[test]
fn sixteen_frames_in_the_order_that_fails_and_in_the_one_that_does_not() {
    let fails = [take(1, 2), take(2, 4), take(3, 4), take(4, 4), give(1), take(5, 4)];
    let succeeds = [take(2, 4), take(3, 4), take(4, 4), take(1, 2), give(1), take(5, 4)];
    for policy in ["first_fit", "best_fit", "worst_fit", "next_fit", "next_hole"] {
        let (places, machine) = placements(policy, 16, &fails);
        assert_eq!((places.as_str(), machine.memory.free_frames()), ("0 2 6 10 .", 4), "{policy}");
        assert_eq!(external_fragmentation(machine.memory.largest_request(), 4).permille(), 500, "{policy}");
        assert_eq!(placements(policy, 16, &succeeds).0, "0 4 8 12 12", "{policy}");
    }
    assert_eq!(placements("buddy", 16, &fails).0, "0 4 8 12 0");
}

#[test]
fn five_frames_are_too_few_for_four_live_ones_in_ones_and_twos() {
    let steps = [take(1, 1), take(2, 1), take(3, 1), take(4, 1), give(1), give(3), take(5, 2)];
    for policy in ["first_fit", "buddy"] {
        let (_, machine) = placements(policy, 5, &steps);
        let why = machine.memory.explain(&FrameRequest::frames(2)).chosen.unwrap_err();
        assert_eq!((machine.refused, machine.memory.free_frames()), (1, 3), "{policy}: {why}");
    }
    assert_snapshot!(
        placements("buddy", 5, &steps).1.memory.explain(&FrameRequest::frames(2)).chosen.unwrap_err(),
        @"no run of 2 frames: 3 are free, the longest free run has 1"
    );
}

#[derive(Deserialize)]
struct WorstCases {
    rows: Vec<WorstCase>,
}

/// The least memory in which no program can make a policy refuse, for programs with this many frames live at most.
#[derive(Deserialize)]
struct WorstCase {
    live_limit: u64,
    sizes: Vec<u64>,
    first: u64,
    best: u64,
    worst: u64,
    buddy: Option<u64>,
    aligned: Option<u64>,
}

/// Every reachable state of a policy: whether some program makes it refuse a request.
struct Walk<'a> {
    live_limit: u64,
    sizes: &'a [u64],
    /// Each block at a multiple of its size.
    aligned: bool,
    seen: BTreeSet<u64>,
}

/// A policy's memory, and its live runs.
#[derive(Clone)]
struct State {
    memory: Box<dyn FrameAllocator>,
    live: Vec<FrameRun>,
}

/// A run as two bits a frame: a run starts, a run goes on. A state is the sum of its runs.
fn key(run: &FrameRun) -> u64 {
    let goes_on = (1 << (2 * (run.frames - 1))) - 1;
    (1 << (2 * run.start.0)) | (goes_on << (2 * run.start.0 + 2))
}

impl State {
    fn key(&self) -> u64 {
        self.live.iter().map(key).sum()
    }

    fn with(&self, run: FrameRun) -> State {
        let mut next = self.clone();
        next.live.push(run);
        next
    }

    fn without(&self, place: usize) -> State {
        let mut next = self.clone();
        let run = next.live.swap_remove(place);
        next.memory.free(run).expect("a live run can be given back");
        next
    }
}

impl Walk<'_> {
    /// The policies walked here place by the map alone: taking a run and giving it back leaves a state as it was.
    fn some_request_is_refused(&mut self, policy: &str, frames: u64) -> bool {
        let mut open = vec![State { memory: Machine::new(policy, frames).memory, live: Vec::new() }];
        while let Some(mut state) = open.pop() {
            let (at, live) = (state.key(), state.live.iter().map(|run| run.frames).sum::<u64>());
            for &size in self.sizes.iter().filter(|size| live + **size <= self.live_limit) {
                let align = if self.aligned { size } else { 1 };
                let Ok(run) = state.memory.allocate(&FrameRequest::frames(size).aligned(align)) else { return true };
                if self.seen.insert(at + key(&run)) {
                    open.push(state.with(run));
                }
                state.memory.free(run).expect("a live run can be given back");
            }
            for (place, run) in state.live.iter().enumerate() {
                if self.seen.insert(at - key(run)) {
                    open.push(state.without(place));
                }
            }
        }
        false
    }
}

/// Holds one column of the table against every state that the policy can reach.
fn the_least_memory_is(policy: &str, aligned: bool, column: fn(&WorstCase) -> Option<u64>) {
    let table: WorstCases = serde_json::from_str(include_str!("../data/theory/worst_case.json")).unwrap();
    let mut held = 0;
    for row in &table.rows {
        let Some(frames) = column(row) else { continue };
        let what = format!("{policy}, sizes {:?}, {} live", row.sizes, row.live_limit);
        let refuses_in = |frames: u64| {
            let mut walk = Walk { live_limit: row.live_limit, sizes: &row.sizes, aligned, seen: BTreeSet::new() };
            walk.some_request_is_refused(policy, frames)
        };
        assert!(!refuses_in(frames), "{what}: refuses in {frames} frames");
        assert!(frames == row.live_limit || refuses_in(frames - 1), "{what}: {} frames are enough", frames - 1);
        held += 1;
    }
    assert_eq!((table.rows.len(), held > 10), (23, true));
}

#[test]
fn the_worst_cases_of_first_fit_are_those_of_every_reachable_state() {
    the_least_memory_is("first_fit", false, |row| Some(row.first));
}

#[test]
fn the_worst_cases_of_best_fit_are_those_of_every_reachable_state() {
    the_least_memory_is("best_fit", false, |row| Some(row.best));
}

#[test]
fn the_worst_cases_of_worst_fit_are_those_of_every_reachable_state() {
    the_least_memory_is("worst_fit", false, |row| Some(row.worst));
}

#[test]
fn the_worst_cases_of_buddy_are_those_of_every_reachable_state() {
    the_least_memory_is("buddy", false, |row| row.buddy);
}

#[test]
fn the_worst_cases_of_aligned_first_fit_are_those_of_every_reachable_state() {
    the_least_memory_is("first_fit", true, |row| row.aligned);
}
