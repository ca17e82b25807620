//! `framesim record`: a program of this machine to a heap trace.
//!
//! Two halves. The first makes a folder for raw files beside the trace, puts the preload library into it, and becomes a shell
//! that runs the program and then becomes the second half, which turns the raw files into traces and removes the folder. A
//! shell, because it can let Ctrl-C pass to the program and go on after it without unsafe code; becoming it, because then
//! the program's parent is known before it starts. Whatever is killed in between, the folder stays and `--recover` makes
//! traces of it.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use anstream::AutoStream;

use super::args::{Color, Record};
use super::exit::Failure;
use super::run::Talk;
use super::trace_file::TraceFile;
use super::words::joined;
use crate::record::{Converted, Folder, LIBRARY, RawError, RawFile, WHY_NOT, convert};
use crate::report::text::{Bytes, Count, Seconds, counted};
use framesim_models::Nanos;

/// Records a program, or makes traces of what a recording left.
pub fn record(given: &Record, talk: Talk, color: Color) -> Result<(), Failure> {
    match &given.recover {
        Some(raw) => recover(given, raw, talk, color),
        None => start(given, talk, color),
    }
}

/// Runs the program under the library; comes back only when that cannot be done.
fn start(given: &Record, talk: Talk, color: Color) -> Result<(), Failure> {
    if LIBRARY.is_empty() {
        return Err(Failure::Input(format!(
            "this framesim cannot record: {WHY_NOT}; recording needs Linux with glibc on x86-64 or aarch64"
        )));
    }
    let program = &given.program[0];
    if !is_there(program) {
        return Err(Failure::Input(format!("{}: no such program", program.display())));
    }
    let out = given.out.clone().unwrap_or_else(|| default_out(program));
    let raw = Raw::create(&out)?;
    // What replaces this process runs none of its destructors: nothing may be open or buffered here.
    let error = become_shell(given, &raw, &out, talk, color);
    raw.remove()?;
    Err(Failure::Io(format!("the shell that runs the program cannot be started: {error}")))
}

/// Whether a shell would find it.
fn is_there(program: &OsStr) -> bool {
    let path = Path::new(program);
    if path.components().count() > 1 {
        return path.is_file();
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders).any(|folder| folder.join(path).is_file())
}

fn default_out(program: &OsStr) -> PathBuf {
    let mut name = Path::new(program).file_name().unwrap_or(program).to_owned();
    name.push(".trace.zst");
    PathBuf::from(name)
}

/// The folder of raw files and of the library.
struct Raw {
    folder: PathBuf,
    library: PathBuf,
}

/// `NAME.raw` for the trace `NAME`.
fn raw_folder(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".raw");
    PathBuf::from(name)
}

/// A path that `LD_PRELOAD` cannot name is reached by this one, which the second half removes: it is the same process.
fn detour() -> PathBuf {
    env::temp_dir().join(format!("framesim-record-{}", std::process::id()))
}

impl Raw {
    fn create(out: &Path) -> Result<Raw, Failure> {
        let folder = raw_folder(out);
        let io = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::Input(format!(
                "{}: an earlier recording that was not finished; `framesim record --recover {}` makes its trace, or remove it",
                folder.display(),
                joined([folder.display().to_string().as_str()]),
            )),
            _ => Failure::at(&folder, "written", &error),
        };
        fs::create_dir(&folder).map_err(io)?;
        let folder = folder.canonicalize().map_err(|error| Failure::at(&folder, "read", &error))?;
        let mut library = folder.join("libframesim_record.so");
        fs::write(&library, LIBRARY).map_err(|error| Failure::at(&library, "written", &error))?;
        if library.to_string_lossy().contains([' ', ':']) {
            library = detour().join("libframesim_record.so");
            link(&folder, &detour()).map_err(|error| Failure::at(&detour(), "written", &error))?;
        }
        Ok(Raw { folder, library })
    }

    fn remove(&self) -> Result<(), Failure> {
        fs::remove_dir_all(&self.folder).map_err(|error| Failure::at(&self.folder, "removed", &error))
    }
}

