//! One area of an address space, and when two of them become one.

use serde::{Deserialize, Serialize};

use crate::heap::Access;

/// Pages `start..end` of one address space, by page number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PageRange {
    /// The first page.
    pub start: u64,
    /// The page after the last.
    pub end: u64,
}

impl PageRange {
    /// The pages from `start` up to, but without, `end`.
    #[must_use]
    pub const fn new(start: u64, end: u64) -> PageRange {
        PageRange { start, end }
    }

    /// How many pages.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// Whether `page` is one of them.
    #[must_use]
    pub const fn contains(self, page: u64) -> bool {
        self.start <= page && page < self.end
    }

    /// The pages that are in both.
    #[must_use]
    pub fn intersect(self, other: PageRange) -> PageRange {
        PageRange::new(self.start.max(other.start), self.end.min(other.end))
    }
}

/// Rights and other marks of an [`Area`]; two areas join only if all are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AreaFlags(u16);

impl AreaFlags {
    /// No rights, private, no marks.
    pub const NONE: AreaFlags = AreaFlags(0);
    /// May be read.
    pub const READ: AreaFlags = AreaFlags(1);
    /// May be written.
    pub const WRITE: AreaFlags = AreaFlags(2);
    /// May be executed.
    pub const EXECUTE: AreaFlags = AreaFlags(4);
    /// Writes are seen by all who map it (`MAP_SHARED`).
    pub const SHARED: AreaFlags = AreaFlags(8);
    /// A stack: a fault below it makes it longer (`MAP_GROWSDOWN`).
    pub const GROWS_DOWN: AreaFlags = AreaFlags(16);
    /// Its pages are promised (smaps: `ac`).
    pub const ACCOUNTED: AreaFlags = AreaFlags(32);
    /// Mapped with `MAP_NORESERVE` (smaps: `nr`).
    pub const NO_RESERVE: AreaFlags = AreaFlags(64);
    /// No huge pages: `MAP_STACK` and `MADV_NOHUGEPAGE` (smaps: `nh`).
    pub const NO_HUGE: AreaFlags = AreaFlags(128);
    /// Huge pages are welcome: `MADV_HUGEPAGE` (smaps: `hg`).
    pub const HUGE: AreaFlags = AreaFlags(256);
    /// Read at random: `MADV_RANDOM` (smaps: `rr`).
    pub const RANDOM: AreaFlags = AreaFlags(512);
    /// Read in order: `MADV_SEQUENTIAL` (smaps: `sr`).
    pub const SEQUENTIAL: AreaFlags = AreaFlags(1024);
    /// Not given to the child of a fork: `MADV_DONTFORK` (smaps: `dc`).
    pub const NO_FORK: AreaFlags = AreaFlags(2048);
    /// Not in a core file: `MADV_DONTDUMP` (smaps: `dd`).
    pub const NO_DUMP: AreaFlags = AreaFlags(4096);
    /// Kept in memory: `mlock` (smaps: `lo`).
    pub const LOCKED: AreaFlags = AreaFlags(8192);
    /// A stack of a thread: `MAP_STACK`. Linux keeps no mark of its own; here it says what the frames are used for.
    pub const THREAD_STACK: AreaFlags = AreaFlags(16384);
    /// The three rights.
    pub const RIGHTS: AreaFlags = AreaFlags(7);

    /// Whether all of `others` are set.
    #[must_use]
    pub const fn has(self, others: AreaFlags) -> bool {
        self.0 & others.0 == others.0
    }

    /// These and `others`.
    #[must_use]
    pub const fn with(self, others: AreaFlags) -> AreaFlags {
        AreaFlags(self.0 | others.0)
    }

    /// These without `others`.
    #[must_use]
    pub const fn without(self, others: AreaFlags) -> AreaFlags {
        AreaFlags(self.0 & !others.0)
    }

    /// Private memory that is accounted when it can be written.
    #[must_use]
    pub(crate) const fn is_private_writable(self) -> bool {
        self.has(AreaFlags::WRITE) && !self.has(AreaFlags::SHARED)
    }
}

impl From<Access> for AreaFlags {
    fn from(access: Access) -> AreaFlags {
        match access {
            Access::None => AreaFlags::NONE,
            Access::Read => AreaFlags::READ,
            Access::ReadWrite => AreaFlags::READ.with(AreaFlags::WRITE),
            Access::ReadExecute => AreaFlags::READ.with(AreaFlags::EXECUTE),
        }
    }
}

/// Where an area's first content comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Backing {
    /// Zeros.
    #[default]
    Anonymous,
    /// A file on a file system that likes huge pages (ext4), by a number of the caller's.
    File(u32),
    /// A piece of shared memory, by a number of the caller's.
    SharedMemory(u32),
}

/// A stretch of an address space with one set of rights: Linux's `vm_area_struct`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// Which pages.
    pub pages: PageRange,
    /// Rights and marks.
    pub flags: AreaFlags,
    /// What backs it.
    pub backing: Backing,
    /// The first page's place in the file, in pages. Anonymous areas have one too: the page number where they were first
    /// mapped, which they keep when they move after a write.
    pub offset: u64,
    /// Which private pages it can hold (Linux: `anon_vma`); 0 before the first write, [`Area::INHERITED`] set after a fork.
    pub group: u32,
}

impl Area {
    /// Mark of a group that has parents: one that a fork made.
    pub const INHERITED: u32 = 1 << 31;

    /// A private area of zeros at `pages` that nobody has written yet.
    #[must_use]
    pub fn anonymous(pages: PageRange, flags: AreaFlags) -> Area {
        Area { pages, flags, backing: Backing::Anonymous, offset: pages.start, group: 0 }
    }

    /// The part of it in `pages`, which lie inside.
    #[must_use]
    pub(crate) fn part(&self, pages: PageRange) -> Area {
        Area { pages, offset: self.offset + (pages.start - self.pages.start), ..*self }
    }

    /// First page that another area may take below it keeps away from: a stack needs room to grow.
    #[must_use]
    pub(crate) fn guarded_start(&self, guard_pages: u64) -> u64 {
        let guard = if self.flags.has(AreaFlags::GROWS_DOWN) { guard_pages } else { 0 };
        self.pages.start.saturating_sub(guard)
    }

    /// Whether `above`, which starts where this one ends, continues it in all but the anon group.
    fn continues_into(&self, above: &Area) -> bool {
        self.pages.end == above.pages.start
            && self.flags == above.flags
            && self.backing == above.backing
            && self.offset + self.pages.len() == above.offset
    }

    /// Whether `above` can be joined to this one.
    #[must_use]
    pub(crate) fn joins(&self, above: &Area) -> bool {
        self.continues_into(above) && groups_agree(self.group, above.group)
    }

    /// Whether this area's first write may use the group of `above` (or the other way round): only the rights differ.
    #[must_use]
    pub(crate) fn lends_group(&self, above: &Area) -> bool {
        let rights_aside = |area: &Area| area.flags.without(AreaFlags::RIGHTS.with(AreaFlags::ACCOUNTED));
        let is_own = |area: &Area| area.group & Area::INHERITED == 0;
        (is_own(self) && is_own(above))
            && self.pages.end == above.pages.start
            && rights_aside(self) == rights_aside(above)
            && self.backing == above.backing
            && self.offset + self.pages.len() == above.offset
    }
}

/// Two areas can share one group of private pages: both have the same, or one has none yet and the other's has no parents.
pub(crate) const fn groups_agree(one: u32, other: u32) -> bool {
    one == other || (one == 0 && other & Area::INHERITED == 0) || (other == 0 && one & Area::INHERITED == 0)
}
