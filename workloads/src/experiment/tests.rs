//! What experiments come to, and what a person sees for broken ones.

use framesim_models::frames::PolicyRegistry;
use framesim_models::heap::HeapRegistry;
use insta::assert_snapshot;

use super::*;
use crate::load::{Diagnostics, Known};

const METRICS: [&str; 3] = ["external_fragmentation", "internal_fragmentation", "refused"];

fn read(text: &str) -> Result<Loaded, Diagnostics> {
    let (frames, heaps) = (PolicyRegistry::default(), HeapRegistry::default());
    load("mine.ron", text, &METRICS, &METRICS[..2], Known { frames: &frames, heaps: &heaps })
}

fn sound(text: &str) -> Loaded {
    read(text).unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// The errors in `text`; all of them have a place.
fn errors(text: &str) -> String {
    let Err(wrong) = read(text) else { panic!("nothing is wrong with it") };
    for diagnostic in &wrong.list {
        let place = wrong.line_and_column(diagnostic).expect("every error has a place");
        assert!(place > (0, 0));
    }
    wrong.render(false)
}

/// An experiment with these lines in it.
fn with(lines: &str) -> String {
    format!("(\n    workload: \"web\",\n    replicas: count(3),\n    {lines}\n)\n")
}

#[test]
fn an_experiment_has_all_its_points_the_last_axis_fastest() {
    let loaded = sound(&with(
        "axes: [
            (name: \"memory\", path: \"machine.memory\", values: log_range(from: \"1MiB\", to: \"4MiB\", points: 3)),
            (name: \"sizes\", values: cases([
                (name: \"small\", set: {\"processes.web.does.size\": constant(16)}),
                (name: \"large\", set: {\"processes.web.does.size\": uniform(lo: 1, /* all */ hi: 9,), \"seed\": 4}),
            ])),
        ],",
    ));
    let points: Vec<String> = (0..loaded.grid.points())
        .map(|number| {
            let point = loaded.grid.point(number);
            let set = loaded.grid.settings(&point);
            let set: Vec<String> = set.iter().map(|set| format!("{}={}", set.path, set.value)).collect();
            format!("{} | {}", loaded.grid.labels(&point).join(" "), set.join("; "))
        })
        .collect();
    assert_snapshot!(points.join("\n"), @r#"
    1MiB small | machine.memory="1MiB"; processes.web.does.size=constant(16)
    1MiB large | machine.memory="1MiB"; processes.web.does.size=uniform(lo: 1, /* all */ hi: 9,); seed=4
    2MiB small | machine.memory="2MiB"; processes.web.does.size=constant(16)
    2MiB large | machine.memory="2MiB"; processes.web.does.size=uniform(lo: 1, /* all */ hi: 9,); seed=4
    4MiB small | machine.memory="4MiB"; processes.web.does.size=constant(16)
    4MiB large | machine.memory="4MiB"; processes.web.does.size=uniform(lo: 1, /* all */ hi: 9,); seed=4
    "#);
}

#[test]
fn spelling_does_not_matter_for_who_a_value_is() {
    let label = grid::label_of;
    assert_eq!(label(" buddy ( max_order : 9, ) // nine"), "buddy(max_order:9)");
    assert_eq!(label("first_fit()"), label("first_fit"));
    assert_eq!((label("\"64 MiB\"").as_str(), label("64").as_str()), ("64 MiB", "64"));
    assert_eq!(label("custom(name: \"mine // too\")"), "custom(name:\"mine // too\")");
}

#[test]
fn comparisons_name_their_sides_once() {
    let loaded = sound(&with(
        "policies: [first_fit, best_fit, buddy(max_order: 9)],
        compare: [policies(\"best_fit\", \"first_fit\"), all_policies, policies(\"buddy( max_order: 9)\", \"first_fit\")],",
    ));
    let shown: Vec<String> = loaded
        .grid
        .comparisons(&loaded.experiment)
        .iter()
        .map(|(on, one, other)| format!("{on}: {one} against {other}"))
        .collect();
    assert_snapshot!(shown.join("\n"), @"
    policy: best_fit against first_fit
    policy: first_fit against buddy(max_order:9)
    policy: best_fit against buddy(max_order:9)
    ");
}

#[test]
fn what_is_not_said_is_written_out() {
    let loaded = sound(&with("axes: [(name: \"m\", path: \"machine.memory\", values: list([\"1MiB\"]))],"));
    let text = loaded.experiment.to_ron().expect("can be written");
    assert_eq!(sound(&text).experiment, loaded.experiment);
    assert_snapshot!(text, @r#"
    (
        about: "",
        workload: "web",
        set: {},
        axes: [
            (
                name: "m",
                path: "machine.memory",
                values: list([
                    "1MiB",
                ]),
            ),
        ],
        policies: [],
        heaps: [],
        seed: None,
        replicas: count(3),
        metrics: [],
        compare: [],
        warm_up: none,
        series: None,
        confidence: 0.95,
        limits: (
            cells: 10000000,
            events: 1000000000000,
        ),
    )
    "#);
}

#[test]
fn names_that_are_not_known_have_the_nearest_one() {
    assert_snapshot!(errors(&with("metrics: [\"external_fragmentaton\", \"refused\", \"refused\"],")), @r#"
    error: unknown metric `external_fragmentaton`
     --> mine.ron:4:15
      |
    4 |     metrics: ["external_fragmentaton", "refused", "refused"],
      |               ^^^^^^^^^^^^^^^^^^^^^^^ not a metric
      |
      = help: did you mean `external_fragmentation`? `framesim list metrics` names all
    error: `refused` is there twice
     --> mine.ron:4:51
      |
    4 |     metrics: ["external_fragmentaton", "refused", "refused"],
      |                                                   ^^^^^^^^^ the second one
    2 errors in mine.ron
    "#);
    assert_snapshot!(errors(&with("polices: [first_fit],")), @"
    error: unknown field `polices` of an experiment
     --> mine.ron:4:5
      |
    4 |     polices: [first_fit],
      |     ^^^^^^^ not a field
      |
      = help: did you mean `policies`?
    1 error in mine.ron
    ");
    assert_snapshot!(errors(&with("axes: [(name: \"m\", path: \"machine.memory\", values: lst([1]))],")), @r#"
    error: unknown kind of values `lst` at axes.m.values
     --> mine.ron:4:56
      |
    4 |     axes: [(name: "m", path: "machine.memory", values: lst([1]))],
      |                                                        ^^^ not a kind of values
      |
      = help: did you mean `list`?
    1 error in mine.ron
    "#);
    assert_snapshot!(
        errors(&with("policies: [first_fit, best_fit], compare: [policies(\"first_fit\", \"bestfit\"), values(\"m\", \"1\", \"2\")],")),
        @r#"
    error: the experiment has no policy `bestfit`
     --> mine.ron:4:70
      |
    4 |     policies: [first_fit, best_fit], compare: [policies("first_fit", "bestfit"), values("m", "1", "2")],
      |                                                                      ^^^^^^^^^ nothing to compare with
      |
      = help: did you mean `best_fit`?
    error: no axis is called `m`
     --> mine.ron:4:89
      |
    4 |     policies: [first_fit, best_fit], compare: [policies("first_fit", "bestfit"), values("m", "1", "2")],
      |                                                                                         ^^^ not an axis
    2 errors in mine.ron
    "#
    );
}

#[test]
fn what_does_not_fit_together_is_found_at_once() {
    assert_snapshot!(
        errors(&with(
            "axes: [
        (name: \"seed\", path: \"machine.memory\", values: list([])),
        (name: \"m\", values: range(from: 1, to: 0, step: 1)),
        (name: \"m\", path: \"machine.cpus\", values: list([1, 2, 1])),
    ],
    policies: [first_fit, first_fit()],
    series: (every: 0, metrics: [\"refused\"]),
    confidence: 1.5,"
        )),
        @r#"
    error: axis name `seed` cannot be used
     --> mine.ron:5:16
      |
    5 |         (name: "seed", path: "machine.memory", values: list([])),
      |                ^^^^^^ the results have a column of this name
    error: axis `seed` has no values
     --> mine.ron:5:56
      |
    5 |         (name: "seed", path: "machine.memory", values: list([])),
      |                                                        ^^^^ at least one is needed
    error: axis `m` has no path
     --> mine.ron:6:9
      |
    6 |         (name: "m", values: range(from: 1, to: 0, step: 1)),
      |         ^ a `path` is needed, such as "machine.memory"
    error: `to` of axis `m` is below `from`
     --> mine.ron:6:48
      |
    6 |         (name: "m", values: range(from: 1, to: 0, step: 1)),
      |                                                ^
    error: axis name `m` cannot be used
     --> mine.ron:7:16
      |
    7 |         (name: "m", path: "machine.cpus", values: list([1, 2, 1])),
      |                ^^^ another axis has this name
    error: `1` is there twice
     --> mine.ron:7:63
      |
    7 |         (name: "m", path: "machine.cpus", values: list([1, 2, 1])),
      |                                                               ^ the second one
    error: `first_fit` is there twice
     --> mine.ron:9:27
      |
    9 |     policies: [first_fit, first_fit()],
      |                           ^^^^^^^^^ the second one
    error: a confidence of 1.5
      --> mine.ron:11:17
       |
    11 |     confidence: 1.5,
       |                 ^^^ above 0 and below 1 is allowed, such as 0.95
    error: metric `refused` has no series
      --> mine.ron:10:34
       |
    10 |     series: (every: 0, metrics: ["refused"]),
       |                                  ^^^^^^^^^ not a mean over time
       |
       = help: `framesim list metrics` names all
    error: a series of every 0 ns has no end
      --> mine.ron:10:21
       |
    10 |     series: (every: 0, metrics: ["refused"]),
       |                     ^ at least 1 ns is allowed
    10 errors in mine.ron
    "#
    );
    assert_snapshot!(
        errors(
            "(workload: \"web\", metrics: [\"refused\"], replicas: until(metric: \"external_fragmentation\", width: 0.1, \
             least: 1, most: 0, step: 0))"
        ),
        @r#"
    error: an interval of 1 replicas
     --> mine.ron:1:110
      |
    1 | (workload: "web", metrics: ["refused"], replicas: until(metric: "external_fragmentation", width: 0.1, least: 1, most: 0, step: 0))
      |                                                                                                              ^ at least 2 are needed
    error: `most` is 0, `least` is 1
     --> mine.ron:1:119
      |
    1 | (workload: "web", metrics: ["refused"], replicas: until(metric: "external_fragmentation", width: 0.1, least: 1, most: 0, step: 0))
      |                                                                                                                       ^ at least as many as `least`
    error: a step of 0 replicas has no end
     --> mine.ron:1:128
      |
    1 | (workload: "web", metrics: ["refused"], replicas: until(metric: "external_fragmentation", width: 0.1, least: 1, most: 0, step: 0))
      |                                                                                                                                ^ at least 1 is needed
    error: `external_fragmentation` decides when to stop and is not measured
     --> mine.ron:1:65
      |
    1 | (workload: "web", metrics: ["refused"], replicas: until(metric: "external_fragmentation", width: 0.1, least: 1, most: 0, step: 0))
      |                                                                 ^^^^^^^^^^^^^^^^^^^^^^^^ not among `metrics`
    4 errors in mine.ron
    "#
    );
}

#[test]
fn work_without_end_is_refused_as_a_limit() {
    let wrong = read(&with(
        "axes: [
        (name: \"a\", path: \"machine.cpus\", values: range(from: 1, to: 100000, step: 1)),
        (name: \"b\", path: \"machine.quantum\", values: range(from: 1, to: 100000, step: 1)),
        (name: \"c\", path: \"machine.page\", values: range(from: 1, to: 100000, step: 1)),
    ],",
    ));
    let Err(wrong) = wrong else { panic!("3 * 10^15 cells") };
    assert_eq!(wrong.kind(), crate::load::Kind::Limit);
    assert_snapshot!(wrong.render(false), @"
    error: the experiment has 3,000,000,000,000,000 cells
     --> mine.ron:4:11
      |
    4 |     axes: [
      |           ^ the limit is 10,000,000
      |
      = help: `limits: (cells: ..)` raises it
    1 error in mine.ron
    ");
}

#[test]
fn later_errors_have_their_place_in_the_file() {
    let loaded = sound(&with("axes: [(name: \"m\", path: \"machine.memory\", values: list([\"1MiB\", \"7\"]))],"));
    let wrong = loaded.error_at("axes.0.values.1", "the unit is missing", "not a size", Some("write \"7B\""));
    assert_snapshot!(wrong.render(false), @r#"
    error: the unit is missing
     --> mine.ron:4:70
      |
    4 |     axes: [(name: "m", path: "machine.memory", values: list(["1MiB", "7"]))],
      |                                                                      ^^^ not a size
      |
      = help: write "7B"
    1 error in mine.ron
    "#);
}

#[test]
fn every_workload_of_the_library_reads_back_with_all_defaults_written_out() {
    let (frames, heaps) = (PolicyRegistry::default(), HeapRegistry::default());
    let known = Known { frames: &frames, heaps: &heaps };
    for shipped in crate::library::LIBRARY {
        let read = |text: &str| match crate::load::load(shipped.path, text, &[], known) {
            Ok(loaded) => loaded.workload,
            Err(wrong) => panic!("{wrong}\n{text}"),
        };
        let workload = read(shipped.text);
        assert_eq!(read(&crate::load::written(&workload).expect("can be written")), workload, "{}", shipped.path);
    }
}
