//! Recordings of programs on this machine: from raw files of the preload library to heap traces.
//!
//! The library (`sim/record`) is compiled by this crate's build script and lies in the binary; [`LIBRARY`] has its bytes.

mod convert;
mod folder;
#[path = "../../record/src/raw.rs"]
#[allow(dead_code, reason = "some of it is for the library that writes what is read here")]
mod raw;
mod raw_file;
#[cfg(test)]
mod tests;

pub use convert::{Converted, convert};
pub use folder::Folder;
pub use raw_file::{RawError, RawFile, Stop};

/// The preload library; empty where there is none.
pub const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libframesim_record.so"));

/// Why this build has no preload library; empty when it has one.
pub const WHY_NOT: &str = env!("FRAMESIM_NO_RECORDER");
