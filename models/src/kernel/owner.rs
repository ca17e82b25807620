//! Who holds a frame, and for what.

use serde::{Deserialize, Serialize};

use crate::Pid;

/// The holder of a taken frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// The process; for reserved frames 0; for shared code and kernel objects, the one they were made for first.
    pub pid: Pid,
    /// What the frame is used for.
    pub region: Region,
}

/// What a frame is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

impl Region {
    /// All of them, in order.
    pub const ALL: [Region; 10] = [
        Region::Code,
        Region::Data,
        Region::Stack,
        Region::Heap,
        Region::Mmap,
        Region::Taken,
        Region::KernelStack,
        Region::PageTable,
        Region::Slab,
        Region::Reserved,
    ];

    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Region::Code => "code",
            Region::Data => "data",
            Region::Stack => "stack",
            Region::Heap => "heap",
            Region::Mmap => "mmap",
            Region::Taken => "taken",
            Region::KernelStack => "kernel stack",
            Region::PageTable => "page table",
            Region::Slab => "slab",
            Region::Reserved => "reserved",
        }
    }

    /// Whether the frames are the kernel's own.
    #[must_use]
    pub const fn is_kernel(self) -> bool {
        matches!(self, Region::KernelStack | Region::PageTable | Region::Slab | Region::Reserved)
    }

    /// Whether a frame is filled with zeros before it is handed out for this.
    #[must_use]
    pub(super) const fn is_zeroed(self) -> bool {
        matches!(self, Region::Data | Region::Stack | Region::Heap | Region::Mmap | Region::PageTable)
    }
}
