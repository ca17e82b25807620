//! Tests that cross crates.

pub mod heap_calls;
pub mod heap_fuzz;
pub mod packed;
pub mod real_heap;
pub mod recorded_heap;
pub mod theory;