#[cfg(unix)]
fn link(to: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(not(unix))]
fn link(_to: &Path, _at: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The shell waits for the program through Ctrl-C, which is the program's; a program is started with no trap set.
#[cfg(unix)]
const SCRIPT: &str = r#"trap : INT QUIT
exe=$1 raw=$2 out=$3 options=$4; shift 4
"$@"
exec "$exe" record $options --recover "$raw" --out "$out" --ended-with $?"#;

/// Replaces this process by the shell; an error is that it cannot be.
#[cfg(unix)]
fn become_shell(given: &Record, raw: &Raw, out: &Path, talk: Talk, color: Color) -> io::Error {
    use std::os::unix::process::CommandExt;
    let exe = match env::current_exe() {
        Ok(exe) => exe,
        Err(error) => return error,
    };
    let mut preload = raw.library.as_os_str().to_owned();
    if let Some(others) = env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        preload.push(":");
        preload.push(others);
    }
    let set = |name: &str, value: &OsStr| {
        let mut set = OsString::from(name);
        set.push("=");
        set.push(value);
        set
    };
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", SCRIPT, "framesim-record"]).args([exe.as_os_str(), raw.folder.as_os_str(), out.as_os_str()]);
    // `env` sets variables for the program alone, and finds it as the shell would.
    shell.arg(options(given, talk, color)).args(["env", "-u", "FRAMESIM_RECORD_CHILD_OF"]);
    shell.arg(set("LD_PRELOAD", &preload)).arg(set("FRAMESIM_RECORD", raw.folder.as_os_str()));
    if !given.children {
        shell.arg(set("FRAMESIM_RECORD_CHILD_OF", OsStr::new(&std::process::id().to_string())));
    }
    shell.args(&given.program).exec()
}

#[cfg(not(unix))]
fn become_shell(_: &Record, _: &Raw, _: &Path, _: Talk, _: Color) -> io::Error {
    io::ErrorKind::Unsupported.into()
}

/// For the second half: what was asked of the first.
#[cfg(unix)]
fn options(given: &Record, talk: Talk, color: Color) -> String {
    let color = match color {
        Color::Auto => "auto",
        Color::Always => "always",
        Color::Never => "never",
    };
    let talk = match talk {
        Talk { quiet: true, .. } => " --quiet",
        Talk { verbose: true, .. } => " --verbose",
        _ => "",
    };
    let children = if given.children { " --children" } else { "" };
    format!("--color={color}{talk}{children}")
}

/// Makes the traces of a folder of raw files, or of one of them.
fn recover(given: &Record, raw: &Path, talk: Talk, color: Color) -> Result<(), Failure> {
    let out = given.out.clone().unwrap_or_else(|| out_of(raw));
    let is_folder = raw.is_dir();
    let folder = if is_folder { raw } else { raw.parent().unwrap_or(Path::new("")) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let files = Folder::open(folder).map_err(|error| failure(&error))?;
    let wanted = if is_folder { wanted(&files, given.children) } else { vec![index_of(&files, raw)?] };
    if wanted.is_empty() {
        return nothing(given, raw, &files);
    }
    let mut made = Vec::new();
    for (number, index) in wanted.into_iter().enumerate() {
        made.push(make(&files, index, &numbered(&out, number + 1))?);
    }
    if given.ended_with.is_some() {
        finish(raw)?;
    }
    if !talk.quiet {
        // The program's output may be on standard output.
        let text = report(&files, &made, given.ended_with);
        let _ = write!(AutoStream::new(io::stderr(), color.into()), "{text}");
    }
    given.ended_with.filter(|code| *code != 0).map_or(Ok(()), |code| Err(Failure::Program(code)))
}

/// `NAME` for the folder `NAME.raw` of the trace `NAME`.
fn out_of(raw: &Path) -> PathBuf {
    match (raw.extension(), raw.is_dir()) {
        (Some(extension), true) if extension == "raw" => raw.with_extension(""),
        _ => raw.with_extension("trace.zst"),
    }
}

/// The main one first, then with `--children` all others that have records.
fn wanted(files: &Folder, children: bool) -> Vec<usize> {
    let Some(main) = files.main() else { return Vec::new() };
    let others = (0..files.files().len()).filter(|index| *index != main && files.files()[*index].records > 0);
    std::iter::once(main).chain(others.filter(|_| children)).collect()
}

fn index_of(files: &Folder, raw: &Path) -> Result<usize, Failure> {
    let same = |file: &RawFile| file.path.file_name() == raw.file_name();
    match files.files().iter().position(same) {
        Some(index) => Ok(index),
        None => Err(failure(
            &RawFile::open(raw).map_or_else(|error| error, |file| RawError::NoRecording { path: file.path }),
        )),
    }
}

fn nothing(given: &Record, raw: &Path, files: &Folder) -> Result<(), Failure> {
    if given.ended_with.is_none() {
        return Err(Failure::Input(format!("{}: no raw recording is in it", raw.display())));
    }
    finish(raw)?;
    let what = match (given.ended_with, files.seen()) {
        (Some(126 | 127), 0) => return Err(Failure::Program(given.ended_with.unwrap_or(1))),
        (_, 0) => "the program made no call that could be recorded: it is static, set-uid, or has no heap of its own",
        _ => "only processes that the program started made calls: `--children` records them",
    };
    Err(Failure::Input(what.to_owned()))
}

fn finish(raw: &Path) -> Result<(), Failure> {
    // There only when the folder's name cannot be in LD_PRELOAD.
    let _ = fs::remove_file(detour());
    fs::remove_dir_all(raw).map_err(|error| Failure::at(raw, "removed", &error))
}

/// `ls.trace.zst`, `ls.2.trace.zst`, ...
fn numbered(out: &Path, number: usize) -> PathBuf {
    if number == 1 {
        return out.to_owned();
    }
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let ending = [".trace.zst", ".trace", ".zst"].into_iter().find(|ending| name.ends_with(ending)).unwrap_or("");
    let stem = &name[..name.len() - ending.len()];
    out.with_file_name(format!("{stem}.{number}{ending}"))
}

struct Made<'a> {
    file: &'a RawFile,
    out: PathBuf,
    converted: Converted,
}

