//! What a run says: for a person as text, for programs as JSON.
//!
//! Reports read results and never change one. They return text or write to what they are handed; the command line owns
//! the screen and the files.

pub mod compare;
pub mod events;
pub mod fidelity;
pub mod frame_map;
pub mod heap_map;
pub mod heaps;
pub mod json;
pub mod map;
pub mod means;
#[expect(clippy::float_arithmetic, reason = "coordinates of a picture, rounded to tenths; IEEE basic operations alone")]
pub mod plot;
pub mod scripted;
pub mod shared_lines;
pub mod steps;
pub mod summary;
pub mod text;
