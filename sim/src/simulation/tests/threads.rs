//! Threads of a process: how they are scheduled, what they share, what their end gives back.

use std::collections::BTreeMap;

use framesim_models::kernel::Region;

use super::*;

/// Round times, those of threads too.
const ROUND: &str = "costs: (malloc: 10, free: 10, system_call: 100, fault: 0, zero_page: 0, context_switch: 1, \
                     spawn: 1000, exit: 1000, thread_start: 1000, thread_end: 500)";

/// A machine of 64 MiB whose kernel costs nothing.
fn roomy(options: &str, groups: &str) -> Simulation {
    machine(16_384, &format!("{options}, {ROUND}"), groups)
}

#[test]
fn two_threads_run_at_the_same_time_on_two_processors() {
    let groups = r#"(name: "A", does: mix(gap: constant(5000), size: constant(64), life: constant(4000), threads: 2, calls: 2))"#;
    assert_snapshot!(story(&mut roomy("cpus: 2", groups)), @r"
        0 A/0 start
     1000 A/0 thread_start 1 at 0x7ffff77fe000
     7200 A/0 malloc 64 at 0x555555554010
     7200 A/0 t1 malloc 64 at 0x555555554060
    11200 A/0 free 64 at 0x555555554010
    11200 A/0 t1 free 64 at 0x555555554060
    12200 A/0 malloc 64 at 0x555555554010
    12200 A/0 t1 malloc 64 at 0x555555554060
    12210 A/0 join
    12210 A/0 t1 thread_end
    12310 A/0 exit
    ");
}

#[test]
fn two_threads_share_one_processor_by_its_quantum() {
    let groups = r#"(name: "A", does: mix(gap: constant(10), size: constant(64), threads: 2, calls: 4))"#;
    assert_snapshot!(story(&mut roomy("cpus: 1, quantum: 25", groups)), @r"
       0 A/0 start
    1000 A/0 thread_start 1 at 0x7ffff77fe000
    2210 A/0 malloc 64 at 0x555555554010
    2320 A/0 t1 malloc 64 at 0x555555554060
    2331 A/0 t1 malloc 64 at 0x5555555540b0
    2341 A/0 t1 malloc 64 at 0x555555554100
    2351 A/0 malloc 64 at 0x555555554150
    2362 A/0 malloc 64 at 0x5555555541a0
    2372 A/0 malloc 64 at 0x5555555541f0
    2382 A/0 t1 malloc 64 at 0x555555554240
    2393 A/0 t1 thread_end
    2993 A/0 exit
    ");
}

#[test]
fn a_consumer_frees_what_producers_get_and_ends_with_the_last_of_them() {
    let groups = r#"(name: "A", does: mix(gap: constant(5000), size: constant(64), life: constant(2000), threads: 3, calls: 2,
                      free_by: consumers(1)))"#;
    assert_snapshot!(story(&mut roomy("cpus: 4", groups)), @r"
        0 A/0 start
     1000 A/0 thread_start 1 at 0x7ffff77fe000
     2200 A/0 thread_start 2 at 0x7ffff6ffd000
     7200 A/0 t1 malloc 64 at 0x555555554010
     8400 A/0 malloc 64 at 0x555555554060
     9200 A/0 t2 free 64 at 0x555555554010
    10400 A/0 t2 free 64 at 0x555555554060
    12200 A/0 t1 malloc 64 at 0x555555554010
    12211 A/0 t1 thread_end
    13400 A/0 malloc 64 at 0x555555554060
    13410 A/0 join
    13410 A/0 t2 thread_end
    13510 A/0 exit
    ");
}

#[test]
fn a_thread_whose_time_is_over_is_replaced_until_the_main_thread_ends() {
    let groups = r#"(name: "A", does: mix(gap: constant(4000), size: constant(64), life: constant(100000), threads: 2, calls: 4,
                      thread_life: constant(5000)))"#;
    assert_snapshot!(story(&mut roomy("cpus: 2", groups)), @r"
        0 A/0 start
     1000 A/0 thread_start 1 at 0x7ffff77fe000
     6000 A/0 t1 thread_end
     6000 A/0 thread_start 1 at 0x7ffff77fe000
     7000 A/0 malloc 64 at 0x555555554010
    10200 A/0 malloc 64 at 0x555555554060
    11000 A/0 t1 thread_end
    11000 A/0 thread_start 1 at 0x7ffff77fe000
    14200 A/0 malloc 64 at 0x5555555540b0
    16000 A/0 t1 thread_end
    16000 A/0 thread_start 1 at 0x7ffff77fe000
    18200 A/0 malloc 64 at 0x555555554100
    18210 A/0 join
    21000 A/0 t1 thread_end
    21000 A/0 exit
    ");
}

