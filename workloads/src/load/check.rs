//! What the parser cannot see: values that do not fit together, names that lead nowhere, work without an end.

use framesim_models::frames::PolicyChoice;
use framesim_models::heap::HeapChoice;

use super::Known;
use super::explain::names_help;
use super::problem::{Path, Problem};
use crate::spec::{Machine, Workload};

/// All problems, in the order of the schema.
pub(super) fn problems(workload: &Workload, known: Known<'_>) -> Vec<Problem> {
    let mut found = Vec::new();
    machine(&workload.machine, known, &mut found);
    for (index, group) in workload.processes.iter().enumerate() {
        if group.count == 0 {
            let at = Path::default().field("processes").element(index).field("count");
            found.push(Problem::new(at, "`count` is 0; at least 1 process starts at each arrival".to_owned()));
        }
    }
    found
}

fn machine(machine: &Machine, known: Known<'_>, found: &mut Vec<Problem>) {
    let at = Path::default().field("machine");
    if let PolicyChoice::Custom { name, .. } = &machine.frames
        && known.frames.find(name).is_none()
    {
        let names: Vec<&str> = known.frames.iter().map(|entry| entry.name).collect();
        let help = names_help(name, &names, Some("policies"));
        found.push(
            Problem::new(at.field("frames"), format!("unknown policy `{name}`")).label("not a policy").help(help),
        );
    }
    let _ = |choice: &HeapChoice| choice.name().len();
}
