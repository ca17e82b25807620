//! Tests alone: models beside implementations in Rust that nobody here wrote. A package of its own, because other
//! people's allocators hand out raw pointers and the rest of the workspace forbids `unsafe`.
