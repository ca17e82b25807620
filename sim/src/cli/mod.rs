//! The command `framesim`: from arguments to an exit code.
//!
//! One file a command. A command reads its input, asks the library, and writes text to a [`Screen`] or a
//! [`FileWriter`](output::FileWriter); it ends with `Ok` or a [`Failure`], which alone decides the exit code.
//!
//! **Invariant.** Results go to standard output, everything else to standard error.

pub mod args;
pub mod exit;
pub mod output;

mod check;
mod checkpoint;
mod compare;
mod conform;
mod diff;
mod explain;
mod fidelity;
mod generate;
pub mod guard;
mod heap_map;
mod import;
pub mod input;
mod list;
pub mod progress;
mod record;
mod replay;
mod run;
mod search;
mod shrink;
mod subject;
pub mod sweep;
mod table;
mod trace_file;
mod under;
mod verify;
mod watch;
mod why;
pub(crate) mod words;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use clap::Parser;

use crate::Registries;
use args::{Cli, Command, ConformKind};
use exit::Failure;
use output::Screen;
use run::Talk;

/// Runs the command that `args` say (the program's name first), with these models to choose from.
///
/// ```no_run
/// use framesim::{Registries, cli};
/// fn main() -> std::process::ExitCode {
///     let mut models = Registries::default();
///     // models.frames.add(framesim_models::frames::PolicyRegistry::custom::<MyPolicy>());
///     cli::main(&models, std::env::args_os())
/// }
/// ```
#[must_use]
pub fn main(registries: &Registries, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let (colour, ended) = match Cli::try_parse_from(&args) {
        Ok(cli) => (cli.color.into(), carry_out(registries, &cli)),
        Err(usage) => (colour_in(&args), answer(&usage, colour_in(&args))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure, colour);
            ExitCode::from(failure.code())
        }
    }
}

fn carry_out(registries: &Registries, cli: &Cli) -> Result<(), Failure> {
    let mut screen = Screen::stdout(cli.color.into());
    let talk = Talk { quiet: cli.quiet, verbose: cli.verbose };
    let ended = match &cli.command {
        Command::Run(given) => run::run(registries, given, talk, &mut screen),
        Command::List(list) => list::list(registries, list.what, &mut screen),
        Command::Explain(explain) => explain::explain(registries, &explain.name, &mut screen),
        Command::Replay(given) => replay::replay(registries, given, talk, &mut screen),
        Command::Record(given) => record::record(given, talk, cli.color),
        Command::Import(given) => import::import(given, &mut screen),
        Command::Compare(given) => compare::compare(registries, given, talk, &mut screen),
        Command::HeapMap(given) => heap_map::heap_map(registries, given, &mut screen),
        Command::Fidelity(given) => fidelity::fidelity(registries, given, &mut screen),
        Command::Diff(given) => diff::diff(registries, given, &mut screen),
        Command::Shrink(given) => shrink::shrink(registries, given, talk, &mut screen),
        Command::Search(given) => search::search(registries, given, talk, &mut screen),
        Command::Verify(given) => verify::verify(registries, &given.file, talk, &mut screen),
        Command::Check(check) => check::check(registries, &check.files, &mut screen),
        Command::Conform(conform) => match &conform.kind {
            ConformKind::Frames(cases) => conform::frames(registries, &cases.files, &mut screen),
            ConformKind::Heap(case) => conform::heap(registries, case, &mut screen),
            ConformKind::Malloc(cases) => conform::malloc(&cases.files, &mut screen),
        },
        Command::Sweep(given) => sweep::sweep(registries, given, talk, &mut screen),
        Command::Merge(given) => sweep::merge(registries, given, talk, &mut screen),
        Command::Table(given) => table::table(given, &mut screen),
        Command::Plot(given) => table::plot(given, &mut screen),
        Command::Completions(completions) => generate::completions(completions.shell, &mut screen),
        Command::Man => generate::man(&mut screen),
    };
    // What was said before a failure is still worth reading; a failure to say it counts only where there is no other.
    let written = screen.finish();
    ended.and(written)
}

/// Help and version go to standard output, a mistake to standard error.
fn answer(usage: &clap::Error, colour: ColorChoice) -> Result<(), Failure> {
    if usage.use_stderr() {
        // Nobody is left to tell when even this cannot be written.
        let _ = write!(AutoStream::new(io::stderr(), colour), "{}", usage.render().ansi());
        return Err(Failure::Usage);
    }
    let mut screen = Screen::stdout(colour);
    write!(screen, "{}", usage.render().ansi())?;
    screen.finish()
}

/// `--color` when the arguments as a whole could not be read.
fn colour_in(args: &[OsString]) -> ColorChoice {
    let words: Vec<&str> = args.iter().filter_map(|word| word.to_str()).collect();
    let given = |when: &str| {
        words.contains(&format!("--color={when}").as_str()) || words.windows(2).any(|two| two == ["--color", when])
    };
    match (given("always"), given("never")) {
        (true, _) => ColorChoice::Always,
        (_, true) => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

fn complain(failure: &Failure, colour: ColorChoice) {
    if let Failure::Several(failures) = failure {
        return failures.iter().for_each(|failure| complain(failure, colour));
    }
    let text = failure.to_string();
    if text.is_empty() {
        return;
    }
    const RED: Style = AnsiColor::Red.on_default().bold();
    // Reports of several mistakes bring their own headings.
    let heading = if strip_str(&text).next().is_some_and(|start| start.starts_with("error")) {
        String::new()
    } else {
        format!("{RED}error{RED:#}: ")
    };
    // Nobody is left to tell when even this cannot be written.
    let _ = writeln!(AutoStream::new(io::stderr(), colour), "{heading}{text}");
}
