//! Requests of whole workloads: what they are, and that nothing but the workload's own words moves them.

use std::path::Path;

use framesim_models::ThreadId;
use framesim_models::frames::PolicyRegistry;
use framesim_models::heap::HeapRegistry;

use super::{Request, Requests, Stream, Timed};
use crate::load::{Known, Setting, load};
use crate::spec::Workload;

fn workload_with(text: &str, settings: &[(&str, &str)]) -> Workload {
    let (frames, heaps) = (PolicyRegistry::default(), HeapRegistry::default());
    let setting = |(path, value): &(&str, &str)| Setting { path: (*path).to_owned(), value: (*value).to_owned() };
    let settings: Vec<Setting> = settings.iter().map(setting).collect();
    let known = Known { frames: &frames, heaps: &heaps };
    load("t.ron", text, &settings, known).unwrap_or_else(|wrong| panic!("{wrong}")).workload
}

fn requests(text: &str) -> Requests {
    Requests::new(&workload_with(text, &[]), 0, Path::new(".")).expect("no trace is used")
}

/// A workload of one group whose processes do this.
fn doing(does: &str) -> String {
    format!(
        "(machine: (memory: \"64KiB\", frames: first_fit), until: \"1s\", processes: [\
            (name: \"P\", does: {does}), (name: \"child\", arrive: spawned, does: script([spawn(\"child\")]))])"
    )
}

fn next(requests: &mut Requests, stream: &mut Stream) -> Timed {
    requests.next(stream).expect("no trace is used")
}

/// All requests of a process in short; at most 100.
fn asked(does: &str) -> String {
    let mut requests = requests(&doing(does));
    let mut stream = requests.start(0, 0);
    let mut lines = Vec::new();
    for _ in 0..100 {
        let timed = next(&mut requests, &mut stream);
        let thread = if timed.thread.0 == 0 { String::new() } else { format!("t{} ", timed.thread.0) };
        let request = format!("{:?}", timed.request).replace(", freed_by: ThreadId(0)", "");
        lines.push(format!("+{} {thread}{request}", timed.gap.0));
        if timed.request == Request::Exit {
            break;
        }
    }
    lines.join("\n")
}

#[test]
fn a_script_asks_step_by_step() {
    insta::assert_snapshot!(asked(
        r#"script([take("A", 2), malloc("x", "1KiB"), thread(1), realloc("x", 2000), sleep("5us"), touch("x"), free("x"),
            thread(0), give("A"), calloc("y", 4, 16), aligned("z", 64, 100), mmap("m", 4096), dontneed("m"), munmap("m"),
            spawn("child"), exit, take("never", 1)])"#
    ), @"
    +0 Take { slot: Slot(0), frames: 2 }
    +0 Malloc { slot: Some(Slot(1)), bytes: 1024, touch: 0, life: None }
    +0 t1 Realloc { slot: Slot(1), bytes: 2000, touch: 0 }
    +5000 t1 Sleep
    +0 t1 Touch { slot: Slot(1) }
    +0 t1 Free { slot: Slot(1) }
    +0 Give { slot: Slot(0) }
    +0 Calloc { slot: Slot(2), count: 4, bytes: 16, touch: 0 }
    +0 AlignedAlloc { slot: Slot(3), align: 64, bytes: 100, touch: 0 }
    +0 Mmap { slot: Slot(4), bytes: 4096 }
    +0 DontNeed { slot: Slot(4) }
    +0 Munmap { slot: Slot(4) }
    +0 Spawn { group: 1 }
    +0 Exit
    ");
}

