//! Options of the commands that hold models against recordings: conform, fidelity.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
