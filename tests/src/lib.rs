//! Tests that cross crates.

pub mod packed;
pub mod real_heap;
pub mod theory;
