//! The models a run can choose from.

use framesim_models::frames::PolicyRegistry;
use framesim_models::heap::HeapRegistry;

/// Frame policies and heaps by name; a program of a user's own adds its models here and hands them to
/// [`cli::main`](crate::cli::main).
#[derive(Default)]
pub struct Registries {
    /// Which page frames back a request.
    pub frames: PolicyRegistry,
    /// Which address a `malloc` gets.
    pub heaps: HeapRegistry,
}
