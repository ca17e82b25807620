//! `framesim check`: everything that is wrong with workloads, without running them.

use std::io::Write;
use std::path::PathBuf;

use super::args::Overrides;
use super::exit::Failure;
use super::input::Source;
use crate::Registries;

/// Checks all `files`, whatever is wrong with the first ones.
pub fn check(registries: &Registries, files: &[PathBuf], screen: &mut impl Write) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for file in files {
        match Source::open(file).and_then(|source| source.load(registries, &Overrides::default())) {
            Ok(_) => writeln!(screen, "{}: sound", file.display())?,
            Err(failure) => wrong.push(failure),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Several(wrong)) }
}
