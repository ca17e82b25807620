//! The commands and their options, as clap reads them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anstream::ColorChoice;
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::search::Axis;
use crate::experiment::Shard;
use crate::search::Measure;

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
    /// Say what a policy or a heap does, with an example.
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

/// `framesim run`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  framesim run workloads/web.ron --map                      summary and frame map
  framesim run workloads/web.ron --set machine.memory=64MiB
  framesim run workloads/web.ron --json | jq .summary
  framesim run workloads/textbook/sixteen_frames.ron --why 6
  framesim run mine.ron --digest-log mine.digests           pin a result, see `framesim verify`")]
pub struct Run {
    /// The workload.
    pub file: PathBuf,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub overrides: Overrides,

    /// Draw the frame map at the end; `--map=full` gives every frame its letter.
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = "screen")]
    pub map: Option<MapSize>,

    /// Say all of each heap: levels, fragmentation, held to live, system calls, classes of sizes.
    #[arg(long)]
    pub heaps: bool,

    /// Count the cache lines in which two threads of a process have blocks (false sharing).
    #[arg(long)]
    pub shared_lines: bool,

    /// Show every step of scripts, however many there are.
    #[arg(long)]
    pub steps: bool,

    /// Explain step N of a scripted run: what the policy saw, and why it chose what it chose.
    #[arg(long, value_name = "N")]
    pub why: Option<u64>,

    /// Write one JSON line per event: time, process, call, size, address, frames.
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,

    /// Print one JSON document instead of text.
    #[arg(long, conflicts_with_all = ["map", "heaps", "steps", "why"])]
    pub json: bool,

    /// Write the digest after every so many events, for `framesim verify`.
    #[arg(long, value_name = "FILE")]
    pub digest_log: Option<PathBuf>,

    /// Events between two lines of the digest log.
    #[arg(long, value_name = "N", requires = "digest_log", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub digest_every: u64,

    /// Check every invariant after every event: slow, and never changes a result.
    #[arg(long)]
    pub check: bool,

    /// Write a checkpoint after every so many events: NAME.EVENT.checkpoint, for `--resume-from`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: Option<u64>,

    /// NAME of the checkpoints, with its folder; the workload's own name where it is not given.
    #[arg(long, value_name = "NAME", requires = "checkpoint_every")]
    pub checkpoint_name: Option<PathBuf>,

    /// Go on from a checkpoint of the same workload with the same options.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["shared_lines", "steps", "why", "events", "digest_log"])]
    pub resume_from: Option<PathBuf>,
}

impl Run {
    /// A run of `file` with nothing but these changes.
    #[must_use]
    pub fn of(file: &Path, overrides: Overrides, json: bool) -> Run {
        Run {
            file: file.to_owned(),
            overrides,
            map: None,
            heaps: false,
            shared_lines: false,
            steps: false,
            why: None,
            events: None,
            json,
            digest_log: None,
            digest_every: 1000,
            check: false,
            checkpoint_every: None,
            checkpoint_name: None,
            resume_from: None,
        }
    }
}

/// How much of the frame map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MapSize {
    /// At most sixteen lines: a letter stands for as many frames as that takes.
    Screen,
    /// A letter a frame; lines alike are folded.
    Full,
}

/// `framesim replay`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  framesim replay program.trace.zst --heap glibc
  framesim replay lab.rep --heap 'free_list(policy: best)' --addresses lab.addr")]
pub struct Replay {
    /// A recorded trace (plain or zstd), or a `.rep` file.
    pub trace: PathBuf,

    /// The heap that serves the calls, as in RON.
    #[arg(long, value_name = "NAME", default_value = "glibc")]
    pub heap: String,

    /// The frame policy below it, as in RON.
    #[arg(long, value_name = "NAME", default_value = "buddy")]
    pub policy: String,

    /// Memory of the machine: `64MiB`.
    #[arg(long, value_name = "SIZE", default_value = "4GiB")]
    pub memory: String,

    /// Processors of the machine, on which the trace's threads take turns.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub cpus: u32,

    /// All calls from one thread, whatever the trace says.
    #[arg(long)]
    pub one_thread: bool,

    /// Write `ID OFFSET USABLE` for each call that gives a block; the offset counts from the first program break.
    #[arg(long, value_name = "FILE")]
    pub addresses: Option<PathBuf>,

    /// Print one JSON document instead of text.
    #[arg(long)]
    pub json: bool,
}

