//! The same bytes, however a sweep is run; cells that stay what they are.

use std::collections::BTreeSet;

use super::folder::{EXPERIMENT, Folder};

#[test]
fn any_number_of_jobs_gives_the_same_bytes() {
    let folder = Folder::new();
    for jobs in [1, 2, 7] {
        folder.shown(&format!("sweep mine.ron --out out{jobs} --jobs {jobs}"));
        assert_eq!(folder.results(&format!("out{jobs}")), folder.results("out1"), "{jobs} jobs");
    }
}

/// Rows of a file but its first.
fn rows(text: &str) -> BTreeSet<String> {
    text.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn another_policy_value_or_seed_changes_no_cell_that_was_there() {
    let folder = Folder::new();
    folder.shown("sweep mine.ron --out before");
    let larger = EXPERIMENT
        .replace("[first_fit, best_fit]", "[buddy, first_fit, worst_fit, best_fit]")
        .replace("[\"256KiB\", \"1MiB\"]", "[\"128KiB\", \"256KiB\", \"1MiB\"]")
        .replace("count(3)", "count(4)");
    folder.write("larger.ron", &larger);
    folder.shown("sweep larger.ron --out after");
    for file in ["cells.csv", "runs.csv"] {
        let (before, after) =
            (rows(&folder.read(&format!("before/{file}"))), rows(&folder.read(&format!("after/{file}"))));
        assert!(after.len() > before.len());
        assert_eq!(before.difference(&after).collect::<Vec<_>>(), Vec::<&String>::new(), "{file}");
    }
}

#[test]
fn each_row_can_be_run_by_itself() {
    let folder = Folder::new();
    folder.shown("sweep mine.ron --out out");
    let runs = folder.read("out/runs.csv");
    let row: Vec<&str> = runs.lines().last().expect("cells").split(',').collect();
    let &[_, memory, policy, _heap, seed, _state, _time, events, digest, ..] = row.as_slice() else {
        panic!("{row:?}")
    };
    let again =
        folder.shown(&format!("run busy.ron --json --set machine.memory={memory} --policy {policy} --seed {seed}"));
    assert!(again.contains(&format!("\"events\": {events}")), "{again}");
    assert!(again.contains(&format!("\"digest\": \"{}\"", &digest[..16])), "{digest}: {again}");
}

#[test]
fn what_lies_beside_the_results_repeats_them() {
    let folder = Folder::new();
    folder.shown("sweep mine.ron --out first");
    folder.shown("sweep first/experiment.ron --out again");
    assert_eq!(folder.read("again/cells.csv"), folder.read("first/cells.csv"));
    assert_eq!(folder.read("again/runs.csv"), folder.read("first/runs.csv"));
}

#[test]
fn replicas_stop_when_the_interval_is_narrow_and_not_before() {
    let stop = "replicas: until(metric: \"external_fragmentation\", width: 0.08, least: 3, step: 2, most: 40)";
    let folder = Folder::with(&EXPERIMENT.replace("replicas: count(3)", stop));
    folder.shown("sweep mine.ron --out out --jobs 1");
    folder.shown("sweep mine.ron --out parallel --jobs 5");
    assert_eq!(folder.results("parallel"), folder.results("out"));
    let cells = folder.read("out/cells.csv");
    for memory in ["256KiB", "1MiB"] {
        let values = |policy: &str| -> Vec<f64> {
            let of_cell = |line: &&str| {
                line.contains(&format!(",{memory},{policy},")) && line.contains(",external_fragmentation,")
            };
            cells
                .lines()
                .filter(of_cell)
                .map(|line| line.split(',').nth(6).expect("a value").parse().expect("a number"))
                .collect()
        };
        let width = |policy: &str, seeds: usize| {
            framesim::statistics::Moments::of(&values(policy)[..seeds]).interval(0.95).expect("enough seeds").width()
        };
        let seeds = values("first_fit").len();
        assert_eq!(values("best_fit").len(), seeds, "policies have the same seeds");
        let is_narrow = |seeds: usize| width("first_fit", seeds) <= 0.08 && width("best_fit", seeds) <= 0.08;
        assert!(is_narrow(seeds) && seeds > 3, "{seeds} seeds at {memory}");
        assert!(!is_narrow(seeds - 2), "two seeds fewer would have done at {memory}");
    }
}
