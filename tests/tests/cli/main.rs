//! The command line as a user meets it: real processes, real pipes, real files.

mod command;
mod conform;
mod models;
mod streams;