fn make<'a>(files: &'a Folder, index: usize, out: &Path) -> Result<Made<'a>, Failure> {
    let lineage = files.lineage(index).map_err(|error| failure(&error))?;
    let file = TraceFile::create(out)?;
    let (file, converted) = convert(&lineage, file).map_err(|error| failure(&error))?;
    file.finish(out)?;
    Ok(Made { file: &files.files()[index], out: out.to_owned(), converted })
}

fn failure(error: &RawError) -> Failure {
    use framesim_workloads::trace::write::WriteError;
    match error {
        RawError::Io { .. } | RawError::Write(WriteError::Io(_)) => Failure::Io(error.to_string()),
        RawError::Write(WriteError::TooManyBlocks) => Failure::Limit(error.to_string()),
        _ => Failure::Input(error.to_string()),
    }
}

/// What was recorded, for a person.
fn report(files: &Folder, made: &[Made<'_>], ended_with: Option<u8>) -> String {
    let mut text = String::new();
    for made in made {
        one(&mut text, made);
    }
    if let Some(code @ 129..) = ended_with {
        writeln!(text, "the program was ended by signal {}; the trace has what it did before", code - 128)
            .expect("a string grows");
    }
    if files.seen() > 0 {
        let processes = counted(files.seen(), "process that it started is", "processes that it started are");
        writeln!(text, "{processes} not recorded: `--children` records all").expect("a string grows");
    }
    text
}

fn one(text: &mut String, made: &Made<'_>) {
    let Converted { totals, unfinished, lost } = made.converted;
    let command = shortened(&made.file.command_line());
    writeln!(text, "{}: recorded from {command}", made.out.display()).expect("a string grows");
    writeln!(
        text,
        "  {} of {} in {}, peak {}, {} live at the end",
        counted(totals.calls, "call", "calls"),
        counted(totals.threads, "thread", "threads"),
        Seconds(Nanos(totals.span_ns)),
        Bytes(totals.peak_bytes),
        counted(totals.live_at_end, "block", "blocks"),
    )
    .expect("a string grows");
    let mut say = |count: u64, what: &str| {
        if count > 0 {
            writeln!(text, "  {} {what}", Count(count)).expect("a string grows");
        }
    };
    say(totals.refused, "refused, left out");
    say(totals.unknown, "of blocks made before the recording, left out");
    say(totals.inferred, "frees that were not seen, put in");
    say(unfinished, "not finished when the process ended, left out");
    say(lost, "lost");
    if let Some(stop) = made.file.stop {
        writeln!(text, "  the recording stopped before the program: {stop}").expect("a string grows");
    }
}

fn shortened(command: &str) -> String {
    const SHOWN: usize = 50;
    let mut short: String =
        command.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(SHOWN).collect();
    if command.chars().count() > SHOWN {
        short.push_str("..");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_of_children_are_numbered_before_their_endings() {
        let names = ["a/ls.trace.zst", "ls.trace", "x.zst", "plain"].map(|name| numbered(Path::new(name), 2));
        assert_eq!(
            names.map(|name| name.display().to_string()),
            ["a/ls.2.trace.zst", "ls.2.trace", "x.2.zst", "plain.2"]
        );
        assert_eq!(numbered(Path::new("a/ls.trace.zst"), 1), Path::new("a/ls.trace.zst"));
    }

    #[test]
    fn a_trace_is_named_after_its_program() {
        assert_eq!(default_out(OsStr::new("/usr/bin/sort")), Path::new("sort.trace.zst"));
        assert_eq!(raw_folder(Path::new("sort.trace.zst")), Path::new("sort.trace.zst.raw"));
    }
}
