//! What a run asks for: the schema of workload files, seeded laws, request streams and recorded traces.
//!
//! - [`spec`]: the RON schema.
//! - [`laws`]: laws of chance that a workload can name.
//! - [`requests`]: what a process asks for, one request after the other.

pub mod laws;
pub mod requests;
pub mod spec;
