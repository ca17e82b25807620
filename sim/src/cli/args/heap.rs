//! Options of the commands about heaps: record, import, compare, heap-map.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Assignment, Overrides, assignment};

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
  framesim import heaptrack.ls.4711.gz --out ls.trace.zst
  framesim import mtrace.out --from mtrace --out program.trace")]
pub struct Import {
    /// The recording, plain, zstd or gzip; `-` is standard input.
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
    #[arg(long, value_name = "N", default_value = "1", value_parser = crate::cli::compare::seeds)]
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
