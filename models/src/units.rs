//! Identities and units that every model shares.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Simulated time, or a span of it, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The sum, or `None` past the end of time (584 years).
    #[must_use]
    pub fn checked_add(self, span: Nanos) -> Option<Nanos> {
        self.0.checked_add(span.0).map(Nanos)
    }
}

/// An address in one process's address space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address(pub u64);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A process: a dense index into the kernel's table, used again after an exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pid(pub u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A thread of one process: 0 is the main thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ThreadId(pub u32);

/// A processor of the simulated machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cpu(pub u32);

/// A count as an index into memory of the host.
///
/// # Panics
/// On a host whose pointers cannot hold it: a 32-bit host with more than 4 billion entries.
#[inline]
#[must_use]
pub fn index(count: u64) -> usize {
    usize::try_from(count).expect("an index fits the host's pointers")
}
