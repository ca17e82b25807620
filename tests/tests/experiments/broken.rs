//! Experiments that cannot be run, and cells that have no result.

use insta::assert_snapshot;

use super::folder::{EXPERIMENT, Folder};

#[test]
fn a_value_that_the_workload_does_not_take_is_shown_in_the_experiment() {
    let with = |from: &str, to: &str| {
        let experiment = EXPERIMENT.replace(from, to);
        assert_ne!(experiment, EXPERIMENT);
        Folder::with(&experiment)
    };
    let refused = |folder: Folder| folder.refused(2, "sweep mine.ron --out out");
    assert_snapshot!(refused(with("\"1MiB\"]", "\"1MB\"]")), @r#"
    error: the experiment has no value of axis `memory` `1MiB`
     --> mine.ron:8:77
      |
    8 |     compare: [policies("first_fit", "best_fit"), values("memory", "256KiB", "1MiB")],
      |                                                                             ^^^^^^ nothing to compare with
      |
      = help: did you mean `1MB`?
    1 error in mine.ron
    "#);
    assert_snapshot!(refused(with("machine.memory", "machine.memroy")), @r#"
    error: unknown field `memroy` of a machine at machine
     --> mine.ron:4:67
      |
    4 |     axes: [(name: "memory", path: "machine.memroy", values: list(["256KiB", "1MiB"]))],
      |                                                                   ^^^^^^^^ not a field
      |
      = help: did you mean `memory`?
    1 error in mine.ron
    "#);
    assert_snapshot!(refused(with("[first_fit, best_fit]", "[first_fit, best_fit, buddy(max_ordr: 3)]")), @"
    error: unknown field `max_ordr` at machine.frames
     --> mine.ron:5:37
      |
    5 |     policies: [first_fit, best_fit, buddy(max_ordr: 3)],
      |                                     ^^^^^ not a field
      |
      = help: did you mean `max_order`?
    1 error in mine.ron
    ");
    assert_snapshot!(refused(with("policies: [", "heaps: [glibbc],\n    policies: [")), @"
    error: unknown heap `glibbc`; did you mean `glibc`? (`framesim list heaps` names all)
     --> mine.ron:5:13
      |
    5 |     heaps: [glibbc],
      |             ^^^^^^
    1 error in mine.ron
    ");
    let missing = with("busy.ron", "bussy.ron").refused(5, "sweep mine.ron --out out");
    assert!(missing.contains("bussy.ron: cannot be read: no such file or directory"), "{missing}");
}

#[test]
fn more_work_than_allowed_is_refused_before_it_starts() {
    let folder = Folder::with(&EXPERIMENT.replace("replicas: count(3),", "replicas: count(3), limits: (cells: 11),"));
    assert_snapshot!(folder.refused(6, "sweep mine.ron --out out"), @r#"
    error: the experiment has 12 cells
     --> mine.ron:4:11
      |
    4 |     axes: [(name: "memory", path: "machine.memory", values: list(["256KiB", "1MiB"]))],
      |           ^ the limit is 11
      |
      = help: `limits: (cells: ..)` raises it
    1 error in mine.ron
    "#);
    assert!(!folder.path("out").exists());
    let folder =
        Folder::with(&EXPERIMENT.replace("replicas: count(3),", "replicas: count(3), limits: (events: 1000),"));
    assert_snapshot!(folder.refused(6, "sweep mine.ron --out out"), @"
    error: the experiment makes about 15,120 events
     --> mine.ron:6:42
      |
    6 |     replicas: count(3), limits: (events: 1000),
      |                                          ^^^^ the limit is 1,000
      |
      = help: `limits: (events: ..)` raises it
    1 error in mine.ron
    ");
}

#[test]
fn a_cell_over_its_limit_is_named_and_the_others_have_their_results() {
    let folder = Folder::with(&EXPERIMENT.replace("axes: [", "set: {\"limits\": (processes: 2)}, axes: ["));
    let text = folder.refused(6, "sweep mine.ron --out out -q");
    assert_snapshot!(text.lines().take(3).collect::<Vec<_>>().join("\n"), @"
    error: 12 cells without a result
      memory=256KiB, policy=first_fit, heap=free_list, seed 5: 2 processes and threads are alive, as many as `limits.processes` allows
      memory=256KiB, policy=best_fit, heap=free_list, seed 5: 2 processes and threads are alive, as many as `limits.processes` allows
    ");
    assert_eq!(folder.read("out/runs.csv").lines().count(), 13);
}

#[test]
fn a_shard_is_one_of_so_many() {
    let folder = Folder::new();
    for shard in ["0/3", "4/3", "3", "a/b"] {
        let text = folder.refused(2, &format!("sweep mine.ron --out out --shard {shard}"));
        assert!(text.contains("write it as K/N with K from 1 to N"), "{text}");
    }
}
