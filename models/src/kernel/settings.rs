//! What a kernel is made with.

use serde::{Deserialize, Serialize};

use super::space::SpaceSettings;
use crate::Address;

/// What a kernel is made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelSettings {
    /// Bytes of a page and of a frame; a power of two.
    pub page_bytes: u64,
    /// Processors of the machine.
    pub cpus: u32,
    /// What the kernel itself takes.
    pub charges: Charges,
    /// How the frames of a region are asked for.
    pub layout: Layout,
    /// When memory that was asked for gets frames.
    pub commit: Commit,
    /// Lowest frames that are never handed out.
    pub reserved_frames: u64,
    /// Address ranges that every process finds mapped: libraries, the loader. They take address space and no frames; what
    /// the image itself lies in is left out.
    pub libraries: Vec<(Address, Address)>,
    /// Whether frames that change hands are written down for [`super::Kernel::frame_changes`].
    pub log_changes: bool,
}

impl Default for KernelSettings {
    fn default() -> KernelSettings {
        KernelSettings {
            page_bytes: 4096,
            cpus: 1,
            charges: Charges::default(),
            layout: Layout::Paged,
            commit: Commit::OnTouch,
            reserved_frames: 0,
            libraries: Vec::new(),
            log_changes: false,
        }
    }
}

impl KernelSettings {
    pub(super) fn space(&self) -> SpaceSettings {
        SpaceSettings { cpus: self.cpus, ..SpaceSettings::linux(self.page_bytes) }
    }
}

/// What the kernel itself takes from memory for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charges {
    /// Pages of its stack in the kernel; each further thread has another.
    pub kernel_stack_pages: u64,
    /// Whether page tables take frames.
    pub page_tables: bool,
    /// Bytes of its kernel objects, from a slab; 0 for none.
    pub object_bytes: u64,
    /// Bytes of the kernel objects of each further thread of it, from another slab; 0 for none.
    pub thread_object_bytes: u64,
}

impl Charges {
    /// The kernel takes nothing, as on a slide.
    pub const FREE_OF_CHARGE: Charges =
        Charges { kernel_stack_pages: 0, page_tables: false, object_bytes: 0, thread_object_bytes: 0 };
}

/// Linux on x86-64: 16 KiB of kernel stack (`THREAD_SIZE`), page tables, and the objects of one process, measured on 6.18:
/// `task_struct` 5,888, `sighand_struct` 2,112, `mm_struct` 1,600, `signal_struct` 1,152, `files_struct` 704, `pid` 192,
/// `fs_struct` 64 bytes. A further thread has a `task_struct` and a `pid` of its own and shares the rest (`CLONE_THREAD`).
impl Default for Charges {
    fn default() -> Charges {
        Charges {
            kernel_stack_pages: 4,
            page_tables: true,
            object_bytes: 5_888 + 2_112 + 1_600 + 1_152 + 704 + 192 + 64,
            thread_object_bytes: 5_888 + 192,
        }
    }
}

/// How the frames of a region are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// Each region is one run: the textbook's setting. With [`Commit::Eager`] each growth of the break and each mapping
    /// is one run too.
    Contiguous,
    /// Frame by frame.
    #[default]
    Paged,
}

/// When memory that was asked for gets frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Commit {
    /// At the first write to each page.
    #[default]
    OnTouch,
    /// At once.
    Eager,
}