#[test]
fn threads_of_a_script_take_turns() {
    let groups = r#"(name: "A", does: script([
        malloc("a", 100), thread(1), malloc("b", 100), sleep(5000), free("a"), thread(2), malloc("c", 100), thread(0), free("c"),
        end_thread(1), end_thread(1), thread(1), malloc("d", 100)]))"#;
    assert_snapshot!(story(&mut roomy("cpus: 2", groups)), @r"
        0 A/0 start
     1000 A/0 malloc 100 at 0x555555554010
     1110 A/0 thread_start 1 at 0x7ffff77fe000
     2310 A/0 t1 malloc 100 at 0x555555554090
     7321 A/0 t1 sleep
     7321 A/0 t1 free at 0x555555554010
     7331 A/0 t1 thread_start 2 at 0x7ffff6ffd000
     8531 A/0 t2 malloc 100 at 0x555555554010
     8542 A/0 free at 0x555555554010
     8553 A/0 t1 thread_end
     9154 A/0 thread_start 1 at 0x7ffff77fe000
    10154 A/0 t1 thread_end
    10755 A/0 thread_start 1 at 0x7ffff77fe000
    11755 A/0 t1 malloc 100 at 0x555555554010
    11766 A/0 t1 exit
    ");
}

#[test]
fn the_end_of_a_life_time_ends_all_threads() {
    let groups = r#"(name: "A", live: constant(9000), does: mix(gap: constant(3000), size: constant(64), threads: 3)),
                    (name: "B", arrive: at(20000), does: script([malloc("x", 1)]))"#;
    let mut simulation = roomy("cpus: 2", groups);
    assert_snapshot!(story(&mut simulation), @r"
        0 A/0 start
     1000 A/0 thread_start 1 at 0x7ffff77fe000
     2200 A/0 thread_start 2 at 0x7ffff6ffd000
     5200 A/0 t1 malloc 64 at 0x555555554010
     6400 A/0 malloc 64 at 0x555555554060
     6400 A/0 t2 malloc 64 at 0x5555555540b0
     8200 A/0 t1 malloc 64 at 0x555555554100
     9000 A/0 exit
    20000 B/0 start
    21000 B/0 malloc 1 at 0x555555554010
    21110 B/0 exit
    ");
    assert_eq!(simulation.levels().free_frames, 16_384);
    assert_eq!(simulation.summary().threads, ThreadCounts { started: 2, ended: 0 });
}

#[test]
fn a_thread_that_finds_no_memory_is_done_without() {
    // A stack of 8 MiB is more than all memory.
    let script = r#"(name: "S", does: script([thread(1), malloc("a", 10), thread(0), free("a")]))"#;
    assert_snapshot!(story(&mut machine(64, ROUND, script)), @r"
       0 S/0 start
    1000 S/0 thread_start 1 refused: address_space
    2300 S/0 t1 malloc 10 at 0x555555554010
    2410 S/0 free at 0x555555554010
    2420 S/0 exit
    ");
    let mix = r#"(name: "M", does: mix(gap: constant(100), size: constant(64), life: constant(150), calls: 2, threads: 3,
                  free_by: consumers(2)))"#;
    assert_snapshot!(story(&mut machine(64, ROUND, mix)), @r"
       0 M/0 start
    1000 M/0 thread_start 1 refused: address_space
    2300 M/0 thread_start 2 refused: address_space
    3700 M/0 malloc 64 at 0x555555554010
    3810 M/0 malloc 64 at 0x555555554060
    3820 M/0 exit
    ");
}

#[test]
fn a_thread_whose_block_finds_no_frames_is_refused() {
    let mut short = simulation(
        r#"(machine: (memory: "256KiB", cpus: 2, frames: first_fit, kernel: free_of_charge), programs: {"p": (thread_stack: "64KiB")},
            processes: [(name: "M", program: "p", does: mix(gap: constant(100), size: constant("100KiB"), threads: 2, calls: 2))])"#,
    );
    let story = story(&mut short);
    let outcomes = |thread: &str| {
        let calls = story.lines().filter_map(|line| line.split_once(thread)?.1.split_once(" 102400 "));
        calls.map(|(_, outcome)| outcome.split(' ').next().expect("a word")).collect::<Vec<_>>()
    };
    assert_eq!(outcomes("M/0 malloc"), ["at", "refused:"], "{story}");
    assert_eq!(outcomes("M/0 t1 malloc"), ["at", "refused:"], "{story}");
}

