//! Options of the commands that find something in many runs: diff, search, shrink.

use std::path::PathBuf;

use clap::Args;

use super::{Assignment, Overrides, assignment};
use crate::cli::search::Axis;
use crate::search::Measure;

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
    #[arg(long, value_name = "PATH=FROM..TO", value_parser = crate::cli::search::axis)]
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
    #[arg(long, value_name = "MEASURE=VALUE", value_parser = crate::cli::shrink::at_least)]
    pub at_least: Vec<(Measure, u64)>,

    /// Memory of the machine, for a trace.
    #[arg(long, value_name = "SIZE", default_value = "4GiB")]
    pub memory: String,

    /// Where what is left is written, as a workload.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
}