/// `framesim record`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  framesim record -- python3 script.py
  framesim record --out build.trace.zst --children -- make -j4
  framesim record --recover python3.trace.zst.raw       after a kill -9 or a power cut
  framesim replay python3.trace.zst --heap glibc

The exit code is the program's, or 128 and the signal that ended it.")]
pub struct Record {
    /// The trace; packed when its name ends in .zst. Default: PROGRAM.trace.zst.
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Record the processes that the program starts as well, each in a trace of its own: NAME.2.trace.zst and so on.
    #[arg(long)]
    pub children: bool,

    /// Make the traces of a recording that was not finished from its folder of raw files, or from one of them.
    #[arg(long, value_name = "RAW", conflicts_with = "program")]
    pub recover: Option<PathBuf>,

    /// How the program ended: the second half of a recording is told by the first.
    #[arg(long, hide = true, requires = "recover")]
    pub ended_with: Option<u8>,

    /// The program and its arguments.
    #[arg(required_unless_present = "recover", trailing_var_arg = true, allow_hyphen_values = true)]
    pub program: Vec<OsString>,
}

/// `framesim import`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  framesim import heaptrack.ls.4711.zst --out ls.trace.zst
  zcat heaptrack.ls.4711.gz | framesim import - --out ls.trace.zst
  framesim import mtrace.out --from mtrace --out program.trace")]
pub struct Import {
    /// The recording, plain or zstd; `-` is standard input.
    pub file: PathBuf,

    /// The tool that wrote it; without this its first line says so.
    #[arg(long, value_name = "TOOL")]
    pub from: Option<Tool>,

    /// The trace; packed when its name ends in .zst.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Tools whose recordings can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tool {
    /// heaptrack 1.4, with --raw or without.
    Heaptrack,
    /// mtrace(3) of glibc.
    Mtrace,
}

/// `framesim compare`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  framesim compare program.trace.zst --heap glibc,dlmalloc,free_list
  framesim compare program.trace.zst --heap all --series held.csv
  framesim compare workloads/web.ron --policy first_fit,best_fit,buddy --seeds 20 --until 1s
  framesim compare workloads/web.ron --heap glibc,slab --policy buddy,best_fit --until 1s")]
pub struct Compare {
    /// A workload, or a recorded trace.
    pub file: PathBuf,

    /// The heaps, as in RON, with commas between them; `all` for every heap there is.
    #[arg(long, value_name = "NAMES")]
    pub heap: Option<String>,

    /// The frame policies, as in RON; `all` for every one. With --heap, every heap runs on each of them.
    #[arg(long, value_name = "NAMES")]
    pub policy: Option<String>,

    /// Seeds to run each side with, one after the other from the first.
    #[arg(long, value_name = "N", default_value = "1", value_parser = super::compare::seeds)]
    pub seeds: u32,

    /// The first seed, instead of the file's.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Set a field of the workload: `--set machine.memory=512MiB`. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = assignment)]
    pub set: Vec<Assignment>,

    /// Stop each run at this simulated time: `10s`, `250ms`.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,

    /// Memory of the machine, for a trace: `64MiB`.
    #[arg(long, value_name = "SIZE", default_value = "4GiB")]
    pub memory: String,

    /// All calls of a trace from one thread, whatever it says.
    #[arg(long)]
    pub one_thread: bool,

    /// Write live, held and resident bytes over calls and time as CSV, up to a thousand rows a side.
    #[arg(long, value_name = "FILE")]
    pub series: Option<PathBuf>,

    /// Runs at the same time; as many as there are processors where it is not given. No result depends on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,

    /// Print one JSON document instead of text.
    #[arg(long)]
    pub json: bool,
}

/// `framesim heap-map`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  framesim heap-map program.trace.zst --heap glibc            when most was held
  framesim heap-map program.trace.zst --heap slab --calls 1000
  framesim heap-map workloads/web.ron --process web/3 --at 150ms --full")]
pub struct HeapMap {
    /// A workload, or a recorded trace.
    pub file: PathBuf,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub overrides: Overrides,

    /// Whose heap: a group, or one of its processes as in `web/3`. Without, the process that holds most.
    #[arg(long, value_name = "NAME")]
    pub process: Option<String>,

    /// At this simulated time, instead of when the process held most.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["calls", "until"])]
    pub at: Option<String>,

    /// After so many calls of the heap.
    #[arg(long, value_name = "N")]
    pub calls: Option<u64>,

    /// A letter for every 16 bytes; lines alike are folded.
    #[arg(long)]
    pub full: bool,

    /// Memory of the machine, for a trace: `64MiB`.
    #[arg(long, value_name = "SIZE", default_value = "4GiB")]
    pub memory: String,

