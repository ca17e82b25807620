//! What the kernel was made to do, in numbers.

use serde::{Deserialize, Serialize};

/// A kind of system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SystemCall {
    /// Moves the break.
    Brk,
    /// Maps memory.
    Mmap,
    /// Unmaps memory.
    Munmap,
    /// Resizes or moves a mapping.
    Mremap,
    /// Changes rights.
    Mprotect,
    /// Gives advice.
    Madvise,
}

impl SystemCall {
    /// All of them, in order.
    pub const ALL: [SystemCall; 6] = [
        SystemCall::Brk,
        SystemCall::Mmap,
        SystemCall::Munmap,
        SystemCall::Mremap,
        SystemCall::Mprotect,
        SystemCall::Madvise,
    ];

    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SystemCall::Brk => "brk",
            SystemCall::Mmap => "mmap",
            SystemCall::Munmap => "munmap",
            SystemCall::Mremap => "mremap",
            SystemCall::Mprotect => "mprotect",
            SystemCall::Madvise => "madvise",
        }
    }
}

/// Work of the kernel, counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// System calls by kind, refused ones included.
    pub calls: [u64; SystemCall::ALL.len()],
    /// Faults that gave a page a frame.
    pub faults: u64,
    /// Frames filled with zeros: all but code, kernel stacks, kernel objects and frames taken by name.
    pub zeroed: u64,
    /// Frames handed out.
    pub taken: u64,
    /// Frames that came back.
    pub given: u64,
    /// Lazily freed pages that the kernel took because memory was short.
    pub reclaimed: u64,
    /// Writes where nothing writable is mapped: bugs of the program, which a real one dies of.
    pub bad_writes: u64,
}

/// The work that takes time of its own: of [`Counts`], what is compared before and after every call of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// System calls of all kinds.
    pub system_calls: u64,
    /// See [`Counts::faults`].
    pub faults: u64,
    /// See [`Counts::zeroed`].
    pub zeroed: u64,
}

impl Counts {
    /// System calls of one kind.
    #[must_use]
    pub const fn calls_of(&self, kind: SystemCall) -> u64 {
        self.calls[kind as usize]
    }

    /// System calls of all kinds.
    #[must_use]
    pub fn system_calls(&self) -> u64 {
        self.calls.iter().sum()
    }

    /// Frames that changed hands, either way.
    #[must_use]
    pub const fn moved(&self) -> u64 {
        self.taken + self.given
    }
}
