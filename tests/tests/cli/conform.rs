//! `conform`: a line a case, a last line that counts, and an exit code that tells.

use std::fs;

use insta::assert_snapshot;

use crate::command::{framesim, refused, repository, shown};

fn malloc_case(number: u32) -> String {
    format!("tests/data/ostep-malloc/m{number:03}.json")
}

#[test]
fn recorded_cases_are_exact_and_counted() {
    assert_snapshot!(shown(&["conform", "malloc", &malloc_case(0), &malloc_case(3)]), @r"
    m000 free_list: exact, 10 operations
    m003 free_list: exact, 50 operations
    conform malloc: 2 of 2 exact
    ");
}

#[test]
fn a_case_of_frames_has_a_line_for_each_policy_it_names() {
    assert_snapshot!(shown(&["conform", "frames", "tests/data/frames/f000.json"]), @r"
    f000 first_fit: exact, 6 operations
    f000 best_fit: exact, 6 operations
    f000 worst_fit: exact, 6 operations
    f000 next_hole: exact, 6 operations
    f000 next_fit: exact, 6 operations
    f000 buddy: exact, 6 operations
    conform frames: 6 of 6 exact
    ");
}

#[test]
fn a_case_that_differs_names_the_first_operation_and_ends_with_4() {
    let case = fs::read_to_string(repository().join(malloc_case(0))).expect("a case of the repository");
    let folder = tempfile::tempdir().expect("a folder for tests");
    let path = folder.path().join("wrong.json");
    // The second operation's count of entries that were looked at.
    let second = case.match_indices("\"searched\":").nth(1).expect("two requests").0 + "\"searched\":".len();
    fs::write(&path, format!("{}9{}", &case[..second], &case[second..])).expect("a file for tests");
    let good = malloc_case(1);
    let ran = framesim(&["conform", "malloc", &good, path.to_str().expect("UTF-8")]);
    assert_eq!((ran.code, ran.stderr.as_str()), (4, ""));
    assert_snapshot!(ran.stdout, @r"
    m001 free_list: exact, 10 operations
    m000 free_list: operation 3 (alloc 1, 5 bytes): searched is 2, expected 92
    conform malloc: 1 of 2 exact
    ");
}

#[test]
fn a_heap_is_held_against_a_recording() {
    let data = |name: &str| format!("tests/data/heap/{name}");
    let (trace, places) = (data("traces/gen-edge.trace.zst"), data("reference/gen-edge.glibc.addr.zst"));
    let series = data("reference/gen-edge.glibc.csv");
    let exact = framesim(&["conform", "heap", &trace, &places, &series]);
    assert_eq!((exact.code, exact.stderr.as_str()), (0, ""), "{}", exact.stdout);
    assert!(exact.stdout.ends_with("conform heap: 1 of 1 exact\n"), "{}", exact.stdout);
    let other = framesim(&["conform", "heap", "--heap", "free_list", &trace, &places]);
    assert_eq!(other.code, 4, "{}", other.stderr);
    assert!(
        other.stdout.contains("first difference at") && other.stdout.ends_with("0 of 1 exact\n"),
        "{}",
        other.stdout
    );
    assert_eq!(framesim(&["conform", "heap", &places, &places]).code, 2);
    assert_eq!(framesim(&["conform", "heap", "no/such", &places]).code, 5);
}

#[test]
fn what_is_no_case_is_an_error_and_no_verdict() {
    assert_snapshot!(refused(5, &["conform", "malloc", "no/such.json"]), @"error: no/such.json: cannot be read: no such file or directory");
    assert_snapshot!(refused(5, &["conform", "malloc", "tests"]), @"error: tests: cannot be read: is a directory");
    assert_eq!(framesim(&["conform", "malloc", "Cargo.toml"]).code, 2);
    assert_eq!(framesim(&["conform", "malloc", "/dev/null"]).code, 2);
    assert_eq!(framesim(&["conform", "malloc"]).code, 2);
}
