//! A workload or a recorded trace: what `compare` and `heap-map` look at.

use std::path::Path;

use framesim_workloads::library;

use super::args::{Overrides, Replay};
use super::exit::Failure;
use super::input::{Source, heap_choice};
use super::replay;
use crate::Registries;

/// What a trace is replayed on, where nothing else is asked for.
const TRACE_HEAP: &str = "glibc";
const TRACE_POLICY: &str = "buddy";

/// A file and what it is.
pub struct Subject {
    /// The workload: for a trace, one that replays it.
    pub source: Source,
    /// Whether the file is a trace.
    pub is_trace: bool,
}

impl Subject {
    /// A workload by its file or its name in the library; any other file is a trace.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn open(file: &Path, memory: &str, one_thread: bool) -> Result<Subject, Failure> {
        let given = file.display().to_string();
        let is_workload = file.extension().is_some_and(|ending| ending == "ron") || library::find(&given).is_some();
        if is_workload || !file.exists() {
            return Ok(Subject { source: Source::open(file)?, is_trace: false });
        }
        let replay = Replay {
            trace: file.to_owned(),
            heap: TRACE_HEAP.to_owned(),
            policy: TRACE_POLICY.to_owned(),
            memory: memory.to_owned(),
            one_thread,
            cpus: 1,
            addresses: None,
            json: false,
        };
        Ok(Subject { source: Source::of_text(file, replay::workload(&replay, TRACE_HEAP)?), is_trace: true })
    }

    /// The overrides of a run of it: a trace without a heap gets glibc.
    ///
    /// # Errors
    /// When no heap is called so.
    pub fn overrides(&self, registries: &Registries, given: &Overrides) -> Result<Overrides, Failure> {
        let mut overrides = given.clone();
        if self.is_trace {
            overrides.heap.get_or_insert_with(|| TRACE_HEAP.to_owned());
        }
        if let Some(heap) = &overrides.heap {
            heap_choice(registries, heap)?;
        }
        Ok(overrides)
    }
}

/// The names of a list: at commas, but for those in parentheses.
pub fn names_of(list: &str) -> Vec<String> {
    let (mut names, mut depth, mut name) = (Vec::new(), 0_u32, String::new());
    for letter in list.chars() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                names.push(std::mem::take(&mut name));
                continue;
            }
            _ => {}
        }
        name.push(letter);
    }
    names.push(name);
    names.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_at_commas_outside_of_parentheses() {
        assert_eq!(names_of("glibc"), ["glibc"]);
        assert_eq!(
            names_of("free_list(policy: best, order: size_up), glibc,"),
            ["free_list(policy: best, order: size_up)", "glibc"]
        );
        assert!(names_of(" ,").is_empty());
    }
}
