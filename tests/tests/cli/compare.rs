//! `compare`: the same requests under several heaps and frame policies.

use std::fs;

use framesim::Registries;
use insta::assert_snapshot;

use crate::command::{framesim, refused, shown};

const LS: &str = "workloads/traces/ls.trace.zst";

#[test]
fn heaps_are_put_side_by_side_and_the_winner_is_named() {
    assert_snapshot!(shown(&["compare", LS, "--heap", "glibc,dlmalloc,free_list(policy: best)"]), @r"
    ls.trace.zst: replay of ls.trace.zst
    seed 1
    the same 4,718 requests for all, digest fe271155dc79058c

                             held, KiB       resident, KiB    % of held  system
    heap                 most  average       most  average   int.  ext.   calls ref.
    glibc               620.0    329.1      588.0    271.6    6.1  30.7       4    0
    dlmalloc            692.0    340.1      692.0    340.1    5.0  33.9      14    0
    free_list(policy: best)
                        704.0    357.5      704.0    349.5    5.3  36.6       5    0

    glibc has least memory resident on average, 271.6 KiB: 20.1 % less than
    dlmalloc, 22.3 % less than free_list(policy: best), the last. glibc holds least,
    329.1 KiB: 3.2 % less than dlmalloc, 8.0 % less than free_list(policy: best),
    the last. glibc makes the fewest system calls, 4; dlmalloc the most, 14.

    average: after each call of a heap; int. and ext.: internal and external
    fragmentation; ref.: refused
    ");
}

#[test]
fn policies_are_put_side_by_side_over_seeds() {
    let said = shown(&["compare", "web", "--policy", "first_fit,best_fit,buddy", "--seeds", "3", "--until", "50ms"]);
    assert_snapshot!(said, @r"
    web: a web server, 200 requests a second
    seeds 42 to 44; numbers are means over them
    the same 27,062 requests for all, digest db787df9cbf8d4b8

                                         external, frames           shortest   most
    policy                     refused    average             worst  longest  holes
    first_fit                        0      0.002 ± 0.004     0.008      63k     12
    best_fit                         0      0.002 ± 0.004     0.008      63k     12
    buddy                            0      0.000 ± 0.000     0.000    1,024     19

    buddy leaves 0.2 points less external fragmentation of frames than first_fit.
    Over seeds: no difference in external fragmentation between buddy and first_fit
    is resolved (buddy - first_fit: 95 % interval -0.593 to 0.147 points, 3 seeds).
    ");
}

#[test]
fn every_heap_runs_on_every_policy() {
    let said =
        shown(&["compare", "workloads/traces/pigz.trace.zst", "--heap", "slab,tlsf", "--policy", "buddy,next_fit"]);
    assert!(said.contains("under buddy\nslab ") && said.contains("under next_fit\nslab "), "{said}");
    for side in ["buddy, slab ", "buddy, tlsf ", "next_fit, slab ", "next_fit, tlsf "] {
        assert!(said.lines().any(|line| line.starts_with(side)), "{side} in\n{said}");
    }
}

#[test]
fn all_is_every_heap_there_is() {
    let said = shown(&["compare", LS, "--heap", "all"]);
    for heap in Registries::default().heaps.iter() {
        assert!(said.lines().any(|line| line.split_whitespace().next() == Some(heap.name)), "{}: {said}", heap.name);
    }
    assert_eq!(said, shown(&["compare", LS]), "without heaps and policies all heaps are compared");
}

#[test]
fn the_number_of_jobs_changes_nothing() {
    let words =
        ["compare", "workloads/traces/pigz.trace.zst", "--heap", "glibc,slab,bump", "--policy", "buddy,best_fit"];
    let with = |jobs: &str| framesim(&[&words[..], &["--json", "--jobs", jobs]].concat()).stdout;
    assert_eq!(with("1"), with("5"));
}

#[test]
fn json_has_a_run_for_each_side_and_one_digest_of_requests() {
    let said = framesim(&["compare", LS, "--heap", "glibc,slab", "--policy", "buddy,first_fit", "--json"]).stdout;
    let document: serde_json::Value = serde_json::from_str(&said).expect("one JSON document");
    let runs = document["runs"].as_array().expect("a list");
    let sides: Vec<_> = runs.iter().map(|run| (run["policy"].as_str(), run["heap"].as_str())).collect();
    let side = |policy, heap| (Some(policy), Some(heap));
    let expected = [("buddy", "glibc"), ("buddy", "slab"), ("first_fit", "glibc"), ("first_fit", "slab")];
    assert_eq!(sides, expected.map(|(policy, heap)| side(policy, heap)));
    assert_eq!((&document["requests_are_all"], &document["seeds"]), (&true.into(), &1.into()));
    for run in runs {
        let number = |name: &str| run["mean"][name].as_u64().expect("a whole number");
        // Each mean is rounded down by itself.
        let parts = number("live") + number("internal") + number("external");
        assert!((parts..parts + 3).contains(&number("held")), "{run}");
        assert!(run["held_peak"].as_u64() >= run["live_peak"].as_u64());
    }
}

#[test]
fn a_series_has_a_row_for_each_side_and_moment() {
    let folder = tempfile::tempdir().expect("a folder for tests");
    let path = folder.path().join("held.csv");
    let heaps = "glibc,free_list(policy: best, order: size_up)";
    shown(&["compare", "workloads/traces/pigz.trace.zst", "--heap", heaps, "--series", path.to_str().expect("UTF-8")]);
    let text = fs::read_to_string(&path).expect("it was written");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("heap,policy,seed,call,time_ns,live,held,internal,external,resident"));
    let lines: Vec<&str> = lines.collect();
    let of = |heap: &str| lines.iter().filter(|line| line.starts_with(heap)).copied().collect::<Vec<_>>();
    let (glibc, best) = (of("glibc,buddy,"), of("\"free_list(policy: best, order: size_up)\",buddy,"));
    assert_eq!((glibc.len(), best.len(), lines.len()), (512, 512, 1_024), "every fourth of 2,050 calls");
    for line in glibc {
        let numbers: Vec<u64> = line.split(',').skip(2).map(|cell| cell.parse().expect("a number")).collect();
        let [_, call, _, live, held, internal, external, _] = numbers[..] else { panic!("eight numbers: {line}") };
        assert_eq!((live + internal + external, call % 4), (held, 0));
    }
}

/// The series of a heap on a trace: nanoseconds and resident bytes.
fn residents(trace: &str, heap: &str) -> Vec<(u64, u64)> {
    let folder = tempfile::tempdir().expect("a folder for tests");
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("fades.trace"), trace).expect("a folder for tests");
    shown(&["compare", &path("fades.trace"), "--heap", &format!("{heap},bump"), "--series", &path("fades.csv")]);
    let text = fs::read_to_string(path("fades.csv")).expect("it was written");
    let rows = text.lines().filter(|line| line.starts_with(heap)).map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        (cells[4].parse().expect("a number"), cells[9].parse().expect("a number"))
    });
    rows.collect()
}

