//! `run --shared-lines`: cache lines in which two threads have blocks.

use std::fs;

use insta::assert_snapshot;

use crate::command::shown;

/// Bump places blocks of 16 bytes one after the other: four in a line of 64 bytes.
const TWO_THREADS: &str = r#"(
    about: "two threads, one line",
    machine: (memory: "1MiB", frames: first_fit),
    programs: {"p": (code: 0, data: 0, stack: "16KiB", heap: bump)},
    processes: [(name: "P", program: "p", does: script([STEPS]))],
)"#;

fn lines(steps: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder for tests");
    let path = folder.path().join("lines.ron");
    fs::write(&path, TWO_THREADS.replace("STEPS", steps)).expect("a file for tests");
    let text = shown(&["run", path.to_str().expect("UTF-8"), "--shared-lines"]);
    let line = text.lines().skip_while(|line| !line.starts_with("cache lines")).nth(1);
    let words: Vec<&str> = line.expect("a line for the group").split_whitespace().collect();
    words.join(" ")
}

#[test]
fn a_line_counts_while_two_threads_have_a_block_in_it() {
    assert_snapshot!(lines(r#"malloc("a", 16), malloc("b", 16)"#), @"P 0 0");
    assert_snapshot!(lines(r#"malloc("a", 16), thread(1), malloc("b", 16)"#), @"P 1 1");
    assert_snapshot!(lines(r#"malloc("a", 16), thread(1), malloc("b", 16), free("a"), sleep("1ms")"#), @"P 1 0");
    assert_snapshot!(lines(r#"malloc("a", 16), malloc("x", 48), thread(1), malloc("b", 16)"#), @"P 0 0");
}

#[test]
fn a_heap_that_returns_blocks_to_their_owners_shares_no_line() {
    let words = ["run", "workloads/heaps/false_sharing.ron", "--shared-lines", "--json"];
    let shared = |heap: &str| {
        let json = shown(&[&words[..], &["--heap", heap]].concat());
        let document: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        document["shared_lines"][0]["lines_max"].as_u64().expect("a count")
    };
    assert!(shared("tcmalloc") > 100);
    assert_eq!(shared("mimalloc"), 0);
}
