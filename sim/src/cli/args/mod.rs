//! The commands and their options, as clap reads them.

mod conform;
mod find;
mod heap;
mod run;
mod sweep;

use std::path::PathBuf;
use std::sync::OnceLock;

use anstream::ColorChoice;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use conform::{Cases, Conform, ConformKind, Fidelity, HeapCase};
pub use find::{Diff, Search, Shrink};
pub use heap::{Compare, HeapMap, Import, Record, Tool};
pub use run::{MapSize, Replay, Run};
pub use sweep::{Merge, Plot, Sweep, Table};

/// A deterministic OS memory simulator: a workload and a seed give an exact frame map.
#[derive(Debug, Parser)]
#[command(name = "framesim", bin_name = "framesim", version, long_version = long_version(), after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// When to colour: what is said is the same without.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,

    /// Print results only: no progress, no hints.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more: on standard error, what is being done.
    #[arg(short, long, global = true)]
    pub verbose: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Version, and what decides whether two builds give the same results.
fn long_version() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        format!(
            "{}\nresults version {} (builds of equal results versions give equal digests)\ntarget {}, {} build",
            env!("CARGO_PKG_VERSION"),
            crate::simulation::RESULTS_VERSION,
            env!("FRAMESIM_TARGET"),
            env!("FRAMESIM_PROFILE"),
        )
    })
}

const EXAMPLES: &str = "\
Examples:
  framesim run workloads/textbook/sixteen_frames.ron
  framesim run workloads/web.ron --policy best_fit --seed 7 --map
  framesim replay program.trace.zst --heap glibc
  framesim compare program.trace.zst --heap all
  framesim explain buddy

Exit codes: 0 well; 2 bad input; 3 a bug of framesim; 4 a digest or case differs; 5 a file or disk;
6 over a limit.";

/// One command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Name what can be chosen.
    List(List),
    /// Say what a policy or a heap does, with an example; or what a law or a field of a workload is.
    Explain(Explain),
    /// Run a workload.
    Run(Run),
    /// Run a recorded heap trace through a heap, without writing a workload.
    Replay(Replay),
    /// Record the heap calls of a program on this machine.
    #[command(
        override_usage = "framesim record [OPTIONS] [--] PROGRAM [ARGS]...\n       framesim record --recover RAW [--out FILE]"
    )]
    Record(Record),
    /// Turn a recording of heaptrack or mtrace into a heap trace.
    Import(Import),
    /// Run the same requests under several heaps or frame policies, side by side.
    Compare(Compare),
    /// Draw the heap of one process: its blocks, caches and holes, at a moment.
    HeapMap(HeapMap),
    /// Run an experiment: a workload over a grid of settings, policies, heaps and seeds.
    Sweep(Sweep),
    /// Join the shards of a sweep.
    Merge(Merge),
    /// Show the means of a sweep, with intervals.
    Table(Table),
    /// Draw them, as SVG and Vega-Lite.
    Plot(Plot),
    /// Find the first event after which two runs have other frame maps.
    Diff(Diff),
    /// Look for the worst case of a policy.
    Search(Search),
    /// Cut a script or a trace down to what still shows something.
    Shrink(Shrink),
    /// Look for mistakes in workloads without running them.
    Check(Check),
    /// Hold a fresh run against a digest log.
    Verify(Verify),
    /// Hold models against recorded cases.
    Conform(Conform),
    /// Say what each heap keeps, simplifies and leaves out, and how it measures on recordings, as a page of Markdown.
    Fidelity(Fidelity),
    /// Print a script that completes commands in a shell.
    Completions(Completions),
    /// Print the manual page.
    Man,
}

/// What a run may differ in from its file.
#[derive(Args, Clone, Debug, Default)]
pub struct Overrides {
    /// Seed of all random streams, instead of the file's.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Set a field of the workload: `--set machine.memory=512MiB`. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = assignment)]
    pub set: Vec<Assignment>,

    /// Frame policy instead of the file's, as in RON: `best_fit`, `buddy(max_order: 9)`.
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,

    /// Heap of every program instead of the file's, as in RON: `glibc`, `free_list(policy: best)`.
    #[arg(long, value_name = "NAME")]
    pub heap: Option<String>,

    /// Stop at this simulated time: `10s`, `250ms`.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// `--set PATH=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Names joined by dots: `machine.memory`, `processes.web.does.gap`.
    pub path: String,
    /// The value as in RON; a text may go without its quotes.
    pub value: String,
}

fn assignment(text: &str) -> Result<Assignment, String> {
    match text.split_once('=') {
        Some((path, value)) if !path.trim().is_empty() && !value.trim().is_empty() => {
            Ok(Assignment { path: path.trim().to_owned(), value: value.trim().to_owned() })
        }
        _ => Err("write it as path=value, such as machine.memory=512MiB".to_owned()),
    }
}

/// `framesim check`.
#[derive(Args, Debug)]
pub struct Check {
    /// Workloads.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

/// `framesim list`.
#[derive(Args, Debug)]
pub struct List {
    /// Of what.
    pub what: Listed,
}

/// What `framesim list` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Listed {
    /// Frame policies: which page frames back a request.
    Policies,
    /// Heaps: which address a malloc gets.
    Heaps,
    /// Laws of sizes, gaps and life times.
    Laws,
    /// Fields of a workload file, part by part.
    Fields,
    /// The workloads that come with framesim.
    Workloads,
    /// Experiments that come with framesim.
    Experiments,
    /// What an experiment can measure.
    Metrics,
}

/// `framesim explain`.
#[derive(Args, Debug)]
pub struct Explain {
    /// A policy, a heap, a law, or a part or field of a workload file.
    pub name: String,
}

/// `framesim verify`.
#[derive(Args, Debug)]
pub struct Verify {
    /// A log that `framesim run --digest-log` wrote.
    pub file: PathBuf,
}

/// `framesim completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// `--color`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl From<Color> for ColorChoice {
    fn from(color: Color) -> ColorChoice {
        match color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        }
    }
}