#[test]
fn repetitions_are_counted_not_unrolled() {
    let script = r#"script([repeat(2, [malloc("x", 1), repeat(3, [touch("x")]), free("x")]), sleep(7)])"#;
    insta::assert_snapshot!(asked(script), @"
    +0 Malloc { slot: Some(Slot(0)), bytes: 1, touch: 0, life: None }
    +0 Touch { slot: Slot(0) }
    +0 Touch { slot: Slot(0) }
    +0 Touch { slot: Slot(0) }
    +0 Free { slot: Slot(0) }
    +0 Malloc { slot: Some(Slot(0)), bytes: 1, touch: 0, life: None }
    +0 Touch { slot: Slot(0) }
    +0 Touch { slot: Slot(0) }
    +0 Touch { slot: Slot(0) }
    +0 Free { slot: Slot(0) }
    +7 Sleep
    +0 Exit
    ");
    let huge = r#"script([repeat(1000000, [repeat(1000, [repeat(30, [malloc("x", 1), free("x")])])])])"#;
    let mut requests = requests(&doing(huge));
    let mut stream = requests.start(0, 0);
    for _ in 0..100_000 {
        assert_ne!(next(&mut requests, &mut stream).request, Request::Exit);
    }
}

#[test]
fn a_mix_draws_its_requests_and_ends() {
    insta::assert_snapshot!(asked("mix(gap: constant(\"1us\"), size: uniform(lo: 1, hi: 100), calls: 3)"), @"
    +1000 Malloc { slot: None, bytes: 69, touch: 69, life: None }
    +1000 Malloc { slot: None, bytes: 87, touch: 87, life: None }
    +1000 Malloc { slot: None, bytes: 49, touch: 49, life: None }
    +0 Exit
    ");
    insta::assert_snapshot!(asked(
        "mix(gap: exponential(mean: \"1us\"), size: uniform(lo: 1, hi: 100), life: constant(\"1ms\"), touch: share(0.5), threads: 4, until: \"5us\")"
    ), @r"
    +377 Malloc { slot: None, bytes: 80, touch: 40, life: Some(Nanos(1000000)) }
    +148 Malloc { slot: None, bytes: 25, touch: 13, life: Some(Nanos(1000000)) }
    +727 Malloc { slot: None, bytes: 50, touch: 25, life: Some(Nanos(1000000)) }
    +2942 Malloc { slot: None, bytes: 98, touch: 49, life: Some(Nanos(1000000)) }
    +95 Malloc { slot: None, bytes: 75, touch: 38, life: Some(Nanos(1000000)) }
    +711 Exit
    ");
}

#[test]
fn phases_take_turns_by_the_gaps_drawn() {
    insta::assert_snapshot!(asked(
        "mix(gap: constant(10), size: constant(1), calls: 9, phases: [(lasts: 30), (lasts: 20, size: constant(2), life: constant(5))])"
    ), @"
    +10 Malloc { slot: None, bytes: 1, touch: 1, life: None }
    +10 Malloc { slot: None, bytes: 1, touch: 1, life: None }
    +10 Malloc { slot: None, bytes: 1, touch: 1, life: None }
    +10 Malloc { slot: None, bytes: 2, touch: 2, life: Some(Nanos(5)) }
    +10 Malloc { slot: None, bytes: 2, touch: 2, life: Some(Nanos(5)) }
    +10 Malloc { slot: None, bytes: 1, touch: 1, life: None }
    +10 Malloc { slot: None, bytes: 1, touch: 1, life: None }
    +10 Malloc { slot: None, bytes: 1, touch: 1, life: None }
    +10 Malloc { slot: None, bytes: 2, touch: 2, life: Some(Nanos(5)) }
    +0 Exit
    ");
}

#[test]
fn a_stream_that_has_ended_says_so_for_ever() {
    let mut requests = requests(&doing("script([sleep(1)])"));
    let mut stream = requests.start(0, 0);
    next(&mut requests, &mut stream);
    for _ in 0..3 {
        assert_eq!(next(&mut requests, &mut stream).request, Request::Exit);
    }
}

const MIXED: &str = r#"(
    machine: (memory: "1MiB", frames: first_fit),
    until: "1s",
    processes: [
        (name: "web", arrive: poisson(per_second: 1000), live: exponential(mean: "5ms"), count: 2, does: mix(
            gap: exponential(mean: "20us"), life: weibull(scale: "1ms", shape: 0.6), threads: 3,
            size: mixture([(90, log_normal(median: 128, sigma: 1.0)), (10, pareto(min: 4096, shape: 1.3))]))),
        (name: "job", arrive: every(gap: "100ms", count: 5), does: script([
            spawn("child"), spawn("child"), malloc("x", 10)])),
        (name: "child", arrive: spawned, does: mix(gap: uniform(lo: 1, hi: 9), calls: 1000, size: zipf(ranks: 99, exponent: 1, unit: 16)))
    ],
)"#;

/// The first requests of each process of each group, with the times of arrival and of life: one line a process.
fn trajectory(workload: &Workload, replica: u32) -> Vec<String> {
    let mut requests = Requests::new(workload, replica, Path::new(".")).expect("no trace is used");
    let mut lines = Vec::new();
    for group in 0..u32::try_from(workload.processes.len()).expect("few groups") {
        let mut arrivals = requests.arrivals(group);
        let times: Vec<_> = (0..20).map_while(|_| requests.next_arrival(&mut arrivals)).map(|time| time.0).collect();
        lines.push(format!("{} arrives {times:?}", workload.processes[framesim_models::index(group.into())].name));
        let mut streams: Vec<Stream> = (0..3).map(|ordinal| requests.start(group, ordinal)).collect();
        // Interleaved, as a simulation would ask.
        let mut asked = vec![String::new(); streams.len()];
        for _ in 0..50 {
            for (asked, stream) in asked.iter_mut().zip(&mut streams) {
                asked.push_str(&format!("{:?} ", next(&mut requests, stream)));
            }
        }
        for (asked, stream) in asked.iter().zip(&streams) {
            let name = requests.name(stream);
            lines.push(format!("{name} {:?} {asked}", requests.life(stream)));
        }
    }
    lines
}

#[test]
fn a_policy_a_cpu_more_memory_or_another_group_moves_no_request() {
    let before = trajectory(&workload_with(MIXED, &[]), 0);
    for (path, value) in [
        ("machine.frames", "buddy(max_order: 4)"),
        ("machine.cpus", "8"),
        ("machine.memory", "16MiB"),
        ("machine.out_of_memory", "kill"),
        ("processes.web.program", "p"),
        ("until", "2s"),
    ] {
        let settings = [("programs.p", "(code: 4096, heap: bump)"), (path, value)];
        let text = MIXED.replace("until: \"1s\",", "until: \"1s\", programs: {},");
        assert_eq!(trajectory(&workload_with(&text, &settings), 0), before, "{path}");
    }
    let first = "processes: [(name: \"other\", does: mix(gap: constant(1), size: constant(1), calls: 9)),";
    let more = trajectory(&workload_with(&MIXED.replace("processes: [", first), &[]), 0);
    // The index of a spawned group is not its name: only the new group's own lines are new.
    let same = |line: &String| more.contains(&line.replace("Spawn { group: 2 }", "Spawn { group: 3 }"));
    assert!(before.iter().all(same));
}

#[test]
fn another_seed_replica_name_or_law_moves_requests() {
    let before = trajectory(&workload_with(MIXED, &[]), 0);
    assert_ne!(trajectory(&workload_with(MIXED, &[]), 1)[1], before[1]);
    assert_ne!(trajectory(&workload_with(MIXED, &[("seed", "2")]), 0)[1], before[1]);
    let renamed = trajectory(&workload_with(MIXED, &[("processes.0.name", "www")]), 0);
    assert_ne!(renamed[1][3..], before[1][3..]);
    assert_eq!(renamed[4..], before[4..]);
}

#[test]
fn a_process_alone_asks_the_same_as_among_others() {
    let workload = workload_with(MIXED, &[]);
    let mut crowd = Requests::new(&workload, 0, Path::new(".")).expect("no trace is used");
    let mut alone = crowd.clone();
    let mut streams: Vec<Stream> = (0..5000).map(|ordinal| crowd.start(0, ordinal)).collect();
    for _ in 0..3 {
        for stream in &mut streams {
            next(&mut crowd, stream);
        }
    }
    let mut single = alone.start(0, 4711);
    for _ in 0..3 {
        next(&mut alone, &mut single);
    }
    assert_eq!(single, streams[4711]);
    assert_eq!(next(&mut alone, &mut single), next(&mut crowd, &mut streams[4711]));
}

#[test]
fn children_are_named_after_their_parent() {
    let mut requests = Requests::new(&workload_with(MIXED, &[]), 0, Path::new(".")).expect("no trace is used");
    let mut parent = requests.start(1, 3);
    let child = requests.spawn(&mut parent, 2);
    let mut second = requests.spawn(&mut parent, 2);
    assert_eq!((requests.name(&child).as_str(), requests.name(&second).as_str()), ("job/3/f0", "job/3/f1"));
    let first_request = next(&mut requests, &mut second);
    let mut other = requests.start(1, 4);
    let mut cousin = requests.spawn(&mut other, 2);
    assert_ne!(next(&mut requests, &mut cousin), first_request);
}

#[test]
fn names_of_long_chains_of_children_stay_short() {
    let mut requests = requests(&doing("script([])"));
    let mut stream = requests.start(1, 0);
    for _ in 0..500 {
        stream = requests.spawn(&mut stream, 1);
        assert!(requests.name(&stream).len() <= super::NAME_BYTES_MOST);
    }
    assert_eq!(next(&mut requests, &mut stream).request, Request::Spawn { group: 1 });
}

#[test]
fn a_stream_is_small_and_can_be_written() {
    assert!(size_of::<Stream>() <= 80, "{} bytes", size_of::<Stream>());
    let mut requests = requests(MIXED);
    let mut stream = requests.start(0, 9);
    next(&mut requests, &mut stream);
    let saved = postcard::to_stdvec(&stream).expect("a stream is plain data");
    let mut again: Stream = postcard::from_bytes(&saved).expect("what was written");
    assert_eq!(next(&mut requests, &mut again), next(&mut requests, &mut stream));
}

#[test]
fn a_recording_is_asked_for_again_from_where_a_copy_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let records: String = (1..2000).map(|id| format!("m {id} {id} {}\n", id * 3)).collect();
    std::fs::write(folder.path().join("a.trace"), format!("# heap trace v1\n{records}")).expect("it can be written");
    let text = doing("trace(file: \"a.trace\", touch: none)");
    let mut requests = Requests::new(&workload_with(&text, &[]), 0, folder.path()).expect("the trace is there");
    let mut stream = requests.start(0, 0);
    for _ in 0..1000 {
        next(&mut requests, &mut stream);
    }
    let (mut copied_requests, mut copy) = (requests.clone(), stream.clone());
    for _ in 0..1001 {
        assert_eq!(next(&mut copied_requests, &mut copy), next(&mut requests, &mut stream));
    }
    assert_eq!(next(&mut requests, &mut stream).request, Request::Exit);
    let missing = Requests::new(&workload_with(&text, &[]), 0, Path::new("nowhere")).unwrap_err();
    assert_eq!(missing.kind(), crate::trace::TraceErrorKind::Io);
}

#[test]
fn threads_have_streams_of_their_own_by_name() {
    let crew = |threads: u32| {
        format!(
            "mix(gap: exponential(mean: \"1us\"), size: uniform(lo: 1, hi: 9999), life: constant(9), calls: 20, \
             threads: {threads}, thread_life: exponential(mean: \"1ms\"), free_by: next)"
        )
    };
    let asked = |threads: u32, thread: u32, times: u32| {
        let mut requests = requests(&doing(&crew(threads)));
        let main = requests.start(0, 0);
        let mut stream = requests.start_thread(&main, ThreadId(thread), times);
        let life = requests.thread_life(&stream).expect("a life time is given");
        let asked: Vec<Timed> = (0..21).map(|_| next(&mut requests, &mut stream)).collect();
        assert!(asked.iter().all(|timed| timed.thread == ThreadId(thread)));
        assert_eq!(asked[20].request, Request::Exit);
        let bytes = |timed: &Timed| match timed.request {
            Request::Malloc { bytes, .. } => bytes,
            _ => 0,
        };
        (requests.name(&stream), life, asked.iter().map(|timed| (timed.gap, bytes(timed))).collect::<Vec<_>>())
    };
    assert_eq!(asked(3, 1, 0), asked(7, 1, 0), "the others move nothing");
    assert_ne!(asked(3, 1, 0).2, asked(3, 2, 0).2);
    assert_ne!(asked(3, 1, 0).2, asked(3, 1, 1).2, "another thread in the same place draws anew");
    assert_eq!((asked(3, 1, 0).0, asked(3, 1, 2).0), ("P/0/t1".to_owned(), "P/0/t1.2".to_owned()));
}