/// A group on glibc that runs a script.
fn on_glibc(script: &str) -> Simulation {
    simulation(&format!(
        r#"(machine: (memory: "256MiB", cpus: 2, frames: first_fit), programs: {{"p": (heap: glibc)}},
            processes: [(name: "A", program: "p", does: script([{script}]))])"#
    ))
}

/// Where each block was got, by what the script calls it.
fn places(simulation: &mut Simulation) -> BTreeMap<String, Vec<u64>> {
    let mut places: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    while let Some(happened) = simulation.step().expect("the run goes on") {
        simulation.check().expect("sound after every event");
        let Call::Request(framesim_workloads::requests::Request::Malloc { slot: Some(slot), .. }) = happened.call
        else {
            continue;
        };
        let Outcome::At(at) = happened.outcome else { panic!("there is memory: {happened:?}") };
        places.entry(simulation.slot_name(0, slot).expect("a name").to_owned()).or_default().push(at.0);
    }
    places
}

#[test]
fn a_block_freed_by_another_thread_goes_back_to_its_own_arena() {
    // 2,000 bytes are more than any cache keeps.
    let script = r#"thread(1), malloc("a", 2000), malloc("wall", 16), thread(0), malloc("m", 16), free("a"), malloc("b", 2000),
                    thread(1), malloc("c", 2000)"#;
    let at = places(&mut on_glibc(script));
    assert_eq!(at["c"], at["a"], "the arena of thread 1 has it again");
    let of_main = at["m"][0] >> 26;
    assert_ne!(at["a"][0] >> 26, of_main, "another thread, another arena");
    assert_eq!(at["b"][0] >> 26, of_main, "the main thread stays in its arena");
}

#[test]
fn a_small_block_freed_by_another_thread_goes_to_the_cache_of_that_thread() {
    let script = r#"thread(1), malloc("a", 100), thread(0), free("a"), malloc("b", 100), thread(1), malloc("c", 100)"#;
    let at = places(&mut on_glibc(script));
    assert_eq!(at["b"], at["a"]);
    assert_ne!(at["c"], at["a"]);
}

#[test]
fn the_end_of_a_thread_gives_its_cache_and_arena_to_the_next() {
    let script = r#"thread(1), malloc("a", 100), free("a"), end_thread(1), thread(2), malloc("b", 100)"#;
    let at = places(&mut on_glibc(script));
    assert_eq!(at["b"][0] >> 26, at["a"][0] >> 26, "the arena that nobody has any more");
    let apart = places(&mut on_glibc(&script.replace("end_thread(1), ", "")));
    assert_ne!(apart["b"][0] >> 26, apart["a"][0] >> 26, "while thread 1 lives, another one");
}

/// Frames for stacks in user space and in the kernel, right before the end.
fn stack_frames(script: &str) -> (u64, u64) {
    let mut simulation = on_glibc(&format!("{script}, sleep(1000000000)"));
    let mut frames = (0, 0);
    while let Some(happened) = simulation.step().expect("the run goes on") {
        simulation.check().expect("sound after every event");
        if happened.time < Nanos(1_000_000_000) {
            let map = simulation.kernel().frame_map();
            frames = (map.taken_for(Region::Stack), map.taken_for(Region::KernelStack));
        }
    }
    assert_eq!(simulation.kernel().frame_map().taken(), 0, "all goes back with the process");
    frames
}

#[test]
fn the_end_of_a_thread_gives_its_stacks_back_but_for_those_kept() {
    let start = |threads: std::ops::RangeInclusive<u32>| -> String {
        threads.map(|thread| format!("thread({thread}), malloc(\"x\", 1), ")).collect()
    };
    let end = |threads: std::ops::RangeInclusive<u32>| -> String {
        threads.map(|thread| format!("end_thread({thread}), ")).collect()
    };
    let none = "thread(0)";
    // Two pages of each stack are written; in the kernel each thread, the main one too, has four.
    assert_eq!(stack_frames(&format!("{}{none}", start(1..=7))), (14, 32));
    assert_eq!(stack_frames(&format!("{}{}{none}", start(1..=7), end(1..=2))), (14, 24), "two are kept");
    assert_eq!(stack_frames(&format!("{}{}{none}", start(1..=7), end(1..=7))), (8, 4), "four are kept");
    assert_eq!(
        stack_frames(&format!("{}{}{}{none}", start(1..=7), end(1..=7), start(1..=3))),
        (8, 16),
        "and used again"
    );
}

