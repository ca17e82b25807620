//! User-level allocators: which address of a process a `malloc` gets, and when the kernel must be asked.
//!
//! Each file (or folder) here is one allocator. All answer [`HeapAllocator`] and take memory only through
//! [`SystemMemory`], the system calls of their process.
//!
//! **Invariant.** A call that the heap can serve from what it holds makes no system call.

mod aligned_map;
pub mod block_map;
pub mod buddy_heap;
pub mod bump;
pub mod dlmalloc;
pub mod flat_memory;
pub mod free_list;
pub mod glibc;
pub mod hoard;
pub mod jemalloc;
pub mod mimalloc;
pub mod oracle;
pub mod private_heaps;
pub mod segregated_fit;
pub mod slab;
pub mod tagged;
pub mod tcmalloc;
pub mod tiling;
pub mod tlsf;

#[cfg(test)]
mod drawing;

use serde::{Deserialize, Serialize};

use crate::registry::{Boxed, Family, Registry, models};
use crate::{Address, Coins, Nanos, ThreadId, Violation};

models! {
    /// The heap allocator of a program and its options, as in RON: `glibc` or `free_list(policy: best)`.
    HeapChoice of dyn HeapAllocator;
    /// Never frees: the next address, always.
    bump::Bump,
    /// The textbook heap: a list of free pieces, searched.
    free_list::FreeList,
    /// glibc 2.36 (ptmalloc2), address for address.
    glibc::Glibc,
    /// Doug Lea's allocator, version 2.8.6, to the address.
    dlmalloc::Dlmalloc,
    /// jemalloc 5.3.0, address for address.
    jemalloc::Jemalloc,
    /// mimalloc 2.0.9, address for address.
    mimalloc::Mimalloc,
    /// A list of free pieces for each class of sizes.
    segregated_fit::SegregatedFit,
    /// Powers of two, halved to serve and joined with buddies.
    buddy_heap::BuddyHeap,
    /// Pages carved into objects of one size.
    slab::Slab,
    /// gperftools 2.10 tcmalloc, to the address.
    tcmalloc::Tcmalloc,
    /// Two-level segregated fit, every call in constant time.
    tlsf::Tlsf,
    /// Hoard: heaps of superblocks for processors, and a global heap.
    hoard::Hoard,
    /// A heap for each thread, and nothing between them.
    private_heaps::PrivateHeaps,
}

/// Heap allocators by name.
pub type HeapRegistry = Registry<dyn HeapAllocator>;

/// What a heap is built in. It holds no memory at first and makes no system call before its first `malloc`.
#[derive(Clone, Debug)]
pub struct HeapSetting {
    /// For allocators that flip coins.
    pub coins: Coins,
}

impl Family for dyn HeapAllocator {
    type Setting = HeapSetting;
    type Choice = HeapChoice;
}

impl<T: HeapAllocator + 'static> Boxed<dyn HeapAllocator> for T {
    fn boxed(self) -> Box<dyn HeapAllocator> {
        Box::new(self)
    }
}

/// The kernel as one process sees it. Addresses and lengths are in bytes.
pub trait SystemMemory {
    /// Bytes of a page; a power of two.
    fn page_bytes(&self) -> u64;

    /// Processors of the machine: some allocators size their arenas by it.
    fn cpus(&self) -> u32;

    /// The program break now, without a system call (the library remembers it).
    fn program_break(&self) -> Address;

    /// Moves the program break to `end`.
    ///
    /// # Errors
    /// [`OutOfMemory`] when frames, limits or the address space do not allow it. The break is where it was.
    fn brk(&mut self, end: Address) -> Result<(), OutOfMemory>;

    /// Maps `request.bytes` of zeroed memory and returns its start.
    ///
    /// # Errors
    /// [`OutOfMemory`]; nothing is mapped then.
    fn mmap(&mut self, request: &MapRequest) -> Result<Address, OutOfMemory>;

    /// Unmaps whole pages; what is not mapped there is passed over.
    fn munmap(&mut self, at: Address, bytes: u64);

    /// Resizes a mapping in place or, where it cannot grow there, moves it.
    ///
    /// # Errors
    /// [`OutOfMemory`]; the mapping is as it was.
    fn mremap(&mut self, at: Address, old_bytes: u64, new_bytes: u64) -> Result<Address, OutOfMemory>;

    /// Changes what may be done with the pages.
    ///
    /// # Errors
    /// [`OutOfMemory`] where the kernel cannot promise the memory.
    fn mprotect(&mut self, at: Address, bytes: u64, access: Access) -> Result<(), OutOfMemory>;

    /// Tells the kernel what the pages are (not) needed for.
    fn madvise(&mut self, at: Address, bytes: u64, advice: Advice);

    /// Writes to `bytes` bytes at `at`: their pages become resident. Not a system call. Where no frame is left the
    /// kernel remembers that the write is unmet, and the simulator settles it after the heap's call.
    fn touch(&mut self, at: Address, bytes: u64);

