use framesim_workloads::load::{Known, load};
use framesim_workloads::spec::Workload;
use insta::assert_snapshot;

use super::*;
use crate::Registries;

mod threads;

/// A simulation of a workload as text.
fn simulation(text: &str) -> Simulation {
    simulation_with(text, |_| {})
}

/// The same after a change that the checks of the text do not see.
fn simulation_with(text: &str, change: impl FnOnce(&mut Workload)) -> Simulation {
    let registries = Registries::default();
    let known = Known { frames: &registries.frames, heaps: &registries.heaps };
    let mut workload = match load("test.ron", text, &[], known) {
        Ok(loaded) => loaded.workload,
        Err(wrong) => panic!("{wrong}"),
    };
    change(&mut workload);
    Simulation::new(Setting { workload, replica: 0, folder: "../workloads".into() }, &registries)
        .expect("a sound workload")
}

/// All events, one a line, checked after each.
fn story(simulation: &mut Simulation) -> String {
    let mut lines = String::new();
    while let Some(happened) = simulation.step().expect("the run goes on") {
        simulation.check().expect("sound after every event");
        lines += &line(simulation, &happened);
        lines.push('\n');
    }
    lines
}

fn line(simulation: &Simulation, happened: &Happened) -> String {
    let group = &simulation.setting().workload.processes[happened.process.group as usize].name;
    let outcome = match happened.outcome {
        Outcome::Served => String::new(),
        Outcome::At(address) => format!(" at {address}"),
        Outcome::Frames(run) => format!(" {run}"),
        Outcome::Nothing => " nothing".to_owned(),
        Outcome::Refused(refusal) => format!(" refused: {}", refusal.cause.name()),
        Outcome::Waits(refusal) => format!(" waits: {}", refusal.cause.name()),
    };
    let waited = if happened.waited > Nanos(0) { format!(" (waited {})", happened.waited.0) } else { String::new() };
    let bytes = happened.call.bytes().map(|bytes| format!(" {bytes}")).unwrap_or_default();
    let name = match happened.call {
        Call::ThreadStart { thread } => format!("thread_start {}", thread.0),
        call => call.name().to_owned(),
    };
    let thread = if happened.thread == ThreadId(0) { String::new() } else { format!(" t{}", happened.thread.0) };
    format!("{:>6} {group}/{}{thread} {name}{bytes}{outcome}{waited}", happened.time.0, happened.process.ordinal)
}

const SIXTEEN: &str = r#"(
    about: "sixteen frames",
    machine: (memory: "64KiB", frames: first_fit, kernel: free_of_charge),
    processes: [(name: "P", does: script([
        take("A", 2), take("B", 4), take("C", 4), take("D", 4), give("A"), take("E", 4),
    ]))],
)"#;

