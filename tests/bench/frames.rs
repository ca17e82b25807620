//! Frame allocators: ns per operation at several memory sizes.
fn main() {}
