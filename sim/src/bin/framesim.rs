//! The command `framesim`.
fn main() {}
