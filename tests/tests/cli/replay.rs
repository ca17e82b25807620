//! `replay`: recorded traces through a heap, and traces that are broken.

use std::fs;

use insta::assert_snapshot;

use crate::command::{framesim, refused, shown};

#[test]
fn a_recording_is_summed_up() {
    let said = shown(&["replay", "workloads/traces/ls.trace.zst", "--heap", "free_list", "--policy", "first_fit"]);
    assert!(said.starts_with("ls.trace.zst: replay of ls.trace.zst\n"), "{said}");
    assert!(said.contains("first_fit, free_list, seed 1"), "{said}");
    assert!(said.contains("mallocs that needed the"), "{said}");
}

#[test]
fn threads_of_a_recording_are_threads_of_the_process_unless_one_makes_all_calls() {
    let line = |options: &[&str], name: &str| {
        let said = shown(&[&["replay", "workloads/traces/gen-threads4.trace.zst", "--cpus", "2"], options].concat());
        said.lines().find(|line| line.trim_start().starts_with(name)).map(str::to_owned)
    };
    assert_snapshot!(line(&[], "threads").expect("there are threads"), @"  threads                        4           0     mremap                      6");
    assert_eq!(line(&["--one-thread"], "threads"), None);
    assert_snapshot!(line(&[], "held by heaps").expect("a heap"), @"  held by heaps            195 MiB         0 B");
    assert_snapshot!(line(&["--one-thread"], "held by heaps").expect("a heap"), @"  held by heaps            8.2 MiB         0 B");
}

