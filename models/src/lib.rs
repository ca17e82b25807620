//! What framesim simulates, as pure state machines.
//!
//! - [`frames`]: kernel-level allocators of page frames, one policy a file.
//! - [`kernel`]: address spaces, page tables, faults and kernel objects on top of any of them.
//! - [`heap`]: user-level allocators, which see only their process's system calls.
//! - [`pthread`]: the stacks of threads, as the C library keeps them.
//! - [`metrics`]: measures of fragmentation and footprint, pure functions of counts.
//!
//! Nothing here knows the time, a seed, a file or the event loop. A model that needs coins is handed [`Coins`].
//! Every model can be cloned and be written and read back with serde.

pub mod docs;
pub mod frames;
pub mod heap;
pub mod kernel;
pub mod metrics;
pub mod pthread;
pub mod registry;

mod coins;
mod units;
mod violation;

pub use coins::Coins;
pub use units::{Address, Cpu, Nanos, Pid, ThreadId, index};
pub use violation::{Violation, ensure};
