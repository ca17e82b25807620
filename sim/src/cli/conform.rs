//! `framesim conform`: models against recorded cases, a line for each.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use framesim_models::Coins;
use framesim_models::heap::HeapSetting;
use framesim_workloads::trace::open_text;

use super::args::HeapCase;
use super::exit::Failure;
use super::input::heap_choice;
use crate::Registries;
use crate::conform::heap::{self, ReplaySetting};
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

/// `conform heap`: one heap against one recording.
pub fn heap(registries: &Registries, given: &HeapCase, screen: &mut impl Write) -> Result<(), Failure> {
    let choice = heap_choice(registries, &given.heap)?;
    let coins = Coins::from_key([0; 32]);
    let built = registries.heaps.build(choice.name(), &choice, HeapSetting { coins });
    let built = built.expect("the name was looked up above");
    let mut heap = built.map_err(|options| Failure::Input(format!("--heap {}: {options}", given.heap)))?;
    let setting = match (&given.setting, &given.maps) {
        (Some(file), _) => ReplaySetting::read(&unpacked(file)?).map_err(|bad| bad_case(file, &bad))?,
        (None, Some(_)) => ReplaySetting::threads_with(choice.name()),
        (None, None) => ReplaySetting::one_thread_with(choice.name()),
    };
    let name = given.trace.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let (trace, places) = (unpacked(&given.trace)?, unpacked(&given.addresses)?);
    let series = given.series.as_deref().map(unpacked).transpose()?;
    let maps = given.maps.as_deref().map(unpacked).transpose()?;
    let case = heap::HeapCase {
        name: name.split('.').next().unwrap_or(&name),
        trace: &trace,
        places: &places,
        series: series.as_deref(),
        maps: maps.as_deref(),
    };
    let verdict =
        heap::hold(&case, choice.name(), heap.as_mut(), &setting).map_err(|bad| bad_case(&given.trace, &bad))?;
    writeln!(screen, "{verdict}\nconform heap: {} of 1 exact", u64::from(verdict.is_exact()))?;
    if verdict.is_exact() { Ok(()) } else { Err(Failure::Mismatch) }
}

fn bad_case(file: &Path, bad: &BadCase) -> Failure {
    Failure::Input(format!("{}: {bad}", file.display()))
}

/// Longer texts are no recordings.
const TEXT_BYTES_MOST: u64 = 4 << 30;

/// All of a text, plain, zstd or gzip.
pub(super) fn unpacked(file: &Path) -> Result<String, Failure> {
    let unreadable = |error: &io::Error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::Other => {
            Failure::Input(format!("{}: {error}", file.display()))
        }
        _ => Failure::at(file, "read", error),
    };
    let mut text = String::new();
    let mut reader = open_text(file).map_err(|error| unreadable(&error))?.take(TEXT_BYTES_MOST);
    reader.read_to_string(&mut text).map_err(|error| unreadable(&error))?;
    if reader.limit() == 0 {
        return Err(Failure::Limit(format!("{}: a recording has less than 4 GiB", file.display())));
    }
    Ok(text)
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
