//! What a run asks for: the schema of workload files, seeded laws, request streams and recorded traces.
//!
//! - [`spec`]: the RON schema.
//! - [`experiment`]: a question about a workload, over a grid and over seeds.
//! - [`load`]: from the text of a workload to a checked one, or to what is wrong with it.
//! - [`guide`]: the parts of a workload file as a person looks them up.
//! - [`laws`]: laws of chance that a workload can name.
//! - [`library`]: the files that come with framesim.
//! - [`streams`]: random numbers by name.
//! - [`trace`]: recorded heap calls.
//! - [`requests`]: what a process asks for, one request after the other.

pub mod experiment;
pub mod guide;
pub mod laws;
pub mod library;
pub mod load;
pub mod requests;
pub mod spec;
pub mod streams;
pub mod trace;
