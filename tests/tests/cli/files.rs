//! Files that commands write: whole under their name, or not there.

use std::fs;
use std::path::Path;

use insta::assert_snapshot;

use crate::command::{framesim, refused, shown};

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder for tests");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

#[test]
fn a_digest_log_verifies_and_a_changed_workload_names_the_first_event() {
    let folder = tempfile::tempdir().expect("a folder for tests");
    let log = folder.path().join("run.digests");
    let log = log.to_str().expect("UTF-8");
    shown(&["run", "leak", "--until", "10ms", "--digest-log", log, "--digest-every", "100"]);
    let said = shown_path(&["verify", log], folder.path());
    assert!(said.starts_with("./run.digests: ") && said.contains("all as recorded"), "{said}");
    let text = fs::read_to_string(log).expect("the run wrote it");
    fs::write(log, text.replace("--until=10ms", "--until=10ms --seed=12")).expect("a file for tests");
    let ran = framesim(&["verify", log]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stdout.contains("event 2 is the first that differs (service/0: malloc"), "{}", ran.stdout);
}

fn shown_path(words: &[&str], folder: &Path) -> String {
    let ran = framesim(words);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    ran.stdout.replace(folder.to_str().expect("UTF-8"), ".")
}

#[test]
fn a_digest_that_was_tampered_with_is_found_at_its_event() {
    let folder = tempfile::tempdir().expect("a folder for tests");
    let log = folder.path().join("run.digests");
    let path = log.to_str().expect("UTF-8");
    shown(&["run", "sixteen_frames", "--digest-log", path, "--digest-every", "1"]);
    let mut lines: Vec<String> = fs::read_to_string(&log).expect("a log").lines().map(str::to_owned).collect();
    let digit = if lines[4].contains("3 0") { "1" } else { "0" };
    lines[4].replace_range(2..3, digit);
    fs::write(&log, lines.join("\n") + "\n").expect("a file for tests");
    let ran = framesim(&["verify", path]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stdout.contains("event 3 is the first that differs"), "{}", ran.stdout);
}

#[test]
fn a_log_that_is_none_is_bad_input() {
    assert_snapshot!(refused(2, &["verify", "Cargo.toml"]), @"error: Cargo.toml: line 1: a digest log starts with its version");
    assert_snapshot!(refused(5, &["verify", "no/such.log"]), @"error: no/such.log: cannot be read: no such file or directory");
    assert_eq!(framesim(&["verify", "workloads"]).code, 5);
    let folder = tempfile::tempdir().expect("a folder for tests");
    let log = folder.path().join("cut.digests");
    let path = log.to_str().expect("UTF-8");
    shown(&["run", "sixteen_frames", "--digest-log", path]);
    let text = fs::read_to_string(&log).expect("a log");
    fs::write(&log, &text[..text.len() - 5]).expect("a file for tests");
    assert_eq!(framesim(&["verify", path]).code, 2);
    fs::write(&log, text.replace("run sixteen_frames", "run --no-such-option")).expect("a file for tests");
    assert_eq!(framesim(&["verify", path]).code, 2);
}

#[test]
fn a_run_that_fails_leaves_no_file_and_keeps_the_old_one() {
    let folder = tempfile::tempdir().expect("a folder for tests");
    let path = folder.path().join("events.jsonl");
    fs::write(&path, "old").expect("a file for tests");
    let ran = framesim(&["run", "web", "--set", "limits.events=50", "--events", path.to_str().expect("UTF-8")]);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    assert_eq!(fs::read_to_string(&path).expect("the old one"), "old");
    assert_eq!(names_in(folder.path()), ["events.jsonl"]);
}

#[test]
fn a_file_that_cannot_be_written_ends_with_5_before_the_run() {
    assert_snapshot!(refused(5, &["run", "web", "--events", "no/such/folder/e.jsonl"]), @"error: no/such/folder/e.jsonl: cannot be written: no such file or directory");
    assert_eq!(framesim(&["run", "web", "--events", "workloads"]).code, 5);
    assert_eq!(framesim(&["run", "web", "--digest-log", "/proc/no"]).code, 5);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_exit_code_5_for_files_too() {
    for option in ["--events", "--digest-log"] {
        let said = refused(5, &["run", "leak", "--until", "50ms", option, "/dev/full"]);
        assert_eq!(said, "error: /dev/full: cannot be written: no space left on device\n");
    }
}
