//! The kernel: address spaces, page tables and faults, on top of any frame allocator.

pub mod space;

mod owner;

pub use owner::{Owner, Region};
pub use space::AddressSpace;
