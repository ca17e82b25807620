//! What calls on an address space ask for, and how they are refused.

use serde::{Deserialize, Serialize};

use super::{AreaFlags, Backing, PageRange, USER_PAGES};
use crate::Address;

/// What an address space is made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceSettings {
    /// Bytes of a page; a power of two.
    pub page_bytes: u64,
    /// Processors of the machine, for heaps that ask.
    pub cpus: u32,
    /// Where the heap starts: the break of a process that has not moved it.
    pub start_brk: Address,
    /// Mappings lie below it.
    pub mmap_base: Address,
    /// Bytes a stack may reach.
    pub stack_limit: u64,
    /// Pages above which one promise is refused (heuristic overcommit); `None` refuses none.
    pub promise_pages_max: Option<u64>,
}

impl SpaceSettings {
    /// Linux without randomness: mappings below 128 MiB of room for the stack, the program at two thirds of the space.
    #[must_use]
    pub const fn linux(page_bytes: u64) -> SpaceSettings {
        let program = USER_PAGES * page_bytes / 3 * 2;
        SpaceSettings {
            page_bytes,
            cpus: 1,
            start_brk: Address(program / page_bytes * page_bytes),
            mmap_base: Address((USER_PAGES - (128 << 20) / 4096) * page_bytes),
            stack_limit: 8 << 20,
            promise_pages_max: None,
        }
    }
}

/// What a mapping asks for. [`MapOptions::anonymous`] makes the plain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapOptions {
    /// Length in bytes; rounded up to pages.
    pub bytes: u64,
    /// Where.
    pub at: MapAt,
    /// Rights, and `SHARED`, `GROWS_DOWN`, `NO_RESERVE`, `NO_HUGE` (`MAP_STACK`) where asked for.
    pub flags: AreaFlags,
    /// Zeros, or a file.
    pub backing: Backing,
    /// Place in the file, in pages.
    pub offset: u64,
}

/// Where a mapping goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapAt {
    /// Where the kernel likes.
    #[default]
    Anywhere,
    /// There if it is free, else anywhere.
    Hint(Address),
    /// There, whatever is mapped there now (`MAP_FIXED`).
    Fixed(Address),
    /// There, or not at all (`MAP_FIXED_NOREPLACE`).
    FixedIfFree(Address),
}

impl MapOptions {
    /// Private zeros, readable and writable, anywhere.
    #[must_use]
    pub const fn anonymous(bytes: u64) -> MapOptions {
        MapOptions {
            bytes,
            at: MapAt::Anywhere,
            flags: AreaFlags::READ.with(AreaFlags::WRITE),
            backing: Backing::Anonymous,
            offset: 0,
        }
    }

    /// The same at another place.
    #[must_use]
    pub const fn at(self, at: MapAt) -> MapOptions {
        MapOptions { at, ..self }
    }
}

/// Why a call on an address space is refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SpaceError {
    /// No gap is long enough, or the place asked for is taken.
    #[error("no room for {pages} pages in the address space")]
    NoRoom {
        /// Pages asked for.
        pages: u64,
    },
    /// One request for more memory than the machine has.
    #[error("{pages} pages promised at once; the machine has {limit}")]
    Overcommit {
        /// Pages asked for.
        pages: u64,
        /// Pages the machine has.
        limit: u64,
    },
    /// The process has as many areas as one may have.
    #[error("more than 65530 areas")]
    TooManyAreas,
    /// Nothing is mapped at the address, or not as far as the call reaches.
    #[error("{0} is not mapped")]
    NotMapped(Address),
    /// A length of 0, an address that is no multiple of a page, or a range past the end of the space.
    #[error("the range at {0} is not one of whole pages")]
    BadRange(Address),
}

/// What [`super::AddressSpace::plan_remap`] found: commit it with [`super::AddressSpace::remap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remap {
    /// Where the mapping was.
    pub old: PageRange,
    /// Where it will be.
    pub new: PageRange,
}

/// A write where no writable page is: the program's bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write to {0}, where nothing writable is mapped")]
pub struct BadWrite(pub Address);
