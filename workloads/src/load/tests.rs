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
    error: unknown policy `first_fitt` at machine.frames
     --> mine.ron:2:40
      |
    2 |     machine: (memory: "64KiB", frames: custom(name: "first_fitt")),
      |                                        ^^^^^^ not a policy
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
      = help: known here: lo, hi
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