/// Threads that come, go, pass blocks on, and find too little memory.
const TEAMS: &str = r#"(
    seed: 5,
    machine: (memory: "2560KiB", cpus: CPUS, frames: buddy(max_order: 9), out_of_memory: RULE),
    programs: {"p": (code: "32KiB", data: "16KiB", stack: "16KiB", thread_stack: "32KiB", heap: glibc)},
    processes: [
        (
            name: "team", program: "p", arrive: poisson(per_second: 600.0, until: "20ms"), live: exponential(mean: "9ms"),
            does: mix(
                gap: exponential(mean: "40us"), size: log_normal(median: 512, sigma: 1.5), life: exponential(mean: "1ms"),
                threads: 4, free_by: random, thread_life: exponential(mean: "2ms"), until: "8ms",
            ),
        ),
        (
            name: "pipe", program: "p", arrive: every(gap: "4ms", count: 4),
            does: mix(
                gap: exponential(mean: "50us"), size: uniform(lo: 16, hi: 3000), life: exponential(mean: "500us"),
                threads: 3, free_by: consumers(1), calls: 60,
            ),
        ),
        (name: "turns", program: "p", arrive: every(gap: "3ms", count: 5), does: script([repeat(10, [
            thread(1), malloc("x", "20KiB"), touch("x"), thread(2), malloc("y", 40), thread(0), free("x"), end_thread(2), free("y"),
        ])])),
    ],
)"#;

fn teams(rule: &str, cpus: u32) -> Simulation {
    simulation(&TEAMS.replace("RULE", rule).replace("CPUS", &cpus.to_string()))
}

#[test]
fn after_all_threads_have_ended_memory_is_as_it_was() {
    for (rule, cpus) in [("fail", 1), ("fail", 3), ("wait", 2), ("kill", 3)] {
        let mut simulation = teams(rule, cpus);
        let (before, free) = (simulation.state_digest(), simulation.levels().free_frames);
        finish(&mut simulation);
        let summary = simulation.summary();
        assert_eq!(summary.state, RunState::Done, "{rule}");
        assert_eq!((simulation.levels().free_frames, simulation.levels().threads), (free, 0), "{rule}");
        assert_eq!(simulation.state_digest(), before, "{rule}");
        assert!(summary.peak.threads > summary.peak.processes && summary.threads.ended > 20, "{rule}: {summary:?}");
        assert!(summary.failures.total + summary.waits.ended + summary.processes.killed > 0, "{rule}: memory is short");
    }
}

#[test]
fn a_run_with_threads_saved_and_restored_half_way_ends_the_same() {
    for rule in ["fail", "wait", "kill"] {
        let mut whole = teams(rule, 2);
        finish(&mut whole);
        for part in 1..12 {
            let half = whole.events() * part / 12;
            let mut first = teams(rule, 2);
            for _ in 0..half {
                first.step().expect("the run goes on");
            }
            let saved = first.save();
            let mut second = Simulation::restore(&saved, &Registries::default()).expect("a checkpoint");
            assert_eq!(second.save(), saved, "what was read is what was written");
            finish(&mut second);
            assert_eq!(
                (second.digest(), second.summary()),
                (whole.digest(), whole.summary()),
                "{rule} from event {half}"
            );
        }
    }
}

#[test]
fn looking_on_at_threads_changes_nothing() {
    for rule in ["fail", "wait", "kill"] {
        let mut alone = teams(rule, 2);
        alone.run().expect("the run goes on");
        let mut watched = teams(rule, 2);
        let mut probe = Curious::default();
        watched.run_seen(&mut [&mut probe]).expect("the run goes on");
        assert_eq!((watched.digest(), watched.summary()), (alone.digest(), alone.summary()));
        let mut queued = teams(rule, 2);
        while queued.step().expect("the run goes on").is_some() {
            queued.put_away();
        }
        assert_eq!(queued.digest(), alone.digest());
    }
}

#[test]
fn digests_of_threads_stay_as_they_are() {
    let mut simulation = teams("wait", 2);
    simulation.run().expect("the run goes on");
    assert_snapshot!(format!("{:#}", simulation.digest()), @"7f7a8dcd43e2548f9709c876a9be2070");
}

