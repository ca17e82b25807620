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
