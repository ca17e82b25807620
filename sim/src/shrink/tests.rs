use std::path::Path;

use framesim_models::frames::PolicyChoice;
use framesim_workloads::load::{Known, Setting, load};
use framesim_workloads::spec::Workload;
use insta::assert_snapshot;

use super::*;

fn workload(text: &str, settings: &[Setting]) -> Workload {
    let registries = Registries::default();
    let known = Known { frames: &registries.frames, heaps: &registries.heaps };
    load("test", text, settings, known).unwrap_or_else(|wrong| panic!("{}", wrong.render(false))).workload
}

fn scripted(frames: u64, steps: &str) -> Workload {
    let text = format!(
        "(machine: (memory: {}, frames: best_fit, kernel: free_of_charge), processes: [(name: \"P\", does: script([{steps}]))])",
        frames * 4096
    );
    workload(&text, &[])
}

fn under(policy: PolicyChoice, shows: Shows) -> Property {
    Property { under: Under { policy: Some(policy), heap: None }, shows }
}

fn best_fit_refuses_and_first_fit_does_not() -> [Property; 2] {
    [
        under(PolicyChoice::BestFit(Default::default()), Shows::Refusal),
        under(PolicyChoice::FirstFit(Default::default()), Shows::NoRefusal),
    ]
}

fn shrunk(workload: &Workload, properties: &[Property]) -> Option<(Operations, Shrunk)> {
    let registries = Registries::default();
    let mut operations = Operations::of(workload).expect("not too many");
    let holds = |operations: &Operations| {
        let candidate = operations.in_workload(workload);
        properties.iter().all(|property| property.holds(&candidate, Path::new(""), &registries))
    };
    let shrunk = shrink(&mut operations, holds, |_, _| {})?;
    Some((operations, shrunk))
}

/// Knuth's two holes, with blocks that come and go after each step, too large for the holes; at the end all is taken but them.
fn planted(operations: u64) -> Workload {
    let core = ["13 A", "1 B", "12 C", "5 wall", "0 A", "0 C", "10 D", "11 E"];
    let mut script = "take(\"low\", 40), ".to_owned();
    for step in core {
        let (frames, name) = step.split_once(' ').expect("two words");
        script += &if frames == "0" { format!("give({name:?}), ") } else { format!("take({name:?}, {frames}), ") };
        for noise in 0..operations / core.len() as u64 / 4 {
            let (one, other) = (14 + noise * 7 % 9, 14 + noise % 5);
            script += &format!("take(\"x\", {one}), take(\"y\", {other}), give(\"x\"), give(\"y\"), ");
        }
    }
    scripted(130, &(script + "take(\"rest\", 59), take(\"F\", 3)"))
}

#[test]
fn a_planted_case_of_100_000_operations_shrinks_to_its_core() {
    let workload = planted(100_000);
    let (operations, shrunk) = shrunk(&workload, &best_fit_refuses_and_first_fit_does_not()).expect("it is planted");
    assert!(shrunk.before >= 100_000, "{shrunk:?}");
    assert!(shrunk.after <= 20, "{shrunk:?}:\n{}", operations.script(0));
    for place in 0..operations.len() {
        let others: Vec<usize> = (0..operations.len()).filter(|other| *other != place).collect();
        let less = operations.with(&operations.singles(), &others).in_workload(&workload);
        let registries = Registries::default();
        let holds = best_fit_refuses_and_first_fit_does_not()
            .iter()
            .all(|property| property.holds(&less, Path::new(""), &registries));
        assert!(!holds, "operation {place} could go as well");
    }
}

/// The second hole needs no block of its own: the end of memory is one.
#[test]
fn what_is_left_of_two_holes_is_what_makes_best_fit_fail() {
    let steps = "take(\"A\", 13), take(\"B\", 1), take(\"C\", 12), give(\"A\"), give(\"C\"), \
        repeat(3, [take(\"x\", 1), give(\"x\")]), take(\"D\", 10), sleep(\"1ms\"), take(\"E\", 11), take(\"F\", 3)";
    let (operations, shrunk) =
        shrunk(&scripted(26, steps), &best_fit_refuses_and_first_fit_does_not()).expect("it fails");
    assert_snapshot!(operations.script(0), @r#"
    script([
                take("A", 13), take("B", 1), give("A"), take("D", 10), take("E", 11),
                take("F", 3),
            ])
    "#);
    assert_eq!((shrunk.before, shrunk.after), (15, 6));
}

#[test]
fn what_does_not_hold_at_first_is_not_shrunk() {
    let workload = scripted(10, "take(\"A\", 3)");
    assert!(shrunk(&workload, &[under(PolicyChoice::BestFit(Default::default()), Shows::Refusal)]).is_none());
}

#[test]
fn what_makes_no_sense_alone_goes_with_what_it_needs() {
    let steps = "take(\"A\", 3), malloc(\"b\", 10), touch(\"b\"), realloc(\"b\", 20), free(\"b\"), realloc(\"b\", 5), give(\"A\"), thread(2), malloc(\"c\", 1)";
    let workload = scripted(100, steps);
    let all = Operations::of(&workload).expect("not too many");
    let blocks = all.blocks();
    assert_eq!(blocks, [vec![0, 6], vec![1, 2, 3, 4], vec![5], vec![7]]);
    let without_malloc = all.with(&all.singles(), &[0, 2, 3, 4, 5, 7]);
    // The first `realloc` makes the block now; nothing is there to touch before it.
    assert_snapshot!(without_malloc.script(0), @r#"
    script([
                take("A", 3), realloc("b", 20), free("b"), realloc("b", 5), thread(2),
                malloc("c", 1),
            ])
    "#);
    let text = without_malloc.script(0);
    let back = self::workload(
        "(machine: (memory: \"1MiB\", frames: buddy), processes: [(name: \"P\", does: script([]))])",
        &[Setting { path: "processes.0.does".to_owned(), value: text }],
    );
    assert_eq!(Operations::of(&back).expect("not too many").script(0), without_malloc.script(0));
}