/// Of jemalloc's free pages h(1 - t / 10 s) are there after t, h(x) being 6x^5 - 15x^4 + 10x^3.
#[test]
fn free_pages_of_jemalloc_fade_on_the_clock_of_the_run() {
    let mut trace = String::from("# heap trace v1\n");
    // Every other block is freed, so that none merges; then each second 3,000 calls, for it to look at the clock.
    for id in 1..=400 {
        trace += &format!("m 1000 {id} 102400\n");
    }
    for id in (1..=400).step_by(2) {
        trace += &format!("f 1000 {id}\n");
    }
    trace += "m 0 401 8\n";
    for call in 0..39_000_u64 {
        let gap = if call % 3_000 == 0 { 1_000_000_000 } else { 0 };
        trace += &format!("r {gap} {} {} {}\n", call + 402, call + 401, 7 + call % 2);
    }
    let rows = residents(&trace, "jemalloc");
    let at = |second: u64| rows.iter().rfind(|(time, _)| *time / 1_000_000_000 == second).expect("a row each second").1;
    let (all, end) = (at(0), at(12));
    assert!(all - end > 19 << 20, "{all} and {end}: half of the 40 MiB");
    // Before the first second is over nobody looks: from there on they count as free.
    for second in 1..=12_u64 {
        let x = 11 - second.min(11);
        let height = 6 * x.pow(5) + 1_000 * x.pow(3) - 150 * x.pow(4);
        let expected = end + (all - end) * height / 100_000;
        // An epoch more or less.
        assert!(at(second).abs_diff(expected) < (all - end) / 50, "{second} s: {}, expected {expected}", at(second));
    }
}

/// mimalloc gives freed slices back when it takes or frees a span 25 ms or more after they were freed, 1 ms more for each further one.
#[test]
fn free_slices_of_mimalloc_go_back_on_the_clock_of_the_run() {
    let resident_after_a_malloc_at = |ms: u64| {
        let mut trace = String::from("# heap trace v1\n");
        for id in 1..25 {
            trace += &format!("m 0 {id} 1048576\n");
        }
        // Freed within the third millisecond: they go from 3 + 25 + 10 on.
        for id in 9..20 {
            trace += &format!("f 0 {id}\n");
        }
        trace += &format!("m {ms}000000 25 3145728\n");
        residents(&trace, "mimalloc").last().expect("a row for each call").1 >> 20
    };
    assert_eq!([30, 37, 38, 60].map(resident_after_a_malloc_at), [27, 27, 16, 16]);
}

#[test]
fn mistakes_get_a_reason_and_a_way_out() {
    assert_snapshot!(refused(2, &["compare", LS, "--heap", "glibc,dlmaloc"]), @"error: --heap dlmaloc: unknown heap `dlmaloc`; did you mean `dlmalloc`? (`framesim list heaps` names all)");
    assert_snapshot!(refused(2, &["compare", LS, "--policy", "budy"]), @"error: --policy budy: unknown policy `budy`; did you mean `buddy`? (`framesim list policies` names all)");
    assert_snapshot!(refused(2, &["compare", LS, "--heap", "glibc,glibc"]), @"error: --heap: `glibc` is named twice");
    assert_snapshot!(refused(5, &["compare", "wob", "--heap", "slab"]).trim_end(), @"error: wob: cannot be read: no such file or directory; did you mean `web`? (`framesim list workloads` names all)");
    assert_eq!(framesim(&["compare", LS, "--seeds", "0"]).code, 2);
    assert_eq!(framesim(&["compare", LS, "--memory", "much"]).code, 2);
    assert_eq!(framesim(&["compare", LS, "--heap", "slab", "--series", "no/such/folder/x.csv"]).code, 5);
}

#[test]
fn a_workload_without_heaps_says_so() {
    let said = shown(&["compare", "sixteen_frames", "--heap", "glibc,slab"]);
    assert!(said.contains("No heap was ever called"), "{said}");
}