#[test]
fn a_replay_says_what_the_heap_held_and_wasted() {
    let said = shown(&["replay", "workloads/traces/ls.trace.zst", "--heap", "slab"]);
    let heap = said.split_once("heap of program").expect("the part on the heap").1;
    assert_snapshot!(heap.split_once("\nfragmentation").expect("what follows").0, @r"
    : slab, 1 process
                              most live    most held          end
      held                      564 KiB      572 KiB          0 B
        live (asked for)      397.1 KiB    394.3 KiB          0 B
        internal              166.9 KiB    177.7 KiB          0 B
          rounding             20.8 KiB       21 KiB          0 B
          header               13.9 KiB     13.9 KiB          0 B
          cache                     0 B       60 KiB          0 B
          free in page        132.2 KiB     82.8 KiB          0 B
      usable                  417.9 KiB    415.3 KiB          0 B
      mapped                    564 KiB      572 KiB          0 B
      resident                  472 KiB      476 KiB          0 B
      at                        0.023 s      0.021 s

      held to live: on average 3.009 by time, 4.808 by call; 1.420 when most was
        live, 1.451 when most was held, 1.440 most to most
      on average: held 353.3 KiB by time, 374.5 KiB by call; resident 258.4 KiB by
        time, 279 KiB by call
      system calls: mmap 25, mremap 4, munmap 1

      by size asked for; blocks and rounding when most was live
          up to        got  blocks rounding      up to        got  blocks rounding
           16 B      1,122   1,026   0.4826      2 KiB          3       3   0.1165
           32 B        519     378   0.2160      4 KiB          8       2   0.0000
           64 B        395     169   0.1725     32 KiB          2       1   0.1094
          128 B         23      21   0.1970     64 KiB          2       0   0.0000
          256 B      1,071       6   0.1591    128 KiB          1       0   0.0000
          512 B          9       2   0.1250    256 KiB          1       0   0.0000
          1 KiB         11       9   0.2072    512 KiB          1       1   0.0091
    ");
}

#[test]
fn the_json_of_a_replay_has_the_same_in_bytes() {
    let said = framesim(&["replay", "workloads/traces/pigz.trace.zst", "--heap", "slab", "--json"]).stdout;
    let document: serde_json::Value = serde_json::from_str(&said).expect("one JSON document");
    let heap = &document["heap_reports"][0];
    let held = &heap["most_held"];
    let part = |name: &str| held[name].as_u64().expect("a whole number");
    assert_eq!(part("live_bytes") + part("internal_bytes") + part("external_bytes"), part("held_bytes"));
    let internal = ["rounding_bytes", "overhead_bytes", "cached_bytes", "in_page_bytes"].map(part);
    assert_eq!(internal.iter().sum::<u64>(), part("internal_bytes"));
    assert!(part("in_page_bytes") > 0 && part("resident_bytes") <= part("mapped_bytes"));
    // 48 for the heap, 5 for stacks of threads.
    assert_eq!((&heap["heap"], &heap["system_calls"]["mmap"]), (&"slab".into(), &53.into()));
    assert!(heap["held_to_live"]["mean_by_call_ppm"].as_u64().expect("a ratio") > 1_000_000);
    assert_eq!(heap["classes"].as_array().expect("a list").len(), 9);
}

#[test]
fn addresses_are_a_line_for_each_call_that_gives_a_block() {
    let folder = tempfile::tempdir().expect("a folder for tests");
    let (trace, out) = (folder.path().join("t.trace"), folder.path().join("t.addr"));
    let calls = "# heap trace v1\nt 0\nm 0 1 100\nm 0 2 200000\nf 0 1\nm 0 3 100\nc 0 4 2 300000\nr 0 5 3 500\n";
    fs::write(&trace, calls).expect("a file for tests");
    shown(&["replay", trace.to_str().expect("UTF-8"), "--addresses", out.to_str().expect("UTF-8")]);
    assert_snapshot!(fs::read_to_string(&out).expect("the replay wrote it"), @r"
    1 2a0 104
    2 M0 200688
    3 2a0 104
    4 M-93000 602096
    5 2a0 504
    ");
}

/// The trace, replayed: exit code and what was said, without the folder's name.
fn replayed(text: &[u8]) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a folder for tests");
    let trace = folder.path().join("broken.trace");
    let out = folder.path().join("out.addr");
    fs::write(&trace, text).expect("a file for tests");
    let ran = framesim(&[
        "replay",
        trace.to_str().expect("UTF-8"),
        "--heap",
        "free_list",
        "--addresses",
        out.to_str().expect("UTF-8"),
    ]);
    assert!(ran.code == 0 || !out.exists(), "a failed replay left a file");
    (ran.code, ran.stderr.replace(folder.path().to_str().expect("UTF-8"), "."))
}

#[test]
fn a_broken_trace_has_its_record_and_line() {
    let broken = |calls: &str| replayed(format!("# heap trace v1\nt 0\n{calls}").as_bytes());
    let (code, said) = broken("m 0 1 8\nf 0 1\nf 0 1\n");
    assert_eq!(code, 2);
    assert_snapshot!(said, @r"
    error: ./broken.trace: record 3 (line 5): free of block 1, which is not live
      it was freed by record 2
    ");
    for calls in
        ["f 0 7\n", "m 0 1 8\nm 0 1 8\n", "m 0 1\n", "x 0 1 8\n", "m 0 1 99999999999999999999999\n", "r 0 2 9 8\n"]
    {
        assert_eq!(broken(calls).0, 2, "{calls:?}");
    }
    assert_eq!(broken("m 0 1 0\nf 0 1\n").0, 0);
    assert_eq!(broken("m 0 1 281474976710656\n").0, 0);
    assert_eq!(broken("m 0 1 8\r\nf 0 1\r\n").0, 0);
}

#[test]
fn what_is_no_trace_is_said() {
    assert_eq!(replayed(b"").0, 2);
    assert_eq!(replayed(b"# heap trace v9\n").0, 2);
    assert_eq!(replayed(b"\x28\xb5\x2f\xfd\x04\x00").0, 2);
    assert_eq!(framesim(&["replay", "no/such.trace"]).code, 5);
    assert_eq!(framesim(&["replay", "workloads"]).code, 5);
    assert_snapshot!(refused(2, &["replay", "workloads/traces/ls.trace.zst", "--heap", "glibbc"]), @"error: --heap glibbc: unknown heap `glibbc`; did you mean `glibc`? (`framesim list heaps` names all)");
    let memory = refused(2, &["replay", "workloads/traces/ls.trace.zst", "--memory", "much"]);
    assert!(memory.contains("much"), "{memory}");
}
