//! What a person sees for each hostile or broken input.

use framesim_models::frames::PolicyRegistry;
use framesim_models::heap::HeapRegistry;
use insta::assert_snapshot;

use super::{Diagnostics, Known, Loaded, Setting, load};

fn read(text: &str, settings: &[(&str, &str)]) -> Result<Loaded, Diagnostics> {
    let (frames, heaps) = (PolicyRegistry::default(), HeapRegistry::default());
    let setting = |(path, value): &(&str, &str)| Setting { path: (*path).to_owned(), value: (*value).to_owned() };
    let settings: Vec<Setting> = settings.iter().map(setting).collect();
    load("mine.ron", text, &settings, Known { frames: &frames, heaps: &heaps })
}

/// The errors in `text`; all of them have a place.
fn errors(text: &str) -> String {
    with_settings(text, &[])
}

fn with_settings(text: &str, settings: &[(&str, &str)]) -> String {
    let Err(wrong) = read(text, settings) else { panic!("nothing is wrong with it") };
    for diagnostic in &wrong.list {
        let (line, column) = wrong.line_and_column(diagnostic).expect("every error has a place");
        assert!(line > 0 && column > 0);
    }
    wrong.render(false)
}

/// A workload with `machine` and `processes` in it.
fn with_machine(machine: &str) -> String {
    format!("(\n    machine: ({machine}),\n    processes: [(name: \"P\", does: script([exit]))],\n)\n")
}

fn with_process(process: &str) -> String {
    format!(
        "(\n    machine: (memory: \"64KiB\", frames: first_fit),\n    processes: [\n        ({process}),\n    ],\n)\n"
    )
}

#[test]
fn names_with_and_without_options_are_read() {
    for machine in [
        "memory: 65536, frames: first_fit",
        "memory: \"64KiB\", frames: first_fit()",
        "frames: buddy(max_order: 3), memory: \"0.5MiB\", kernel: free_of_charge",
        "frames: buddy /* the usual */, memory: \"64KiB\", kernel: charged",
        "frames: buddy , memory: \"64KiB\", kernel: charged(stack: \"8KiB\", objects: false), costs: (malloc: \"30ns\")",
    ] {
        if let Err(wrong) = read(&with_machine(machine), &[]) {
            panic!("{wrong}");
        }
    }
}

#[test]
fn names_that_are_not_known_have_the_nearest_one() {
    assert_snapshot!(errors(&with_machine("memory: \"64KiB\", frames: fist_fit")), @r#"
    error: unknown policy `fist_fit` at machine.frames
     --> mine.ron:2:40
      |
    2 |     machine: (memory: "64KiB", frames: fist_fit),
      |                                        ^^^^^^^^ not a policy
      |
      = help: did you mean `first_fit`? `framesim list policies` names all
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_machine("memory: \"64KiB\", frames: budy(max_order: 3)")), @r#"
    error: unknown policy `budy` at machine.frames
     --> mine.ron:2:40
      |
    2 |     machine: (memory: "64KiB", frames: budy(max_order: 3)),
      |                                        ^^^^ not a policy
      |
      = help: did you mean `buddy`? `framesim list policies` names all
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_machine("memory: \"64KiB\", frames: custom(name: \"first_fitt\")")), @r#"
    error: unknown policy `first_fitt` at machine.frames.name
     --> mine.ron:2:53
      |
    2 |     machine: (memory: "64KiB", frames: custom(name: "first_fitt")),
      |                                                     ^^^^^^^^^^^^ not a policy
      |
      = help: did you mean `first_fit`? `framesim list policies` names all
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_machine("memory: \"64KiB\", frames: buddy(max_odrer: 3)")), @r#"
    error: unknown field `max_odrer` at machine.frames
     --> mine.ron:2:46
      |
    2 |     machine: (memory: "64KiB", frames: buddy(max_odrer: 3)),
      |                                              ^^^^^^^^^ not a field
      |
      = help: did you mean `max_order`?
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_machine("memroy: \"64KiB\", frames: first_fit")), @r#"
    error: unknown field `memroy` of a machine at machine
     --> mine.ron:2:15
      |
    2 |     machine: (memroy: "64KiB", frames: first_fit),
      |               ^^^^^^ not a field
      |
      = help: did you mean `memory`?
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_process("name: \"web\", does: mix(gap: constant(1), size: Unifrom(lo: 16, hi: 4096))")), @r#"
    error: unknown law `Unifrom` at processes.web.does.size
     --> mine.ron:4:57
      |
    4 |         (name: "web", does: mix(gap: constant(1), size: Unifrom(lo: 16, hi: 4096))),
      |                                                         ^^^^^^^ not a law
      |
      = help: did you mean `uniform`? `framesim list laws` names all
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_process("name: \"web\", does: mix(gap: constant(1), size: uniform(lo: 16, hy: 4096))")), @r#"
    error: unknown field `hy` at processes.web.does.size
     --> mine.ron:4:73
      |
    4 |         (name: "web", does: mix(gap: constant(1), size: uniform(lo: 16, hy: 4096))),
      |                                                                         ^^ not a field
      |
      = help: did you mean `hi`?
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_process("name: \"web\", does: script([mallok(\"x\", 1)])")), @r#"
    error: unknown step `mallok` at processes.web.does[0]
     --> mine.ron:4:37
      |
    4 |         (name: "web", does: script([mallok("x", 1)])),
      |                                     ^^^^^^ not a step
      |
      = help: did you mean `malloc`?
    1 error in mine.ron
    "#);
}

