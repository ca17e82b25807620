//! What the parser cannot see: values that do not fit together, names that lead nowhere, work without an end.
//!
//! All problems are found, not only the first. The laws of cost ([`budget`]) are asked only of a workload that is right.

mod budget;
mod laws;
mod machine;
mod processes;
mod script;

use super::Known;
use super::problem::{Path, Problem};
use crate::spec::{Workload, grouped};

/// All problems, in the order of the schema.
pub(super) fn problems(workload: &Workload, known: Known<'_>) -> Vec<Problem> {
    let mut found = Found::default();
    machine::check(&workload.machine, known, &mut found);
    processes::check(workload, known, &mut found);
    if found.problems.is_empty() {
        budget::check(workload, &mut found);
    }
    found.problems
}

/// Events of a run, by the same estimate that the budget is held against.
pub(super) fn events(workload: &Workload) -> u64 {
    budget::events(workload)
}

/// Problems as they are found.
#[derive(Default)]
struct Found {
    problems: Vec<Problem>,
}

impl Found {
    /// A problem unless `holds`.
    fn unless(&mut self, holds: bool, problem: impl FnOnce() -> Problem) {
        if !holds {
            self.problems.push(problem());
        }
    }

    /// `value` is in a range, or the problem says which.
    fn within(&mut self, at: &Path, field: &str, value: u64, range: std::ops::RangeInclusive<u64>) {
        self.unless(range.contains(&value), || {
            let (least, most) = (grouped(*range.start()), grouped(*range.end()));
            let allowed = match *range.end() {
                u64::MAX => format!("at least {least}"),
                _ => format!("{least} to {most}"),
            };
            Problem::new(at.field(field), format!("`{field}` is {}", grouped(value)))
                .label(format!("{allowed} is allowed"))
        });
    }
}
