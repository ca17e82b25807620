//! The command `framesim`, built with this package so that its tests find it wherever they run.

use std::process::ExitCode;

use framesim::{Registries, cli};

fn main() -> ExitCode {
    cli::main(&Registries::default(), std::env::args_os())
}