    /// All calls of a trace from one thread, whatever it says.
    #[arg(long)]
    pub one_thread: bool,

    /// Print one JSON document, with every piece of the heap, instead of text.
    #[arg(long)]
    pub json: bool,
}

/// `framesim sweep`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  framesim sweep mine.ron                        what it would run, and how much work that is
  framesim sweep mine.ron --out results          all of it; results/cells.csv has the numbers
  framesim sweep mine.ron --out results --resume   goes on where it was interrupted
  framesim sweep mine.ron --out part3 --shard 3/8  an eighth of it, for `framesim merge`")]
pub struct Sweep {
    /// The experiment.
    pub file: PathBuf,

    /// The folder of its results; without it, only say how much work it is.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Runs at a time; as many as there are processors unless given.
    #[arg(long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroU16>,

    /// Run the K-th part of N, K from 1.
    #[arg(long, value_name = "K/N", value_parser = shard)]
    pub shard: Option<Shard>,

    /// Go on with a sweep that is in the folder, or start one.
    #[arg(long)]
    pub resume: bool,
}

fn shard(text: &str) -> Result<Shard, String> {
    let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
    match parts {
        Some((number, of)) if 1 <= number && number <= of => Ok(Shard { number, of }),
        _ => Err("write it as K/N with K from 1 to N, such as 3/8".to_owned()),
    }
}

/// `framesim merge`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  framesim merge part* --out results
  sbatch --array=$(framesim merge part* --missing) ...")]
pub struct Merge {
    /// Folders of shards.
    #[arg(required = true, value_name = "DIR")]
    pub folders: Vec<PathBuf>,

    /// The folder of the whole results.
    #[arg(long, value_name = "DIR", required_unless_present = "missing")]
    pub out: Option<PathBuf>,

    /// Print the shards that are missing or not done, as array jobs take them: `3,17`.
    #[arg(long, conflicts_with = "out")]
    pub missing: bool,
}

/// `framesim table`.
#[derive(Args, Debug)]
pub struct Table {
    /// The folder of a sweep, or its `cells.csv`.
    pub file: PathBuf,

    /// Only this metric. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub metric: Vec<String>,

    /// How confident the intervals are, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 95, value_parser = clap::value_parser!(u8).range(1..=99))]
    pub confidence: u8,
}

/// `framesim plot`.
#[derive(Args, Debug)]
pub struct Plot {
    /// The folder of a sweep, or its `cells.csv`.
    pub file: PathBuf,

    /// Only this metric. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub metric: Vec<String>,

    /// Start of the files' names; `.svg` and `.vl.json` are added. `plot` beside the cells unless given.
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,

    /// How confident the intervals are, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 95, value_parser = clap::value_parser!(u8).range(1..=99))]
    pub confidence: u8,
}

impl Table {
    /// As a part of one.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        share(self.confidence)
    }
}

impl Plot {
    /// As a part of one.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        share(self.confidence)
    }
}

#[expect(clippy::float_arithmetic, reason = "an option of statistics")]
fn share(percent: u8) -> f64 {
    f64::from(percent) / 100.0
}

/// `framesim diff`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  framesim diff mine.ron yours.ron
  framesim diff workloads/web.ron --policy first_fit --b-policy best_fit
  framesim diff workloads/web.ron --seed 1 --b-seed 2
  framesim diff old.digests new.digests             the runs that two digest logs are of")]
pub struct Diff {
    /// A workload, or a digest log for the run that wrote it.
    pub first: PathBuf,

    /// Another one; the same when it is left out.
    pub second: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub overrides: Overrides,

    /// Seed of the second run only.
    #[arg(long, value_name = "N")]
    pub b_seed: Option<u64>,

    /// Frame policy of the second run only.
    #[arg(long, value_name = "NAME")]
    pub b_policy: Option<String>,

    /// Heap of the second run only.
    #[arg(long, value_name = "NAME")]
    pub b_heap: Option<String>,

    /// A field of the second run only. May be repeated.
    #[arg(long, value_name = "PATH=VALUE", value_parser = assignment)]
    pub b_set: Vec<Assignment>,
}

/// `framesim search`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  framesim search workloads/web.ron --worst fragmentation --seeds 50 --out worst.ron
  framesim search mine.ron --worst refused --under best_fit --against first_fit \\
      --vary machine.memory=16MiB..64MiB --out worst.ron")]
pub struct Search {
    /// The workload.
    pub file: PathBuf,

