//! Who holds a frame, and for what.

use serde::{Deserialize, Serialize};

use crate::Pid;

/// The holder of a taken frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// The process; for `Region::Reserved` and shared code, the one it was made for first.
    pub pid: Pid,
    /// What the frame is used for.
    pub region: Region,
}

/// What a frame is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Region {
    /// The program's instructions.
    Code,
    /// Its static data.
    Data,
    /// Its stack.
    Stack,
    /// Memory below the program break.
    Heap,
    /// Memory mapped by `mmap`.
    Mmap,
    /// Frames a script took by name.
    Taken,
    /// The kernel's stack for the process.
    KernelStack,
    /// A page table.
    PageTable,
    /// Kernel objects.
    Slab,
    /// Never handed out: firmware, the kernel's own image.
    Reserved,
}
