//! Tests that cross crates.

pub mod theory;
