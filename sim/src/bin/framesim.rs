//! The command `framesim`, with the models that come with it.

use std::process::ExitCode;

use framesim::{Registries, cli};

fn main() -> ExitCode {
    cli::main(&Registries::default(), std::env::args_os())
}
