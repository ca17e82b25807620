//! Models by name, where a policy or a heap may stand: `best_fit`, `glibc`, `buddy+glibc`.

use std::path::Path;

use framesim_workloads::library;

use super::exit::Failure;
use super::input::{heap_choice, policy_choice};
use crate::Registries;
use crate::shrink::Under;

/// The models that these names, joined by `+`, mean.
pub fn under(registries: &Registries, names: &str) -> Result<Under, Failure> {
    let mut under = Under::default();
    for name in names.split('+') {
        let bare = name.split('(').next().unwrap_or(name).trim();
        if registries.heaps.iter().any(|heap| heap.name == bare) {
            under.heap = Some(heap_choice(registries, name)?);
        } else {
            // What is neither is most likely a policy, misspelt: its error names what there is.
            under.policy = Some(policy_choice(registries, name)?);
        }
    }
    Ok(under)
}

/// Whether a file is a workload; any other is a trace.
pub fn is_workload(file: &Path) -> bool {
    let given = file.display().to_string();
    file.extension().is_some_and(|ending| ending == "ron") || (!file.exists() && library::find(&given).is_some())
}
