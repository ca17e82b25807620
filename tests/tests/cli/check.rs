//! `check`: everything that is wrong with workloads, with places, before anything runs.

use std::fs;

use insta::assert_snapshot;

use crate::command::{framesim, refused, shown};

/// A file of that text, checked; the folder's name is taken out of what is said.
fn checked(text: &[u8]) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a folder for tests");
    let path = folder.path().join("mine.ron");
    fs::write(&path, text).expect("a file for tests");
    let ran = framesim(&["check", path.to_str().expect("UTF-8")]);
    (ran.code, ran.stderr.replace(folder.path().to_str().expect("UTF-8"), "."))
}

#[test]
fn the_whole_library_is_sound_and_every_file_has_a_line() {
    let listed = shown(&["list", "workloads"]);
    let listed = listed.lines().take_while(|line| !line.is_empty());
    let names: Vec<&str> = listed.filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty()).collect();
    assert!(names.len() >= 14, "{names:?}");
    let mut words = vec!["check"];
    words.extend(&names);
    let said = shown(&words);
    assert!(said.lines().all(|line| line.ends_with(": sound")), "{said}");
    assert_eq!(said.lines().count(), names.len());
}

#[test]
fn a_mistake_has_its_place_a_reason_and_a_way_out() {
    let (code, said) = checked(b"(\n    machine: (memory: \"64KiB\", frames: fist_fit),\n    processes: [],\n)\n");
    assert_eq!(code, 2);
    assert_snapshot!(said, @r#"
    error: unknown policy `fist_fit` at machine.frames
     --> ./mine.ron:2:40
      |
    2 |     machine: (memory: "64KiB", frames: fist_fit),
      |                                        ^^^^^^^^ not a policy
      |
      = help: did you mean `first_fit`? `framesim list policies` names all
    1 error in ./mine.ron
    "#);
}

#[test]
fn several_files_are_all_checked_and_the_first_failure_decides() {
    let ran = framesim(&["check", "no/such.ron", "workloads/web.ron", "Cargo.toml"]);
    assert_eq!(ran.code, 5);
    assert_eq!(ran.stdout, "workloads/web.ron: sound\n");
    assert!(ran.stderr.contains("no/such.ron: cannot be read") && ran.stderr.contains("Cargo.toml"), "{}", ran.stderr);
}

#[test]
fn what_is_no_text_or_no_file_is_said() {
    assert_snapshot!(checked(b"(\n  about: \"\xff\")").1, @"error: ./mine.ron:2: byte 12 is not UTF-8; a workload is a text file");
    assert_snapshot!(refused(5, &["check", "sixteen_frame"]), @"error: sixteen_frame: cannot be read: no such file or directory; did you mean `sixteen_frames`? (`framesim list workloads` names all)");
    assert_eq!(framesim(&["check", "workloads"]).code, 5);
    assert_eq!(checked(b"").0, 2);
    assert_eq!(checked(&b"[".repeat(100_000)).0, 2);
    assert_eq!(framesim(&["check"]).code, 2);
}
