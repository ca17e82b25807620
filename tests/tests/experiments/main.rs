//! Sweeps from the command line: the same bytes however they are run, interrupted, split and joined.

mod broken;
mod cost;
mod folder;
mod interrupted;
mod parquet;
mod repeated;
mod shards;
mod shown;
mod theory;
