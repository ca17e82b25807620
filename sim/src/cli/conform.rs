//! `framesim conform`: models against recorded cases, a line for each.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::exit::Failure;
use crate::Registries;
use crate::conform::{self, BadCase, Verdict};
use crate::report::text::Count;

/// `conform frames`: every policy that a case names.
pub fn frames(registries: &Registries, files: &[PathBuf], screen: &mut impl Write) -> Result<(), Failure> {
    hold("frames", files, screen, |text| conform::frames::hold(text, &registries.frames))
}

/// `conform malloc`.
pub fn malloc(files: &[PathBuf], screen: &mut impl Write) -> Result<(), Failure> {
    hold("malloc", files, screen, |text| Ok(vec![conform::malloc::hold(text)?]))
}

/// Plays every file and counts what is exact; exact is only what is exact everywhere.
fn hold(
    kind: &str,
    files: &[PathBuf],
    screen: &mut impl Write,
    play: impl Fn(&str) -> Result<Vec<Verdict>, BadCase>,
) -> Result<(), Failure> {
    let (mut exact, mut all) = (0, 0);
    for file in files {
        let verdicts = play(&read(file)?).map_err(|bad| Failure::Input(format!("{}: {bad}", file.display())))?;
        for verdict in verdicts {
            writeln!(screen, "{verdict}")?;
            all += 1;
            exact += u64::from(verdict.is_exact());
        }
    }
    writeln!(screen, "conform {kind}: {} of {} exact", Count(exact), Count(all))?;
    if exact == all { Ok(()) } else { Err(Failure::Mismatch) }
}

fn read(file: &Path) -> Result<String, Failure> {
    let bytes = fs::read(file).map_err(|error| Failure::at(file, "read", &error))?;
    String::from_utf8(bytes).map_err(|_| Failure::Input(format!("{}: a case is text in UTF-8", file.display())))
}
