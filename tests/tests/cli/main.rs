//! The command line as a user meets it: real processes, real pipes, real files.

mod broken_policy;
mod check;
mod command;
mod compare;
mod conform;
mod fidelity;
mod files;
mod findings;
mod heap_map;
mod library;
mod models;
mod own_policy;
mod record;
mod replay;
mod run;
mod shared_lines;
mod streams;
