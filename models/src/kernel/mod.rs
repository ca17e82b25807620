//! The kernel: address spaces, page tables and faults, on top of any frame allocator.

mod owner;

pub use owner::{Owner, Region};
