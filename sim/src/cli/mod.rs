//! The command `framesim`: screens, files and exit codes.

pub mod exit;
pub mod output;