    /// Pages among `bytes` bytes at `at` that are resident, as `mincore` tells. Not counted as a system call.
    fn resident_pages(&self, at: Address, bytes: u64) -> u64;
}

/// What an `mmap` asks for; private and anonymous always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapRequest {
    /// Length in bytes; the kernel rounds it up to pages.
    pub bytes: u64,
    /// Where the caller would like it; taken only when free there.
    pub hint: Option<Address>,
    /// First rights of the pages.
    pub access: Access,
    /// The memory is promised to nobody until it is written (`MAP_NORESERVE`).
    pub no_reserve: bool,
}

impl MapRequest {
    /// `bytes` of readable and writable memory, anywhere.
    #[must_use]
    pub const fn anywhere(bytes: u64) -> MapRequest {
        MapRequest { bytes, hint: None, access: Access::ReadWrite, no_reserve: false }
    }
}

/// Rights of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Access {
    /// None: the address range is only held.
    None,
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
    /// Reading and executing.
    ReadExecute,
}

/// What `madvise` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Advice {
    /// `MADV_DONTNEED`: the frames go back now; the next touch finds zeros.
    DontNeed,
    /// `MADV_FREE`: the frames may go back when the kernel needs them (lazily freed).
    Free,
    /// `MADV_HUGEPAGE`: huge pages are welcome.
    HugePage,
    /// `MADV_NOHUGEPAGE`: huge pages are not wanted.
    NoHugePage,
}

/// A user-level allocator: a state machine that any thread of its process calls.
pub trait HeapAllocator: HeapState + Send {
    /// A block of at least `bytes` usable bytes. What a request of 0 gets is each model's rule.
    ///
    /// # Errors
    /// [`OutOfMemory`] when the heap cannot serve it and the kernel gives no more. No block has changed then.
    fn malloc(&mut self, thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory>;

    /// A zeroed block of `count` times `bytes`.
    ///
    /// # Errors
    /// [`OutOfMemory`], also when the product is too large.
    fn calloc(
        &mut self,
        thread: ThreadId,
        count: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let bytes = count.checked_mul(bytes).ok_or(OutOfMemory)?;
        self.malloc(thread, bytes, os)
    }

    /// A block whose address is a multiple of `align`.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    fn aligned_alloc(
        &mut self,
        thread: ThreadId,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory>;

    /// The alignment that [`aligned_alloc`](Self::aligned_alloc) really gives: `align`, but in the models of software that has
    /// it wrong.
    fn alignment_given(&self, align: u64, _bytes: u64) -> u64 {
        align
    }

    /// Makes the block at `at` hold `bytes`; it may move, its content goes along. `None` when `bytes` is 0 and the model's
    /// rule is to free the block.
    ///
    /// # Errors
    /// [`ReallocError`]; the old block is as it was.
    fn realloc(
        &mut self,
        thread: ThreadId,
        at: Address,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<Address>, ReallocError>;

    /// Gives the block at `at` back.
    ///
    /// # Errors
    /// [`HeapFreeError`] when no live block starts there. Nothing has changed then.
    fn free(&mut self, thread: ThreadId, at: Address, os: &mut dyn SystemMemory) -> Result<(), HeapFreeError>;

    /// Bytes the program may use of the block at `at`; `None` when no live block starts there.
    fn usable_size(&self, at: Address) -> Option<u64>;

    /// Whether the model has time-driven rules: only then [`tick`](Self::tick) need be called.
    fn keeps_time(&self) -> bool {
        false
    }

    /// Tells the time, before each call of the program: time-driven rules (decay, release) go by it.
    fn tick(&mut self, _now: Nanos, _os: &mut dyn SystemMemory) {}

    /// A thread of the process ends: its caches go the way the real one sends them.
    fn thread_exit(&mut self, _thread: ThreadId, _os: &mut dyn SystemMemory) {}

    /// What the heap holds now.
    fn stats(&self) -> HeapStats;

    /// Of [`stats`](Self::stats), what is counted after every call. A heap that need not look into its parts for it says so here.
    #[inline]
    fn totals(&self) -> HeapTotals {
        self.stats().totals()
    }

    /// Free pieces, in the order the model keeps them (list order, or by address), for maps and checks.
    fn for_each_free(&self, _visit: &mut dyn FnMut(Address, u64)) {}

    /// Every piece of the memory the heap holds, ascending, without gaps within a mapping: what a heap map draws. The bytes
    /// of each kind add up to [`stats`](Self::stats).
    fn for_each_piece(&self, _visit: &mut dyn FnMut(Piece)) {}

    /// Pieces of the heap the last call looked at, where the model searches.
    fn last_search(&self) -> u64 {
        0
    }

    /// Full check of the structure's invariants; used by tests and by `--check`.
    ///
    /// # Errors
    /// The first invariant that is broken.
    fn check(&self) -> Result<(), Violation>;
}

/// Cloning and writing for a boxed heap; every model that is `Clone + Serialize` has it.
pub trait HeapState {
    /// A copy in a box of its own.
    fn clone_boxed(&self) -> Box<dyn HeapAllocator>;
    /// The whole state, to be read back with [`Registry::restore`].
    fn save(&self) -> Vec<u8>;
}

impl<T: HeapAllocator + Clone + Serialize + 'static> HeapState for T {
    fn clone_boxed(&self) -> Box<dyn HeapAllocator> {
        Box::new(self.clone())
    }

    fn save(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a heap's state is plain data")
    }
}

impl Clone for Box<dyn HeapAllocator> {
    fn clone(&self) -> Self {
        (**self).clone_boxed()
    }
}

/// What a heap holds, in bytes. `usable + overhead + free = held`, at every step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapStats {
    /// Live blocks.
    pub blocks: u64,
    /// Usable bytes of live blocks.
    pub usable: u64,
    /// Headers and the allocator's own tables.
    pub overhead: u64,
    /// Bytes the heap holds and could hand out: caches, free places in pages of one size class, free lists, top.
    pub free: u64,
    /// Of `free`, bytes that lie in caches (of threads, of size classes).
    pub cached: u64,
    /// Of `free`, bytes of slabs, spans or superblocks that are in use for one size class: free, but for that class alone.
    pub in_page: u64,
    /// Address space taken from the kernel and not given back.
    pub held: u64,
}