/// Who got each block and who freed it, in order of the frees.
fn passed_on(free_by: &str) -> Vec<(u32, u32)> {
    let mut simulation = roomy(
        "cpus: 2",
        &format!(
            r#"(name: "A", does: mix(gap: exponential(mean: 5000), size: constant(64), life: exponential(mean: 20000), threads: 4,
             calls: 50, free_by: {free_by}))"#
        ),
    );
    let (mut owners, mut passed) = (BTreeMap::new(), Vec::new());
    while let Some(happened) = simulation.step().expect("the run goes on") {
        match (happened.call, happened.outcome) {
            // What threads that ended leave is the main thread's.
            (Call::ThreadEnd | Call::Join, _) => break,
            (Call::LifeOver { address, .. }, _) => passed.push((owners[&address], happened.thread.0)),
            (Call::Request(_), Outcome::At(at)) => _ = owners.insert(at, happened.thread.0),
            _ => {}
        }
    }
    assert!(passed.len() > 40, "{passed:?}");
    passed
}

#[test]
fn a_block_is_freed_by_whom_the_mix_says() {
    assert!(passed_on("owner").iter().all(|(owner, by)| owner == by));
    assert!(passed_on("next").iter().all(|(owner, by)| (owner + 1) % 4 == *by));
    assert!(passed_on("consumers(2)").iter().all(|(owner, by)| *owner < 2 && *by == 2 + owner % 2));
    let random: std::collections::BTreeSet<_> = passed_on("random").into_iter().collect();
    assert!(random.len() > 12, "each frees some of each other's: {random:?}");
}

/// Bytes asked for by one thread, in order.
fn asked_by(thread: u32, threads: u32) -> Vec<u64> {
    let mut simulation = roomy(
        "cpus: 2",
        &format!(
            r#"(name: "A", does: mix(gap: exponential(mean: 5000), size: uniform(lo: 1, hi: 9999), life: exponential(mean: 20000),
             threads: {threads}, calls: 50, free_by: next))"#
        ),
    );
    let mut asked = Vec::new();
    while let Some(happened) = simulation.step().expect("the run goes on") {
        if happened.thread.0 == thread && matches!(happened.call, Call::Request(_)) {
            asked.extend(happened.call.bytes());
        }
    }
    asked
}

#[test]
fn a_thread_more_leaves_the_requests_of_the_others_as_they_were() {
    for thread in 0..2 {
        assert_eq!(asked_by(thread, 2).len(), 50);
        assert_eq!(asked_by(thread, 2), asked_by(thread, 5));
    }
    assert_eq!(asked_by(0, 1), asked_by(0, 5));
    assert_ne!(asked_by(0, 5), asked_by(1, 5));
}

#[test]
fn threads_of_a_recording_make_its_calls_in_order() {
    let text = |one_thread: bool| {
        format!(
            r#"(machine: (memory: "256MiB", cpus: 2, frames: buddy), programs: {{"p": (heap: glibc)}},
                processes: [(name: "A", program: "p",
                    does: trace(file: "traces/gen-threads4.trace.zst", one_thread: {one_thread}))])"#
        )
    };
    let calls = |one_thread| {
        let mut simulation = simulation(&text(one_thread));
        let mut calls = Vec::new();
        let mut free_at = Nanos(0);
        while let Some(happened) = simulation.step().expect("the run goes on") {
            assert!(happened.time >= free_at, "one call ends before the next begins: {happened:?}");
            free_at = Nanos(happened.time.0 + happened.cost.0);
            if happened.call.is_on_heap() {
                calls.push(happened.call);
            }
        }
        simulation.check().expect("sound at the end");
        (calls, simulation.summary())
    };
    let ((turns, in_turns), (single, alone)) = (calls(false), calls(true));
    assert_eq!(turns, single);
    assert_eq!((in_turns.peak.threads, alone.peak.threads), (4, 1));
    assert!(in_turns.calls.system_calls["mmap"] > alone.calls.system_calls["mmap"], "stacks and arenas");
}

#[test]
fn limits_count_threads_and_live_blocks_as_the_run_goes_on() {
    let text = TEAMS.replace("RULE", "wait").replace("CPUS", "2");
    let stopped = |change: &dyn Fn(&mut Workload)| simulation_with(&text, change).run().unwrap_err().to_string();
    assert_snapshot!(stopped(&|workload| workload.limits.processes = 4), @"4 processes and threads are alive, as many as `limits.processes` allows");
    assert_snapshot!(stopped(&|workload| workload.limits.live_blocks = 20), @"21 blocks are live, and `limits.live_blocks` allows 20");
    assert_snapshot!(stopped(&|workload| workload.limits.memory.0 = 1200), @"6 live blocks and 6 processes and threads take more than the 1200 bytes that `limits.memory` allows");
    assert_snapshot!(stopped(&|workload| workload.limits.memory.0 = 300), @"0 live blocks and 2 processes and threads take more than the 300 bytes that `limits.memory` allows");
}