    /// What is to be as large as can be: fragmentation, refused, first-refusal (as early as can be), peak-frames, holes.
    #[arg(long, value_name = "MEASURE", value_parser = measure)]
    pub worst: Measure,

    /// The models it is looked for under, instead of the file's: a policy, a heap, or both: `buddy+glibc`.
    #[arg(long, value_name = "NAME")]
    pub under: Option<String>,

    /// Look for the largest lead over these models.
    #[arg(long, value_name = "NAME")]
    pub against: Option<String>,

    /// Seeds to try, from 1.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,

    /// A field to vary after that: `processes.web.does.calls=100..5000`, or a list of values. May be repeated.
    #[arg(long, value_name = "PATH=FROM..TO", value_parser = super::search::axis)]
    pub vary: Vec<Axis>,

    /// Cases to try in all.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub tries: u64,

    /// Where the worst case is written, as a workload.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
}

fn measure(name: &str) -> Result<Measure, String> {
    let known = || Measure::ALL.map(Measure::name).join(", ");
    Measure::ALL.into_iter().find(|measure| measure.name() == name).ok_or_else(|| format!("measures are {}", known()))
}

/// `framesim shrink`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  framesim shrink big.ron --refuses best_fit --serves first_fit --out small.ron
  framesim shrink program.trace.zst --memory 64MiB --refuses glibc --serves dlmalloc --out small.ron
  framesim shrink big.ron --at-least fragmentation=0.75 --out small.ron")]
pub struct Shrink {
    /// A workload with scripts, or a trace.
    pub file: PathBuf,

    /// Keep that some request is refused under these models: a policy, a heap, or both: `buddy+glibc`. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub refuses: Vec<String>,

    /// Keep that no request is refused under these models. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub serves: Vec<String>,

    /// Keep that a measure is at least so large: `refused=3`, `fragmentation=0.75`, `peak-frames=100`.
    #[arg(long, value_name = "MEASURE=VALUE", value_parser = super::shrink::at_least)]
    pub at_least: Vec<(Measure, u64)>,

    /// Memory of the machine, for a trace.
    #[arg(long, value_name = "SIZE", default_value = "4GiB")]
    pub memory: String,

    /// Where what is left is written, as a workload.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
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
    /// A policy or a heap.
    pub name: String,
}

/// `framesim verify`.
#[derive(Args, Debug)]
pub struct Verify {
    /// A log that `framesim run --digest-log` wrote.
    pub file: PathBuf,
}

/// `framesim conform`.
#[derive(Args, Debug)]
pub struct Conform {
    /// What the cases are.
    #[command(subcommand)]
    pub kind: ConformKind,
}

/// Kinds of recorded cases.
#[derive(Debug, Subcommand)]
pub enum ConformKind {
    /// Frame allocation scripts, for every policy a case names.
    Frames(Cases),
    /// Free-list allocation scripts.
    Malloc(Cases),
    /// A heap against what the real allocator did on the same calls.
    Heap(HeapCase),
}

/// `framesim conform heap`.
#[derive(Args, Debug)]
pub struct HeapCase {
    /// The heap, as in RON.
    #[arg(long, value_name = "NAME", default_value = "glibc")]
    pub heap: String,

    /// What was mapped before the first call, as `/proc/PID/maps` says; then each thread makes its own calls.
    #[arg(long, value_name = "FILE")]
    pub maps: Option<PathBuf>,

    /// What surrounded the allocator, in RON, instead of the setting that goes with `--maps` or its absence.
    #[arg(long, value_name = "FILE")]
    pub setting: Option<PathBuf>,

    /// The calls: a heap trace.
    pub trace: PathBuf,

    /// Where the blocks were: `ID PLACE USABLE` for each call that gave one.
    pub addresses: PathBuf,

    /// Rows of `op,live,brk,mapped,resident`.
    pub series: Option<PathBuf>,
}

/// `framesim fidelity`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  framesim fidelity tests/data/heap > models/FIDELITY.md")]
pub struct Fidelity {
    /// A folder with `traces/NAME.trace.zst` and, for each heap HEAP that was recorded, `reference/NAME.HEAP.addr.zst` and
    /// `NAME.HEAP.csv`; in `threads` the same of recordings with threads, and `NAME.HEAP.maps`.
    pub folder: PathBuf,
}

/// Files of cases.
#[derive(Args, Debug)]
pub struct Cases {
    /// JSON files, one case each.
    #[arg(required = true, value_name = "CASE")]
    pub files: Vec<PathBuf>,
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
