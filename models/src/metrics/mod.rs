//! Measures of fragmentation and footprint: pure functions of counts, all in integers.
//!
//! | question | answer |
//! |---|---|
//! | how much free memory cannot serve the largest request? | [`external_fragmentation`] |
//! | how much of what was granted was not asked for? | [`internal_fragmentation`] |
//! | can an order be served, and if not, is memory short or scattered? | [`FreeBlocks`]: the indices of Linux |
//! | what was the mean over time? | [`TimeWeighted`] |
//! | how much more than the live bytes did a heap hold? | [`Footprint`]: four ratios of Johnstone and Wilson |
//! | how many cache lines do threads share that share no data? | [`SharedLines`] |
//! | is every free run counted once? | [`Contacts`]: 2 * holes = 2A + B + e |
//!
//! A measure of nothing has a value by convention, and each function says which. A [`Ratio`] is two integers; it becomes
//! decimals only when it is written.

mod blocks;
mod contacts;
mod fragmentation;
mod over_time;
mod ratio;
mod shared_lines;

pub use blocks::{FreeBlocks, ORDERS};
pub use contacts::Contacts;
pub use fragmentation::{external_fragmentation, internal_fragmentation, longest_free_run};
pub use over_time::{Footprint, TimeWeighted};
pub use ratio::Ratio;
pub use shared_lines::SharedLines;