#[test]
fn numbers_out_of_range_say_what_is_allowed() {
    assert_snapshot!(errors(&with_machine("memory: -1, frames: first_fit")), @r#"
    error: expected a size such as 4096 or "64KiB", found `-1` at machine.memory
     --> mine.ron:2:23
      |
    2 |     machine: (memory: -1, frames: first_fit),
      |                       ^^
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_machine("memory: 1.5, frames: first_fit")), @r#"
    error: expected a size such as 4096 or "64KiB", found `1.5` at machine.memory
     --> mine.ron:2:23
      |
    2 |     machine: (memory: 1.5, frames: first_fit),
      |                       ^^^
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_machine("memory: \"64KB\", frames: first_fit")), @r#"
    error: `KB` is no unit at machine.memory
     --> mine.ron:2:23
      |
    2 |     machine: (memory: "64KB", frames: first_fit),
      |                       ^^^^^^
      |
      = help: did you mean `KiB`?
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_machine("memory: 18446744073709551616, frames: first_fit")), @r#"
    error: expected a size such as 4096 or "64KiB", found `18446744073709551616` at machine.memory
     --> mine.ron:2:23
      |
    2 |     machine: (memory: 18446744073709551616, frames: first_fit),
      |                       ^^^^^^^^^^^^^^^^^^^^
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_machine("memory: 4096, cpus: 4294967296, frames: first_fit")), @"
    error: 4,294,967,296 is too large; a whole number from 0 to 4,294,967,295 is expected at machine.cpus
     --> mine.ron:2:35
      |
    2 |     machine: (memory: 4096, cpus: 4294967296, frames: first_fit),
      |                                   ^^^^^^^^^^
    1 error in mine.ron
    ");
    assert_snapshot!(errors(&with_machine("memory: 4096, cpus: -2, frames: first_fit")), @"
    error: expected a whole number from 0 to 4,294,967,295, found `-2` at machine.cpus
     --> mine.ron:2:35
      |
    2 |     machine: (memory: 4096, cpus: -2, frames: first_fit),
      |                                   ^^
    1 error in mine.ron
    ");
    assert_snapshot!(errors(&with_machine("memory: 4096, cpus: 1.5, frames: first_fit")), @"
    error: expected a whole number from 0 to 4,294,967,295, found `1.5` at machine.cpus
     --> mine.ron:2:35
      |
    2 |     machine: (memory: 4096, cpus: 1.5, frames: first_fit),
      |                                   ^^^
    1 error in mine.ron
    ");
    assert_snapshot!(errors(&with_machine("memory: 4096, frames: buddy(max_order: 1.5)")), @r#"
    error: 1.5 is not a whole number at machine.frames
     --> mine.ron:2:54
      |
    2 |     machine: (memory: 4096, frames: buddy(max_order: 1.5)),
      |                                                      ^^^
      |
      = help: write 1_000_000 for 1e6; sizes and times may be texts such as "1.5MiB", "1.5ms"
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_machine("memory: 4096, frames: buddy(max_order: -1)")), @"
    error: -1 is not in the range of whole numbers allowed here at machine.frames.max_order
     --> mine.ron:2:54
      |
    2 |     machine: (memory: 4096, frames: buddy(max_order: -1)),
      |                                                      ^^
      |
      = help: 0 to 18,446,744,073,709,551,615 at most
    1 error in mine.ron
    ");
    assert_snapshot!(errors(&with_machine("memory: 4096, frames: buddy(max_order: 1e12)")), @r#"
    error: 1e12 is not a whole number at machine.frames.max_order
     --> mine.ron:2:54
      |
    2 |     machine: (memory: 4096, frames: buddy(max_order: 1e12)),
      |                                                      ^^^^
      |
      = help: write 1_000_000 for 1e6; sizes and times may be texts such as "1.5MiB", "1.5ms"
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_machine("memory: 4096, frames: buddy(max_order: 99999999999999999999)")), @"
    error: 99999999999999999999 is not in the range of whole numbers allowed here at machine.frames.max_order
     --> mine.ron:2:54
      |
    2 |     machine: (memory: 4096, frames: buddy(max_order: 99999999999999999999)),
      |                                                      ^^^^^^^^^^^^^^^^^^^^
      |
      = help: 0 to 18,446,744,073,709,551,615 at most
    1 error in mine.ron
    ");
    assert_snapshot!(errors(&with_process("name: \"P\", arrive: poisson(per_second: NaN), does: script([])")), @r#"
    error: expected a number above 0, found `NaN` at processes.P.arrive.per_second
     --> mine.ron:4:49
      |
    4 |         (name: "P", arrive: poisson(per_second: NaN), does: script([])),
      |                                                 ^^^
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_process("name: \"P\", arrive: poisson(per_second: inf), does: script([])")), @r#"
    error: expected a number above 0, found `inf` at processes.P.arrive.per_second
     --> mine.ron:4:49
      |
    4 |         (name: "P", arrive: poisson(per_second: inf), does: script([])),
      |                                                 ^^^
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_process("name: \"P\", arrive: poisson(per_second: 1e400), does: script([])")), @r#"
    error: expected a number above 0, found `1e400` at processes.P.arrive.per_second
     --> mine.ron:4:49
      |
    4 |         (name: "P", arrive: poisson(per_second: 1e400), does: script([])),
      |                                                 ^^^^^
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_process("name: \"P\", arrive: poisson(per_second: 0), does: script([])")), @r#"
    error: expected a number above 0, found `0` at processes.P.arrive.per_second
     --> mine.ron:4:49
      |
    4 |         (name: "P", arrive: poisson(per_second: 0), does: script([])),
      |                                                 ^
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_process("name: \"P\", arrive: poisson(per_second: -0.5), does: script([])")), @r#"
    error: expected a number above 0, found `-0.5` at processes.P.arrive.per_second
     --> mine.ron:4:49
      |
    4 |         (name: "P", arrive: poisson(per_second: -0.5), does: script([])),
      |                                                 ^^^^
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_process("name: \"P\", arrive: at(\"1.5\"), does: script([])")), @r#"
    error: the unit is missing, one of ns, us, ms, s, min, h at processes.P.arrive
     --> mine.ron:4:32
      |
    4 |         (name: "P", arrive: at("1.5"), does: script([])),
      |                                ^^^^^
    1 error in mine.ron
    "#);
}