impl HeapStats {
    /// The part of it that changes with every call.
    #[inline]
    #[must_use]
    pub fn totals(&self) -> HeapTotals {
        HeapTotals { usable: self.usable, held: self.held }
    }
}

/// What a heap holds for its live blocks, and in all: some of [`HeapStats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapTotals {
    /// Usable bytes of live blocks.
    pub usable: u64,
    /// Address space taken from the kernel and not given back.
    pub held: u64,
}

/// A piece of the memory a heap holds: a chunk, an object of a slab or span, a run of free pages, a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its first byte, header included.
    pub at: Address,
    /// Bytes to the next piece; never 0.
    pub bytes: u64,
    /// What it is.
    pub kind: PieceKind,
}

/// What a piece of a heap is. `Cached`, `FreeInPage`, `Free`, `Top` and `Reserved` are what [`HeapStats::free`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PieceKind {
    /// A block the program has, with its header and whatever else it alone costs.
    Live {
        /// Bytes the program may use. A block that runs into the next piece (boundary tags) counts them all the same.
        usable: u64,
    },
    /// Free in a cache: of a thread, of a size class, an empty slab that is kept. As in [`HeapStats::cached`].
    Cached,
    /// Free memory of a slab, span or superblock that is in use for one size class. As in [`HeapStats::in_page`].
    FreeInPage,
    /// Other free memory: free chunks, free pages.
    Free,
    /// The free memory at the end of the heap, which is cut last and grows by the kernel: top, wilderness.
    Top,
    /// Address space the heap has taken without making it usable yet: the rest of an arena's heap, of a reservation.
    Reserved,
    /// Headers of regions and tables of the allocator.
    Overhead,
}

impl PieceKind {
    /// All of them, in order; a live one without its bytes.
    pub const ALL: [PieceKind; 7] = [
        PieceKind::Live { usable: 0 },
        PieceKind::Cached,
        PieceKind::FreeInPage,
        PieceKind::Free,
        PieceKind::Top,
        PieceKind::Reserved,
        PieceKind::Overhead,
    ];

    /// Its place in [`PieceKind::ALL`].
    #[must_use]
    pub const fn number(self) -> usize {
        match self {
            PieceKind::Live { .. } => 0,
            PieceKind::Cached => 1,
            PieceKind::FreeInPage => 2,
            PieceKind::Free => 3,
            PieceKind::Top => 4,
            PieceKind::Reserved => 5,
            PieceKind::Overhead => 6,
        }
    }

    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        ["live", "cached", "free in page", "free", "top", "reserved", "overhead"][self.number()]
    }
}

/// Shows pieces that were collected in any order as [`HeapAllocator::for_each_piece`] shows them: ascending.
pub fn show_ascending(mut pieces: Vec<Piece>, visit: &mut dyn FnMut(Piece)) {
    pieces.sort_unstable_by_key(|piece| piece.at);
    pieces.into_iter().for_each(visit);
}

/// Neither the heap nor the kernel can serve the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory")]
pub struct OutOfMemory;

/// No live block starts at that address. The program's bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no live block starts at {0}")]
pub struct HeapFreeError(pub Address);

/// Why a block could not be resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReallocError {
    /// See [`OutOfMemory`].
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// See [`HeapFreeError`].
    #[error(transparent)]
    NotLive(#[from] HeapFreeError),
}
