//! The library of workloads, each pinned: its summary, its frame map, its digests.
//!
//! A picture that changes is a result that changes. Look at it, and say why in CHANGELOG.md.

use std::path::Path;

use insta::assert_snapshot;

use crate::command::{repository, shown};

/// Every `.ron` file below `workloads` but experiments, from the top of the repository, in order.
fn workload_files() -> Vec<String> {
    let mut files = Vec::new();
    collect(&repository().join("workloads"), "workloads", &mut files);
    files.retain(|file| !file.starts_with("workloads/experiments/"));
    files.sort();
    files
}

fn collect(folder: &Path, name: &str, files: &mut Vec<String>) {
    for entry in folder.read_dir().expect("the library can be listed") {
        let entry = entry.expect("the library can be listed");
        let name = format!("{name}/{}", entry.file_name().to_str().expect("names are ASCII"));
        if entry.path().is_dir() {
            collect(&entry.path(), &name, files);
        } else if name.ends_with(".ron") {
            files.push(name);
        }
    }
}

#[test]
fn every_workload_of_the_library_gives_the_summary_and_the_map_that_were_reviewed() {
    let files = workload_files();
    assert!(files.len() >= 14, "the library has {} workloads", files.len());
    for file in files {
        let shown = shown(&["run", &file, "--map"]);
        let (summary, map) = summary_and_map(&shown);
        let name = file.trim_start_matches("workloads/").trim_end_matches(".ron").replace('/', "-");
        for (part, text) in [("summary", summary), ("map", map)] {
            assert!(text.lines().count() <= 44, "the {part} of {file} is more than a person reviews");
            insta::with_settings!({snapshot_path => "../snapshots", prepend_module_to_snapshot => false}, {
                assert_snapshot!(format!("{name}.{part}"), text);
            });
        }
    }
}

/// A report cut at its frame map; both parts keep the line with the digests.
fn summary_and_map(report: &str) -> (String, String) {
    let map_at = report.find("\nframe map ").expect("a report with --map has a map") + 1;
    let digests_at = report.rfind("\nstate ").expect("a report ends with its digests") + 1;
    let (summary, map, digests) = (&report[..map_at], &report[map_at..digests_at], &report[digests_at..]);
    (format!("{summary}{digests}"), format!("{map}{digests}"))
}

#[test]
fn every_workload_of_the_library_says_what_it_shows() {
    for file in workload_files() {
        let text = std::fs::read_to_string(repository().join(&file)).expect("a workload can be read");
        assert!(text.starts_with("// "), "{file} does not begin with a comment");
        assert!(text.contains("about: \""), "{file} has no `about`");
    }
}