#[test]
fn texts_that_ron_alone_would_take_or_tell_badly() {
    assert_snapshot!(errors("\u{feff}(machine: (memory: 1, frames: first_fit), processes: [])"), @"
    error: the file starts with a byte order mark (BOM)
     --> mine.ron:1:1
      |
    1 | ﻿(machine: (memory: 1, frames: first_fit), processes: [])
      | ^ here, invisible
      |
      = help: save it as UTF-8 without a byte order mark
    1 error in mine.ron
    ");
    assert_snapshot!(errors(""), @"
    error: expected `(`
     --> mine.ron:1:1
      |
    1 |
      | ^ an opening parenthesis is missing
    1 error in mine.ron
    ");
    assert_snapshot!(errors("(machine: (memory: 1, frames: first_fit), processes: []) x"), @"
    error: something follows the end of the workload
     --> mine.ron:1:58
      |
    1 | (machine: (memory: 1, frames: first_fit), processes: []) x
      |                                                          ^ not expected here
    1 error in mine.ron
    ");
    assert_snapshot!(errors("(machine: (memory: 1, frames: first_fit))"), @"
    error: `processes` is missing
     --> mine.ron:1:41
      |
    1 | (machine: (memory: 1, frames: first_fit))
      |                                         ^ a `processes` is needed before this
    1 error in mine.ron
    ");
    assert_snapshot!(errors("(machine: (memory: 1, memory: 2, frames: first_fit), processes: [])"), @"
    error: `memory` is there twice at machine
     --> mine.ron:1:23
      |
    1 | (machine: (memory: 1, memory: 2, frames: first_fit), processes: [])
      |                       ^^^^^^ the second one
    1 error in mine.ron
    ");
    assert_snapshot!(errors("(machine: (memory: 1 frames: first_fit), processes: [])"), @"
    error: expected comma at machine
     --> mine.ron:1:22
      |
    1 | (machine: (memory: 1 frames: first_fit), processes: [])
      |                      ^
    1 error in mine.ron
    ");
    assert_snapshot!(errors("(about: \"never closed, machine: 1)"), @r#"
    error: expected end of string at about
     --> mine.ron:1:9
      |
    1 | (about: "never closed, machine: 1)
      |         ^
    1 error in mine.ron
    "#);
    assert_snapshot!(errors("(machine: (memory: 4096, frames: first_fit), programs: {\"a\": (), \"b\": (), \"a\": ()}, processes: [])"), @r#"
    error: `a` is there twice
     --> mine.ron:1:75
      |
    1 | (machine: (memory: 4096, frames: first_fit), programs: {"a": (), "b": (), "a": ()}, processes: [])
      |                                                                           ^^^ the second one
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_machine("memory: 4096, frames: custom(name: \"x\", options: {\"a\": 1, \"a\": 2})")), @r#"
    error: `a` is there twice
     --> mine.ron:2:73
      |
    2 |     machine: (memory: 4096, frames: custom(name: "x", options: {"a": 1, "a": 2})),
      |                                                                         ^^^ the second one
    1 error in mine.ron
    "#);
    assert_snapshot!(errors("#![enable(no_such)] ()"), @"
    error: RON has no extension `no_such`
     --> mine.ron:1:11
      |
    1 | #![enable(no_such)] ()
      |           ^^^^^^^
    1 error in mine.ron
    ");
    assert_snapshot!(errors("[1, 2]"), @"
    error: expected `(`
     --> mine.ron:1:1
      |
    1 | [1, 2]
      | ^ an opening parenthesis is missing
    1 error in mine.ron
    ");
    assert_snapshot!(errors(&with_process("name: \"P\", does: script([take(\"A\")])")), @r#"
    error: 2 values are needed here, found 1 at processes.P.does[0]
     --> mine.ron:4:43
      |
    4 |         (name: "P", does: script([take("A")])),
      |                                           ^
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_process("name: \"P\", does: script([exit], 3)")), @r#"
    error: expected closing `)` at processes.P.does
     --> mine.ron:4:42
      |
    4 |         (name: "P", does: script([exit], 3)),
      |                                          ^
    1 error in mine.ron
    "#);
}

#[test]
fn files_that_would_exhaust_the_reader_are_refused() {
    let head = |text: String| text.lines().next().unwrap_or("").to_owned();
    assert_snapshot!(head(errors(&"[".repeat(1_000_000))), @"error: expected `(`");
    assert_snapshot!(head(errors(&"(a:".repeat(1_000_000))), @"error: unknown field `a` of a workload");
    assert_snapshot!(head(errors(&"/*".repeat(1_000_000))), @"error: unclosed block comment");
    assert_snapshot!(head(errors(&with_process(&format!("name: \"P\", does: script([{}exit{}])", "repeat(1, [".repeat(64), "])".repeat(64))))), @"error: brackets are nested too deep at processes.P.does[0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1][0][1]");
    assert_snapshot!(head(errors(&with_process(&format!("name: \"P\", does: script([{}])", "exit,".repeat(4 << 20))))), @"error: the file has 20,971,638 bytes; a workload has at most 16 MiB");
    assert!(
        read(
            &with_process(&format!("name: \"P\", does: script([{}exit{}])", "repeat(1, [".repeat(15), "])".repeat(15))),
            &[]
        )
        .is_ok()
    );
}

#[test]
fn values_that_do_not_fit_together_are_all_told() {
    assert_snapshot!(errors(r#"(
    machine: (memory: "63KiB", page: 4096, cpus: 0, frames: first_fit, reserved: "1MiB"),
    processes: [
        (name: "a b", program: "worker", count: 0, arrive: every(gap: 0), does: script([])),
        (
            name: "web",
            live: normal(mean: 0, deviation: 0),
            does: mix(
                gap: constant(0),
                size: mixture([(0, uniform(lo: 9, hi: 3)), (0, pareto(min: 0, shape: 0.001))]),
                life: exponential(mean: 0),
                threads: 0,
                phases: [(lasts: 0, size: table([]))],
            ),
        ),
        (name: "web", does: mix(gap: constant(1), size: zipf(ranks: 9999999, exponent: 1, unit: 0))),
    ],
)"#), @r#"
    error: a memory of 64,512 bytes is no whole number of pages at machine.memory
     --> mine.ron:2:23
      |
    2 |     machine: (memory: "63KiB", page: 4096, cpus: 0, frames: first_fit, reserved: "1MiB"),
      |                       ^^^^^^^ a multiple of 4,096 is allowed
    error: `cpus` is 0 at machine.cpus
     --> mine.ron:2:50
      |
    2 |     machine: (memory: "63KiB", page: 4096, cpus: 0, frames: first_fit, reserved: "1MiB"),
      |                                                  ^ 1 to 4,096 is allowed
    error: that is no name of a group at processes.a b.name
     --> mine.ron:4:16
      |
    4 |         (name: "a b", program: "worker", count: 0, arrive: every(gap: 0), does: script([])),
      |                ^^^^^ 1 to 64 characters, no blank, dot or slash
    error: `count` is 0 at processes.a b.count
     --> mine.ron:4:49
      |
    4 |         (name: "a b", program: "worker", count: 0, arrive: every(gap: 0), does: script([])),
      |                                                 ^ at least 1 is allowed
    error: unknown program `worker` at processes.a b.program
     --> mine.ron:4:32
      |
    4 |         (name: "a b", program: "worker", count: 0, arrive: every(gap: 0), does: script([])),
      |                                ^^^^^^^^ not a program
      |
      = help: there are no `programs`
    error: `gap` is 0 at processes.a b.arrive.gap
     --> mine.ron:4:71
      |
    4 |         (name: "a b", program: "worker", count: 0, arrive: every(gap: 0), does: script([])),
      |                                                                       ^ at least 1 is allowed
    error: the arrivals never end at processes.a b.arrive
     --> mine.ron:4:60
      |
    4 |         (name: "a b", program: "worker", count: 0, arrive: every(gap: 0), does: script([])),
      |                                                            ^^^^^ without an end
      |
      = help: give it `count` or `until`, or the workload `until`
    error: the life of group `web` is 0 ns on average at processes.web.live
     --> mine.ron:7:19
      |
    7 |             live: normal(mean: 0, deviation: 0),
      |                   ^^^^^^ at least 1 ns is allowed
    error: the gap of group `web` is 0 ns on average at processes.web.does.gap
     --> mine.ron:9:22
      |
    9 |                 gap: constant(0),
      |                      ^^^^^^^^ at least 1 ns is allowed
    error: the weights of the mixture sum to 0 at processes.web.does.size
      --> mine.ron:10:23
       |
    10 |                 size: mixture([(0, uniform(lo: 9, hi: 3)), (0, pareto(min: 0, shape: 0.001))]),
       |                       ^^^^^^^ at least one weight is above 0
    error: `lo` is 9, `hi` is 3 at processes.web.does.size[0][1].hi
      --> mine.ron:10:55
       |
    10 |                 size: mixture([(0, uniform(lo: 9, hi: 3)), (0, pareto(min: 0, shape: 0.001))]),
       |                                                       ^ at least 9 is allowed
    error: `min` is 0 at processes.web.does.size[1][1].min
      --> mine.ron:10:76
       |
    10 |                 size: mixture([(0, uniform(lo: 9, hi: 3)), (0, pareto(min: 0, shape: 0.001))]),
       |                                                                            ^ 1 to 281,474,976,710,656 is allowed
    error: `shape` is 0.001 at processes.web.does.size[1][1].shape
      --> mine.ron:10:86
       |
    10 |                 size: mixture([(0, uniform(lo: 9, hi: 3)), (0, pareto(min: 0, shape: 0.001))]),
       |                                                                                      ^^^^^ at least 0.01 is allowed
    error: `mean` is 0 at processes.web.does.life.mean
      --> mine.ron:11:41
       |
    11 |                 life: exponential(mean: 0),
       |                                         ^ 1 to 4,611,686,018,427,387,904 is allowed
    error: `threads` is 0 at processes.web.does.threads
      --> mine.ron:12:26
       |
    12 |                 threads: 0,
       |                          ^ 1 to 4,096 is allowed
    error: `lasts` is 0 at processes.web.does.phases[0].lasts
      --> mine.ron:13:34
       |
    13 |                 phases: [(lasts: 0, size: table([]))],
       |                                  ^ at least 1 is allowed
    error: the table is empty at processes.web.does.phases[0].size
      --> mine.ron:13:43
       |
    13 |                 phases: [(lasts: 0, size: table([]))],
       |                                           ^^^^^ at least one weight is above 0
    error: there are two groups called `web` at processes.web.name
      --> mine.ron:16:16
       |
    16 |         (name: "web", does: mix(gap: constant(1), size: zipf(ranks: 9999999, exponent: 1, unit: 0))),
       |                ^^^^^ the second one
    error: `ranks` is 9,999,999 at processes.web.does.size.ranks
      --> mine.ron:16:69
       |
    16 |         (name: "web", does: mix(gap: constant(1), size: zipf(ranks: 9999999, exponent: 1, unit: 0))),
       |                                                                     ^^^^^^^ 1 to 1,048,576 is allowed
    error: `unit` is 0 at processes.web.does.size.unit
      --> mine.ron:16:97
       |
    16 |         (name: "web", does: mix(gap: constant(1), size: zipf(ranks: 9999999, exponent: 1, unit: 0))),
       |                                                                                                 ^ 1 to 281,474,976,710,656 is allowed
    (1 more)
    21 errors in mine.ron
    "#);
}

#[test]
fn names_of_a_script_are_followed() {
    let script = |steps: &str| errors(&with_process(&format!("name: \"P\", does: script([{steps}])")));
    assert_snapshot!(script(r#"free("x"), malloc("x", 1), give("x"), touch("X"), free("x"), free("x")"#), @r#"
    error: free of `x`, which nothing has made at processes.P.does[0]
     --> mine.ron:4:35
      |
    4 |         (name: "P", does: script([free("x"), malloc("x", 1), give("x"), touch("X"), free("x"), free("x")])),
      |                                   ^^^^ not made before
      |
      = help: `malloc` makes one
    error: give of `x`, which is a block at processes.P.does[2]
     --> mine.ron:4:62
      |
    4 |         (name: "P", does: script([free("x"), malloc("x", 1), give("x"), touch("X"), free("x"), free("x")])),
      |                                                              ^^^^ not what this step is for
      |
      = help: `free` is for a block
    error: touch of `X`, which nothing has made at processes.P.does[3]
     --> mine.ron:4:73
      |
    4 |         (name: "P", does: script([free("x"), malloc("x", 1), give("x"), touch("X"), free("x"), free("x")])),
      |                                                                         ^^^^^ not made before
      |
      = help: did you mean `x`?
    error: free of `x`, which an earlier give has ended at processes.P.does[4]
     --> mine.ron:4:85
      |
    4 |         (name: "P", does: script([free("x"), malloc("x", 1), give("x"), touch("X"), free("x"), free("x")])),
      |                                                                                     ^^^^ not live
    error: free of `x`, which an earlier free has ended at processes.P.does[5]
     --> mine.ron:4:96
      |
    4 |         (name: "P", does: script([free("x"), malloc("x", 1), give("x"), touch("X"), free("x"), free("x")])),
      |                                                                                                ^^^^ not live
    5 errors in mine.ron
    "#);
    assert_snapshot!(script(r#"malloc("x", 1), repeat(3, [touch("x"), free("x")])"#), @r#"
    error: touch of `x` in the second round, which an earlier free has ended at processes.P.does[1][1][0]
     --> mine.ron:4:62
      |
    4 |         (name: "P", does: script([malloc("x", 1), repeat(3, [touch("x"), free("x")])])),
      |                                                              ^^^^^ not live
    1 error in mine.ron
    "#);
    assert_snapshot!(script(r#"take("A", 0), thread(5000), repeat(0, []), mmap("m", 1), realloc("m", 3)"#), @r#"
    error: 0 frames at processes.P.does[0]
     --> mine.ron:4:35
      |
    4 |         (name: "P", does: script([take("A", 0), thread(5000), repeat(0, []), mmap("m", 1), realloc("m", 3)])),
      |                                   ^^^^ at least 1 is allowed
    error: thread 5000 at processes.P.does[1]
     --> mine.ron:4:49
      |
    4 |         (name: "P", does: script([take("A", 0), thread(5000), repeat(0, []), mmap("m", 1), realloc("m", 3)])),
      |                                                 ^^^^^^ 0 to 4095 is allowed
    error: 0 times at processes.P.does[2][0]
     --> mine.ron:4:70
      |
    4 |         (name: "P", does: script([take("A", 0), thread(5000), repeat(0, []), mmap("m", 1), realloc("m", 3)])),
      |                                                                      ^ at least 1 is allowed
    error: realloc of `m`, which is a mapping at processes.P.does[4]
     --> mine.ron:4:92
      |
    4 |         (name: "P", does: script([take("A", 0), thread(5000), repeat(0, []), mmap("m", 1), realloc("m", 3)])),
      |                                                                                            ^^^^^^^ not what this step is for
      |
      = help: `munmap` is for a mapping
    4 errors in mine.ron
    "#);
    for right in [
        r#"malloc("x", 1), repeat(3, [free("x"), malloc("x", 2)]), free("x")"#,
        r#"repeat(1000, [malloc("leak", 100)]), free("leak")"#,
        r#"realloc("x", 5), realloc("x", 9), free("x"), realloc("x", 1)"#,
        r#"mmap("m", 1), touch("m"), dontneed("m"), munmap("m"), malloc("m", 1), free("m")"#,
    ] {
        if let Err(wrong) = read(&with_process(&format!("name: \"P\", does: script([{right}])")), &[]) {
            panic!("{wrong}");
        }
    }
}

#[test]
fn spawns_lead_somewhere_and_end() {
    let groups =
        |groups: &str| errors(&format!("(machine: (memory: \"64KiB\", frames: first_fit), processes: [{groups}])"));
    assert_snapshot!(groups(r#"(name: "a", does: script([spawn("c"), spawn("a")])), (name: "child", arrive: spawned, does: script([]))"#), @r#"
    error: unknown process group `c` at processes.a.does[0]
     --> mine.ron:1:87
      |
    1 | (machine: (memory: "64KiB", frames: first_fit), processes: [(name: "a", does: script([spawn("c"), spawn("a")])), (name: "child", arri...
      |                                                                                       ^^^^^ not a group
      |
      = help: did you mean `a`?
    error: spawn of `a`, whose processes arrive by themselves at processes.a.does[1]
     --> mine.ron:1:99
      |
    1 | ...ocesses: [(name: "a", does: script([spawn("c"), spawn("a")])), (name: "child", arrive: spawned, does: script([]))])
      |                                                    ^^^^^ not a group that is spawned
      |
      = help: give group `a` the field `arrive: spawned`
    error: group `a` spawns itself without an end at processes.a.does
     --> mine.ron:1:79
      |
    1 | (machine: (memory: "64KiB", frames: first_fit), processes: [(name: "a", does: script([spawn("c"), spawn("a")])), (name: "child", arri...
      |                                                                               ^^^^^^ each process starts another
      |
      = help: give the workload an `until`
    error: nothing spawns a process of group `child` at processes.child.arrive
     --> mine.ron:1:138
      |
    1 | ...([spawn("c"), spawn("a")])), (name: "child", arrive: spawned, does: script([]))])
      |                                                         ^^^^^^^ it never starts
      |
      = help: a script does, with `spawn("child")`
    4 errors in mine.ron
    "#);
    assert_snapshot!(groups(r#"(name: "a", arrive: spawned, does: script([spawn("b")])), (name: "b", arrive: spawned, does: script([repeat(2, [spawn("a")])]))"#), @r#"
    error: group `a` spawns itself without an end at processes.a.does
     --> mine.ron:1:96
      |
    1 | (machine: (memory: "64KiB", frames: first_fit), processes: [(name: "a", arrive: spawned, does: script([spawn("b")])), (name: "b", arr...
      |                                                                                                ^^^^^^ each process starts another
      |
      = help: give the workload an `until`
    error: group `b` spawns itself without an end at processes.b.does
     --> mine.ron:1:154
      |
    1 | ...awn("b")])), (name: "b", arrive: spawned, does: script([repeat(2, [spawn("a")])]))])
      |                                                    ^^^^^^ each process starts another
      |
      = help: give the workload an `until`
    2 errors in mine.ron
    "#);
}

#[test]
fn work_without_an_end_or_beyond_the_limits_is_refused_before_it_runs() {
    assert_snapshot!(errors(&with_process("name: \"P\", does: mix(gap: constant(1), size: constant(1))")), @r#"
    error: the mix of group `P` never ends at processes.P.does
     --> mine.ron:4:27
      |
    4 |         (name: "P", does: mix(gap: constant(1), size: constant(1))),
      |                           ^^^ without an end
      |
      = help: give it `calls` or `until`, the group `live`, or the workload `until`
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(&with_process("name: \"P\", arrive: poisson(per_second: 2), does: script([])")), @r#"
    error: the arrivals never end at processes.P.arrive
     --> mine.ron:4:29
      |
    4 |         (name: "P", arrive: poisson(per_second: 2), does: script([])),
      |                             ^^^^^^^ without an end
      |
      = help: give it `count` or `until`, or the workload `until`
    1 error in mine.ron
    "#);
    let repeats = "name: \"P\", does: script([repeat(1000000000000, [repeat(1000000000000, [malloc(\"x\", 1)])])])";
    assert_snapshot!(errors(&with_process(repeats)), @r#"
    error: group `P` makes more than 18,446,744,073,709,551,615 events at processes.P.does
     --> mine.ron:4:27
      |
    4 |         (name: "P", does: script([repeat(1000000000000, [repeat(1000000000000, [malloc("x", 1)])])])),
      |                           ^^^^^^ the limit is 100,000,000,000
      |
      = help: `limits: (events: ..)` raises it
    error: group `P` keeps more than 18,446,744,073,709,551,615 blocks live at processes.P.does
     --> mine.ron:4:27
      |
    4 |         (name: "P", does: script([repeat(1000000000000, [repeat(1000000000000, [malloc("x", 1)])])])),
      |                           ^^^^^^ the limit is 200,000,000
      |
      = help: `limits: (live_blocks: ..)` raises it
    2 errors in mine.ron
    "#);
    let Err(wrong) = read(&with_process(repeats), &[]) else { panic!("it is too much") };
    assert_eq!(wrong.kind(), super::Kind::Limit);
    assert_snapshot!(errors(&with_process("name: \"P\", count: 1000000000000, does: script([])")), @r#"
    error: group `P` makes about 2,000,000,000,000 events at processes.P.does
     --> mine.ron:4:49
      |
    4 |         (name: "P", count: 1000000000000, does: script([])),
      |                                                 ^^^^^^ the limit is 100,000,000,000
      |
      = help: `limits: (events: ..)` raises it
    error: group `P` starts about 1,000,000,000,000 processes at once at processes.P.name
     --> mine.ron:4:16
      |
    4 |         (name: "P", count: 1000000000000, does: script([])),
      |                ^^^ the limit is 10,000,000
      |
      = help: `limits: (processes: ..)` raises it
    2 errors in mine.ron
    "#);
    assert_snapshot!(errors(&with_machine("memory: 18446744073709547520, frames: first_fit")), @"
    error: the simulator would need about 562,949,953,421,471 bytes at machine.memory
     --> mine.ron:2:23
      |
    2 |     machine: (memory: 18446744073709547520, frames: first_fit),
      |                       ^^^^^^^^^^^^^^^^^^^^ the limit is 8,589,934,592
      |
      = help: `limits: (memory: ..)` raises it
    1 error in mine.ron
    ");
    assert_snapshot!(errors(&with_process("name: \"P\", does: mix(gap: constant(1), size: constant(1), until: \"10h\")")), @r#"
    error: group `P` makes about 36,000,000,000,002 events at processes.P.does
     --> mine.ron:4:27
      |
    4 |         (name: "P", does: mix(gap: constant(1), size: constant(1), until: "10h")),
      |                           ^^^ the limit is 100,000,000,000
      |
      = help: `limits: (events: ..)` raises it
    error: group `P` keeps about 36,000,000,000,000 blocks live at processes.P.does
     --> mine.ron:4:27
      |
    4 |         (name: "P", does: mix(gap: constant(1), size: constant(1), until: "10h")),
      |                           ^^^ the limit is 200,000,000
      |
      = help: `limits: (live_blocks: ..)` raises it
    2 errors in mine.ron
    "#);
}

#[test]
fn settings_are_put_in_and_told_by_name() {
    let text = with_process(
        "name: \"web\", arrive: every(gap: \"1ms\", count: 5), does: mix(gap: constant(1), size: constant(8), calls: 3)",
    );
    let with = |settings: &[(&str, &str)]| match read(&text, settings) {
        Ok(loaded) => loaded.workload,
        Err(wrong) => panic!("{wrong}"),
    };
    let all = with(&[
        ("machine.memory", "128KiB"),
        ("machine.frames", "buddy(max_order: 4)"),
        ("machine.frames.max_order", "3"),
        ("machine.costs.malloc", "40ns"),
        ("seed", "7"),
        ("processes.web.does.gap", "exponential(mean: \"2us\")"),
        ("processes.0.arrive.count", "9"),
        ("programs.worker", "(code: 4096)"),
        ("programs.worker.heap", "bump"),
        ("processes.web.program", "worker"),
        ("until", "1s"),
    ]);
    assert_eq!((all.machine.memory.0, all.seed, all.machine.costs.malloc.0), (128 << 10, 7, 40));
    assert_eq!(all.processes[0].program.as_deref(), Some("worker"));
    assert_eq!(all.programs["worker"].heap.name(), "bump");
    assert_snapshot!(format!("{:?} {:?}", all.machine.frames, all.processes[0].arrive), @"Buddy(BuddyOptions { max_order: 3 }) Every { gap: Time(1000000), from: Time(0), count: Some(9), until: None }");
    assert_snapshot!(with_settings(&text, &[("machine.memory", "0")]), @"
    error: a memory of 0 bytes is no whole number of pages at machine.memory
     --> --set machine.memory=0:1:16
      |
    1 | machine.memory=0
      |                ^ a multiple of 4,096 is allowed
    1 error in mine.ron
    ");
    assert_snapshot!(with_settings(&text, &[("seed", "3"), ("machine.frames", "budy")]), @"
    error: unknown policy `budy` at machine.frames
     --> --set machine.frames=budy:1:16
      |
    1 | machine.frames=budy
      |                ^^^^ not a policy
      |
      = help: did you mean `buddy`? `framesim list policies` names all
    1 error in mine.ron
    ");
    assert_snapshot!(with_settings(&text, &[("machine.memroy", "1MiB")]), @"
    error: unknown field `memroy` of a machine at machine
     --> --set machine.memroy=1MiB:1:1
      |
    1 | machine.memroy=1MiB
      | ^^^^^^^^^^^^^^ not a field
      |
      = help: did you mean `memory`?
    1 error in mine.ron
    ");
    assert_snapshot!(with_settings(&text, &[("processes.wbe.count", "3")]), @"
    error: no element is called `wbe`
     --> --set processes.wbe.count=3:1:11
      |
    1 | processes.wbe.count=3
      |           ^^^
      |
      = help: did you mean `web`?
    1 error in mine.ron
    ");
    assert_snapshot!(with_settings(&text, &[("machine.memory.bytes", "3")]), @r#"
    error: `"64KiB"` has no fields
     --> --set machine.memory.bytes=3:1:16
      |
    1 | machine.memory.bytes=3
      |                ^^^^^
    1 error in mine.ron
    "#);
    assert_snapshot!(with_settings(&text, &[("machine..memory", "3")]), @"
    error: a path is names joined by dots
     --> --set machine..memory=3:1:9
      |
    1 | machine..memory=3
      |         ^
    1 error in mine.ron
    ");
    assert_snapshot!(with_settings(&text, &[("processes.web.does.size", "uniform(lo: 5, hi: 2)")]), @"
    error: `lo` is 5, `hi` is 2 at processes.web.does.size.hi
     --> --set processes.web.does.size=uniform(lo: 5, hi: 2):1:44
      |
    1 | processes.web.does.size=uniform(lo: 5, hi: 2)
      |                                            ^ at least 5 is allowed
    1 error in mine.ron
    ");
}

#[test]
fn an_error_of_the_file_keeps_its_place_beside_settings() {
    let text = with_process("name: \"web\", count: 0, does: script([])");
    let alone = errors(&text);
    let beside =
        with_settings(&text, &[("machine.memory", "\"1_000_000 KiB\""), ("seed", "3"), ("machine.page", "1024")]);
    assert_eq!(alone, beside);
}

#[test]
fn the_library_is_right() {
    for entry in crate::library::LIBRARY {
        if let Err(wrong) = read(entry.text, &[]) {
            panic!("{wrong}");
        }
    }
}

#[test]
fn threads_that_cannot_be_are_told() {
    assert_snapshot!(errors(r#"(
    machine: (memory: "64KiB", frames: first_fit),
    programs: {"p": (thread_stack: 0)},
    until: "1ms",
    processes: [
        (name: "A", does: mix(gap: constant(1), size: constant(1), threads: 4097)),
        (name: "B", does: mix(gap: constant(1), size: constant(1), threads: 3, free_by: consumers(3), thread_life: constant(0))),
        (name: "C", does: mix(gap: constant(1), size: constant(1), free_by: consumers(1))),
        (name: "D", does: mix(gap: constant(1), size: constant(1), free_by: everyone)),
    ],
)"#), @r#"
    error: unknown value `everyone` at processes.D.does.free_by
     --> mine.ron:9:77
      |
    9 |         (name: "D", does: mix(gap: constant(1), size: constant(1), free_by: everyone)),
      |                                                                             ^^^^^^^^ not known
      |
      = help: known here: owner, next, random, consumers
    1 error in mine.ron
    "#);
    assert_snapshot!(errors(r#"(
    machine: (memory: "64KiB", frames: first_fit),
    programs: {"p": (thread_stack: 0)},
    until: "1ms",
    processes: [
        (name: "A", does: mix(gap: constant(1), size: constant(1), threads: 4097)),
        (name: "B", does: mix(gap: constant(1), size: constant(1), threads: 3, free_by: consumers(3), thread_life: constant(0))),
        (name: "C", does: mix(gap: constant(1), size: constant(1), free_by: consumers(1))),
        (name: "D", does: script([thread(1), end_thread(0)])),
    ],
)"#), @r#"
    error: `thread_stack` is 0 at programs.p.thread_stack
     --> mine.ron:3:36
      |
    3 |     programs: {"p": (thread_stack: 0)},
      |                                    ^ 1 to 17,179,869,184 is allowed
    error: `threads` is 4,097 at processes.A.does.threads
     --> mine.ron:6:77
      |
    6 |         (name: "A", does: mix(gap: constant(1), size: constant(1), threads: 4097)),
      |                                                                             ^^^^ 1 to 4,096 is allowed
    error: `consumers(3)` with `threads: 3` at processes.B.does.free_by
     --> mine.ron:7:89
      |
    7 |         (name: "B", does: mix(gap: constant(1), size: constant(1), threads: 3, free_by: consumers(3), thread_life: constant(0))),
      |                                                                                         ^^^^^^^^^ 1 to 2 is allowed: one at least gets blocks
    error: the thread life of group `B` is 0 ns on average at processes.B.does.thread_life
     --> mine.ron:7:116
      |
    7 |         (name: "B", does: mix(gap: constant(1), size: constant(1), threads: 3, free_by: consumers(3), thread_life: constant(0))),
      |                                                                                                                    ^^^^^^^^ at least 1 ns is allowed
    error: `consumers(1)` with `threads: 1` at processes.C.does.free_by
     --> mine.ron:8:77
      |
    8 |         (name: "C", does: mix(gap: constant(1), size: constant(1), free_by: consumers(1))),
      |                                                                             ^^^^^^^^^ at least 2 `threads` are needed
    error: thread 0 at processes.D.does[1]
     --> mine.ron:9:46
      |
    9 |         (name: "D", does: script([thread(1), end_thread(0)])),
      |                                              ^^^^^^^^^^ 1 to 4095 is allowed
    6 errors in mine.ron
    "#);
}

#[test]
fn limits_count_threads_and_the_children_of_children() {
    assert_snapshot!(errors(r#"(
    machine: (memory: "64KiB", frames: first_fit),
    limits: (processes: 10, events: 50000, live_blocks: 100),
    processes: [
        (name: "crew", count: 2, does: mix(gap: constant(10), size: constant(1), life: constant(1000), threads: 6, calls: 500)),
        (name: "parent", does: script([repeat(100, [spawn("child")])])),
        (name: "child", arrive: spawned, does: script([spawn("grandchild"), repeat(2, [spawn("grandchild")])])),
        (name: "grandchild", arrive: spawned, does: script([repeat(200, [malloc("x", 1), free("x")])])),
    ],
)"#), @r#"
    error: group `crew` keeps about 1,200 blocks live at processes.crew.does
     --> mine.ron:5:40
      |
    5 |         (name: "crew", count: 2, does: mix(gap: constant(10), size: constant(1), life: constant(1000), threads: 6, calls: 500)),
      |                                        ^^^ the limit is 100
      |
      = help: `limits: (live_blocks: ..)` raises it
    error: group `crew` starts about 12 processes at once at processes.crew.name
     --> mine.ron:5:16
      |
    5 |         (name: "crew", count: 2, does: mix(gap: constant(10), size: constant(1), life: constant(1000), threads: 6, calls: 500)),
      |                ^^^^^^ the limit is 10
      |
      = help: `limits: (processes: ..)` raises it
    error: group `grandchild` makes about 120,600 events at processes.grandchild.does
     --> mine.ron:8:53
      |
    8 |         (name: "grandchild", arrive: spawned, does: script([repeat(200, [malloc("x", 1), free("x")])])),
      |                                                     ^^^^^^ the limit is 50,000
      |
      = help: `limits: (events: ..)` raises it
    3 errors in mine.ron
    "#);
}