#[test]
fn four_free_frames_cannot_serve_four_when_they_are_apart() {
    let mut simulation = simulation(SIXTEEN);
    assert_snapshot!(story(&mut simulation), @r#"
         0 P/0 start
    100000 P/0 take 0..1
    100100 P/0 take 2..5
    100200 P/0 take 6..9
    100300 P/0 take 10..13
    100400 P/0 give 0..1
    100500 P/0 take refused: fragmentation
    100600 P/0 exit
    "#);
    let summary = simulation.summary();
    assert_eq!((summary.failures.total, summary.failures.fragmentation), (1, 1));
    assert_eq!(summary.state, RunState::Done);
    assert_eq!(summary.now.free_frames, 16, "all frames came back");
}

/// A machine of so many pages whose kernel costs nothing, and the groups of processes on it.
fn machine(pages: u64, options: &str, groups: &str) -> Simulation {
    let bytes = pages * 4096;
    simulation(&format!(
        "(machine: (memory: {bytes}, frames: first_fit, kernel: free_of_charge, {options}), processes: [{groups}])"
    ))
}

/// Round times, so that stories are easy to follow.
const ROUND: &str = "costs: (malloc: 10, free: 10, system_call: 100, fault: 0, zero_page: 0, context_switch: 1, \
                     spawn: 1000, exit: 1000)";

#[test]
fn a_process_that_has_used_its_quantum_makes_room_for_one_that_is_ready() {
    let groups = r#"(name: "A", does: script([repeat(4, [take("x", 1), give("x")])])),
                    (name: "B", does: script([repeat(2, [take("x", 1), give("x")])]))"#;
    assert_snapshot!(story(&mut machine(8, &format!("quantum: 250, {ROUND}"), groups)), @r"
       0 A/0 start
    1000 B/0 start
    2001 A/0 take 0
    2102 A/0 give 0
    2202 A/0 take 0
    2302 B/0 take 1
    2403 B/0 give 1
    2503 B/0 take 1
    2603 A/0 give 0
    2704 A/0 take 0
    2804 A/0 give 0
    2904 B/0 give 1
    3005 B/0 exit
    4005 A/0 take 0
    4105 A/0 give 0
    4205 A/0 exit
    ");
}

#[test]
fn two_processors_serve_two_processes_at_once() {
    let groups = r#"(name: "A", count: 3, does: script([take("x", 1)]))"#;
    assert_snapshot!(story(&mut machine(8, &format!("cpus: 2, {ROUND}"), groups)), @r"
       0 A/0 start
       0 A/1 start
    1000 A/0 take 0
    1000 A/1 take 1
    1100 A/0 exit
    1100 A/1 exit
    2100 A/2 start
    3100 A/2 take 0
    3200 A/2 exit
    ");
}

#[test]
fn a_sleeper_leaves_the_processor_and_a_sleep_counts_from_the_service_before_it() {
    let groups = r#"(name: "A", does: script([take("x", 1), sleep(500), give("x")])),
                    (name: "B", arrive: at(1050), does: script([take("y", 1)]))"#;
    assert_snapshot!(story(&mut machine(8, ROUND, groups)), @r"
       0 A/0 start
    1000 A/0 take 0
    1100 B/0 start
    2101 B/0 take 1
    2201 B/0 exit
    3201 A/0 sleep
    3201 A/0 give 0
    3301 A/0 exit
    ");
}

#[test]
fn waiters_are_served_first_come_first_served_when_frames_come_back() {
    let groups = r#"(name: "A", does: script([take("a", 6), sleep(10000), give("a")])),
                    (name: "B", arrive: at(2000), does: script([take("b", 7), sleep(5000), give("b")])),
                    (name: "C", arrive: at(4000), does: script([take("c", 3)]))"#;
    let mut simulation = machine(8, &format!("out_of_memory: wait, {ROUND}"), groups);
    assert_snapshot!(story(&mut simulation), @r"
        0 A/0 start
     1000 A/0 take 0..5
     2000 B/0 start
     3001 B/0 take waits: shortage
     4000 C/0 start
     5001 C/0 take waits: shortage
    11100 A/0 sleep
    11101 A/0 give 0..5
    11201 A/0 exit
    12201 B/0 take 0..6 (waited 9200)
    17301 B/0 sleep
    17301 B/0 give 0..6
    17401 B/0 exit
    18401 C/0 take 0..2 (waited 13400)
    18501 C/0 exit
    ");
    assert_snapshot!(format!("{:?}", simulation.summary().waits), @"Waits { ended: 2, total: Nanos(22600), longest: Nanos(13400), waiting: 0, waiting_peak: 2, shortage: 2, fragmentation: 0 }");
}

#[test]
fn who_waits_for_memory_that_nobody_frees_is_stuck() {
    let groups = r#"(name: "A", does: script([take("a", 6), take("b", 6)]))"#;
    let mut simulation = machine(8, &format!("out_of_memory: wait, {ROUND}"), groups);
    assert_snapshot!(story(&mut simulation), @r"
       0 A/0 start
    1000 A/0 take 0..5
    1100 A/0 take waits: shortage
    ");
    assert_eq!(simulation.summary().state, RunState::Stuck);
}

#[test]
fn the_largest_process_is_killed_for_one_that_finds_no_memory() {
    let groups = r#"(name: "small", does: script([take("a", 2), sleep(100000)])),
                    (name: "large", does: script([take("b", 4), sleep(100000)])),
                    (name: "late", arrive: at(5000), does: script([take("c", 5), take("d", 3)]))"#;
    let mut simulation = machine(8, &format!("out_of_memory: kill, {ROUND}"), groups);
    assert_snapshot!(story(&mut simulation), @r"
         0 small/0 start
      1000 small/0 take 0..1
      1100 large/0 start
      2101 large/0 take 2..5
      5000 late/0 start
      6001 late/0 take waits: shortage
      6001 large/0 kill
      6101 late/0 take 2..6 (waited 100)
      6201 late/0 take waits: shortage
      6201 late/0 kill
    101100 small/0 sleep
    101100 small/0 exit
    ");
    assert_eq!(simulation.summary().processes.killed, 2, "at last the one that asks");
}

#[test]
fn the_only_process_is_not_killed_for_its_own_request() {
    let groups = r#"(name: "A", does: script([take("a", 6), take("b", 6), take("c", 100), take("d", 2)]))"#;
    assert_snapshot!(story(&mut machine(8, &format!("out_of_memory: kill, {ROUND}"), groups)), @r"
       0 A/0 start
    1000 A/0 take 0..5
    1100 A/0 take refused: shortage
    1200 A/0 take refused: shortage
    1300 A/0 take 6..7
    1400 A/0 exit
    ");
}

#[test]
fn a_group_can_end_at_its_first_refusal() {
    let groups = r#"(name: "A", on_refusal: exit, does: script([take("a", 6), take("b", 6), give("a")]))"#;
    assert_snapshot!(story(&mut machine(8, ROUND, groups)), @r"
       0 A/0 start
    1000 A/0 take 0..5
    1100 A/0 take refused: shortage
    1200 A/0 exit
    ");
}

#[test]
fn a_process_spawns_children_of_another_group() {
    let groups = r#"(name: "parent", does: script([spawn("child"), spawn("child"), sleep(10000)])),
                    (name: "child", arrive: spawned, does: script([take("x", 1)]))"#;
    assert_snapshot!(story(&mut machine(8, ROUND, groups)), @r"
        0 parent/0 start
     1000 parent/0 spawn
     1100 parent/0 spawn
     1200 child/0 start
     2201 child/0 take 0
     2301 child/0 exit
     3301 child/1 start
     4301 child/1 take 0
     4401 child/1 exit
    11200 parent/0 sleep
    11200 parent/0 exit
    ");
}

#[test]
fn a_life_time_ends_a_process_between_two_requests() {
    let groups = r#"(name: "A", live: constant(1550), does: script([repeat(100, [take("x", 1), give("x")])]))"#;
    assert_snapshot!(story(&mut machine(8, ROUND, groups)), @r"
       0 A/0 start
    1000 A/0 take 0
    1100 A/0 give 0
    1200 A/0 take 0
    1300 A/0 give 0
    1400 A/0 take 0
    1500 A/0 give 0
    1600 A/0 exit
    ");
}

#[test]
fn a_write_that_finds_no_frame_gives_the_new_block_back() {
    let groups = r#"(name: "A", does: script([
        malloc("a", "100KiB"), touch("a"), malloc("b", "100KiB"), touch("b"), calloc("c", 1, "150KiB"), malloc("d", 100),
        malloc("e", "1GiB"), free("a"), touch("b"),
    ]))"#;
    let mut simulation = machine(50, ROUND, groups);
    assert_snapshot!(story(&mut simulation), @r"
       0 A/0 start
    1000 A/0 malloc 102400 at 0x555555554010
    1110 A/0 touch at 0x555555554010
    1110 A/0 malloc 102400 at 0x55555556d020
    1220 A/0 touch refused: shortage
    1220 A/0 calloc 153600 refused: shortage
    1330 A/0 malloc 100 refused: shortage
    1340 A/0 malloc 1073741824 refused: address_space
    1450 A/0 free at 0x555555554010
    1460 A/0 touch refused: shortage
    1460 A/0 exit
    ");
    assert_snapshot!(format!("{:?}", simulation.summary().failures), @"Failures { total: 5, shortage: 4, fragmentation: 0, too_large: 0, address_space: 1, regions: {Heap: 5}, first: Some((Nanos(1220), Refusal { cause: Shortage, region: Heap, asked: 1, pages: 1, free: 0, longest: 0, holes: 0 })) }");
}

const WEB: &str = r#"(
    seed: 7,
    machine: (memory: "2560KiB", cpus: 2, frames: buddy(max_order: 9), out_of_memory: RULE),
    programs: {"worker": (code: "64KiB", data: "16KiB", stack: "16KiB", heap: free_list, share_code: true)},
    processes: [
        (
            name: "web", program: "worker", arrive: poisson(per_second: 2000.0, until: "20ms"),
            live: exponential(mean: "5ms"),
            does: mix(gap: exponential(mean: "20us"), size: log_normal(median: 512, sigma: 1.5), life: exponential(mean: "1ms")),
        ),
        (name: "cron", arrive: every(gap: "3ms", count: 5), does: script([mmap("m", "256KiB"), touch("m"), sleep("1ms")])),
    ],
)"#;

fn web(rule: &str) -> Simulation {
    simulation(&WEB.replace("RULE", rule))
}

/// A whole run, checked now and then.
fn finish(simulation: &mut Simulation) {
    while let Some(happened) = simulation.step().expect("the run goes on") {
        if happened.event.is_multiple_of(97) {
            simulation.check().expect("sound at every moment");
        }
    }
    simulation.check().expect("sound at the end");
}

#[test]
fn after_all_have_ended_memory_is_as_it_was() {
    for rule in ["fail", "wait", "kill"] {
        let mut simulation = web(rule);
        let (before, free) = (simulation.state_digest(), simulation.levels().free_frames);
        finish(&mut simulation);
        assert_eq!(simulation.summary().state, RunState::Done, "{rule}");
        assert_eq!(simulation.levels().free_frames, free, "{rule}");
        assert_eq!(simulation.state_digest(), before, "{rule}");
        assert_eq!(simulation.levels().live_bytes, 0, "{rule}");
        let summary = simulation.summary();
        assert_eq!(summary.processes.started, summary.processes.exited + summary.processes.killed);
    }
}

#[test]
fn each_rule_shows_in_the_summary() {
    let run = |rule| {
        let mut simulation = web(rule);
        finish(&mut simulation);
        simulation.summary()
    };
    let (fail, wait, kill) = (run("fail"), run("wait"), run("kill"));
    assert!(fail.failures.total > 0 && fail.waits.ended == 0 && fail.processes.killed == 0, "{fail:?}");
    assert!(wait.waits.ended > 0 && wait.processes.killed == 0, "{wait:?}");
    assert!(kill.processes.killed > 0, "{kill:?}");
}

#[test]
fn a_run_saved_and_restored_half_way_ends_the_same() {
    for rule in ["fail", "wait", "kill"] {
        let mut whole = web(rule);
        finish(&mut whole);
        for half in [1, 200, whole.events() / 2, whole.events() - 5] {
            let mut first = web(rule);
            for _ in 0..half {
                first.step().expect("the run goes on");
            }
            let saved = first.save();
            let mut second = Simulation::restore(&saved, &Registries::default()).expect("a checkpoint");
            assert_eq!(second.save(), saved, "what was read is what was written");
            finish(&mut second);
            assert_eq!(second.digest(), whole.digest(), "{rule} from event {half}");
            assert_eq!(second.summary(), whole.summary(), "{rule} from event {half}");
        }
    }
}

#[test]
fn a_copy_and_its_original_do_the_same() {
    let mut first = web("wait");
    for _ in 0..500 {
        first.step().expect("the run goes on");
    }
    let mut second = first.clone();
    finish(&mut first);
    finish(&mut second);
    assert_eq!((first.digest(), first.summary()), (second.digest(), second.summary()));
}

#[test]
fn an_event_at_hand_and_one_from_the_queue_are_the_same() {
    let mut quick = web("kill");
    finish(&mut quick);
    let mut queued = web("kill");
    while queued.step().expect("the run goes on").is_some() {
        queued.put_away();
    }
    assert_eq!(queued.digest(), quick.digest());
}

/// Asks everything that can be asked, every now and then.
#[derive(Default)]
struct Curious {
    frames_moved: u64,
    saved_bytes: usize,
}

impl Probe for Curious {
    fn see(&mut self, simulation: &Simulation, happened: &Happened) {
        self.frames_moved += simulation.frame_changes().iter().map(|change| change.run.frames).sum::<u64>();
        if !happened.event.is_multiple_of(29) {
            return;
        }
        self.saved_bytes += simulation.save().len();
        let _ = (simulation.summary(), simulation.state_digest(), simulation.check());
        let _ = happened.process.pid.map(|pid| (simulation.process_name(pid), simulation.heap(pid).is_some()));
    }
}

#[test]
fn looking_on_changes_nothing() {
    let mut alone = web("wait");
    alone.run().expect("the run goes on");
    let mut watched = web("wait");
    let mut probe = Curious::default();
    watched.run_seen(&mut [&mut probe]).expect("the run goes on");
    assert_eq!((watched.digest(), watched.summary()), (alone.digest(), alone.summary()));
    assert_eq!(probe.frames_moved, alone.summary().calls.frames_moved);
    assert!(probe.saved_bytes > 0);
}

#[test]
fn digests_stay_as_they_are() {
    let mut simulation = web("wait");
    simulation.run().expect("the run goes on");
    assert_snapshot!(format!("{:#} {:#}", simulation.digest(), simulation.state_digest()), @"ddd4e4272fd129de8bfc1f42b3a9991b e2ac8d5f5a4ccf80d69f4c516b7a8f06");
}

#[test]
fn a_run_ends_at_until_with_what_is_there_then() {
    let mut simulation = simulation(&WEB.replace("RULE", "wait").replace("seed: 7", "seed: 7, until: \"10ms\""));
    finish(&mut simulation);
    let summary = simulation.summary();
    assert_eq!((summary.state, summary.time), (RunState::TimeOver, Nanos(10_000_000)));
    assert!(summary.now.processes > 0);
}

#[test]
fn a_run_stops_at_its_limits() {
    // Limits this low are refused before a run: what a run cannot foresee is counted in it.
    let web = WEB.replace("RULE", "wait");
    let mut events = simulation_with(&web, |workload| workload.limits.events = 100);
    assert_snapshot!(events.run().unwrap_err(), @"100 events have happened, as many as `limits.events` allows");
    let mut processes = simulation_with(&web, |workload| workload.limits.processes = 3);
    assert_snapshot!(processes.run().unwrap_err(), @"3 processes and threads are alive, as many as `limits.processes` allows");
}

/// A group of short-lived processes that leak what they do not free, and one that grows; memory runs short now and then.
fn busy_heaps(heap: &str) -> String {
    // What the first call of these takes is more than a small machine has.
    let memory = if matches!(heap, "tcmalloc" | "jemalloc" | "mimalloc" | "hoard") { "256MiB" } else { "1280KiB" };
    format!(
        r#"(
    about: "heaps",
    seed: 5,
    until: "24ms",
    machine: (memory: "{memory}", frames: buddy, kernel: free_of_charge, out_of_memory: kill),
    programs: {{"p": (heap: {heap})}},
    processes: [
        (
            name: "short", program: "p", arrive: poisson(per_second: 400.0), live: exponential(mean: "8ms"),
            does: mix(
                gap: exponential(mean: "60us"),
                size: mixture([(9, log_normal(median: 100, sigma: 1.2)), (1, pareto(min: 4096, shape: 1.3))]),
                life: exponential(mean: "3ms"),
            ),
        ),
        (
            name: "script", program: "p",
            does: script([
                malloc("a", 100), malloc("b", "300KiB"), realloc("a", 5000), free("b"), sleep("10ms"),
                realloc("a", "20KiB"), malloc("c", 24), mmap("m", "64KiB"), touch("m"), free("a"), sleep("5ms"), free("c"),
            ]),
        ),
    ],
)"#
    )
}

#[test]
fn live_internal_and_external_are_what_every_heap_holds_at_every_step() {
    for heap in heap::HeapChoice::NAMES {
        let mut simulation = simulation(&busy_heaps(heap));
        let (mut mallocs, mut most_live) = (0, 0);
        while let Some(happened) = simulation.step().expect("the run goes on") {
            simulation.check().unwrap_or_else(|violation| panic!("{heap}: {violation}"));
            mallocs += u64::from(happened.call.name() == "malloc" && matches!(happened.outcome, Outcome::At(_)));
            let summaries = simulation.heap_summaries();
            for summary in &summaries {
                let levels = [&summary.now, &summary.most_live.levels, &summary.most_held.levels];
                for HeapLevels { live_bytes, internal_bytes, external_bytes, held_bytes, .. } in levels {
                    assert_eq!(live_bytes + internal_bytes + external_bytes, *held_bytes, "{heap}: {summary:?}");
                }
                let by_class: u64 = summary.classes.iter().map(|class| class.live_bytes).sum();
                let live = summary.most_live.levels.live_bytes;
                assert!(by_class >= live, "{heap}: a block that waits for frames has its class, and is not live yet");
            }
            most_live = most_live.max(simulation.levels().live_bytes);
        }
        let summaries = simulation.heap_summaries();
        let short = &summaries[0];
        assert_eq!((summaries.len(), short.group.as_str(), short.heap.as_str()), (2, "short", *heap));
        assert!(short.processes > 5 && mallocs > 500, "{heap}: {mallocs} mallocs");
        assert!(short.most_live.levels.live_bytes <= most_live);
        let got: u64 = summaries.iter().flat_map(|summary| &summary.classes).map(|class| class.got).sum();
        assert!(got >= mallocs, "{heap}: {got} blocks got, {mallocs} mallocs");
    }
}

#[test]
fn a_heap_is_summed_up_at_its_moments_and_over_time() {
    let mut simulation = simulation(
        r#"(
    about: "one heap",
    machine: (memory: "1MiB", frames: first_fit, kernel: free_of_charge),
    programs: {"p": (heap: free_list(growth_bytes: 8192))},
    processes: [(name: "P", program: "p", does: script([
        malloc("a", 1000), malloc("b", 3000), sleep("1ms"), free("b"), malloc("c", 5), sleep("3ms"), malloc("d", 9000),
        free("d"), exit,
    ]))],
)"#,
    );
    simulation.run().expect("the run goes on");
    let summaries = simulation.heap_summaries();
    let [summary] = &summaries[..] else { panic!("one group") };
    assert_snapshot!(crate::report::heaps::full(summary), @r"
    heap of P: free_list, 1 process
                              most live    most held          end
      held                       20 KiB       20 KiB          0 B
        live (asked for)        9.8 KiB      9.8 KiB          0 B
        internal                   75 B         75 B          0 B
          rounding                 27 B         27 B          0 B
          header                   48 B         48 B          0 B
        external               10.2 KiB     10.2 KiB          0 B
      usable                    9.8 KiB      9.8 KiB          0 B
      mapped                     20 KiB       20 KiB          0 B
      resident                    4 KiB        4 KiB          0 B
      at                        0.004 s      0.004 s

      held to live: on average 6.626 by time, 8.168 by call; 2.047 when most was
        live, 2.047 when most was held, 2.047 most to most
      on average: held 7.8 KiB by time, 12 KiB by call; resident 3.9 KiB by time,
        4 KiB by call
      system calls: brk 2

      by size asked for; blocks and rounding when most was live
          up to        got  blocks rounding      up to        got  blocks rounding
           16 B          1       1   0.6875      4 KiB          1       0   0.0000
          1 KiB          1       1   0.0079     16 KiB          1       1   0.0009
    ");
}
