//! Options of the commands that run one workload or trace: run, replay.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Overrides;

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
    /// A recorded trace (plain, zstd or gzip), or a `.rep` file.
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
