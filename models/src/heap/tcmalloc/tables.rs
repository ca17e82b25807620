//! The allocator's own memory (`MetaDataAlloc`): records of spans, thread caches, the page map. Cut from pieces of 8 MiB that
//! come from the kernel between those of the heap, and never given back.

use serde::{Deserialize, Serialize};

use super::system::{System, Use};
use crate::Address;
use crate::heap::{OutOfMemory, SystemMemory};

/// Bytes that the kernel is asked for at once.
const CHUNK_BYTES: u64 = 8 << 20;
/// Bytes that records of one kind take at once.
const POOL_BYTES: u64 = 128 << 10;
/// A leaf of the page map: 2^18 pages, 8 bytes each.
const LEAF_PAGES_SHIFT: u32 = 18;
const LEAF_BYTES: u64 = 8 << LEAF_PAGES_SHIFT;

/// Records of one kind, cut one after the other from pieces of 128 KiB.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Pool {
    record_bytes: u64,
    next: u64,
    left: u64,
}

impl Pool {
    const fn of(record_bytes: u64) -> Pool {
        Pool { record_bytes, next: 0, left: 0 }
    }
}

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A span (`Span`).
    Span,
    /// A member of the sets of long free spans.
    SetNode,
    /// A thread's cache (`ThreadCache`).
    Cache,
    /// The call chain of each growth (`StackTrace`).
    Growth,
}

/// See the [module page](self).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Tables {
    pub system: System,
    next: u64,
    left: u64,
    spans: Pool,
    nodes: Pool,
    caches: Pool,
    growths: Pool,
    /// Members that the sets of long spans had at most.
    nodes_max: u64,
    /// Leaves of the page map, by number.
    leaves: Vec<u64>,
}

impl Tables {
    pub fn new(skip_break: bool) -> Tables {
        Tables {
            system: System::new(skip_break),
            next: 0,
            left: 0,
            spans: Pool::of(48),
            nodes: Pool::of(48),
            caches: Pool::of(4224),
            growths: Pool::of(264),
            nodes_max: 0,
            leaves: Vec::new(),
        }
    }

    /// What the allocator makes for itself in the first call (`InitStaticVars`): a piece for each kind of records.
    pub fn start(&mut self, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        self.spans = self.filled(self.spans, os)?;
        self.growths = self.filled(self.growths, os)?;
        // Records of samples, which this build never makes.
        self.cut(POOL_BYTES, os)?;
        self.caches = self.filled(self.caches, os)?;
        // Two spans are made and never used.
        self.take(Record::Span, os)?;
        self.take(Record::Span, os)
    }

    /// Room for one more record.
    pub fn take(&mut self, record: Record, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        let mut pool = *self.pool(record);
        if pool.left < pool.record_bytes {
            pool = self.filled(pool, os)?;
        }
        os.touch(Address(pool.next), pool.record_bytes);
        pool.next += pool.record_bytes;
        pool.left -= pool.record_bytes;
        *self.pool(record) = pool;
        Ok(())
    }

    /// Room for so many members of the sets of long spans.
    pub fn take_nodes(&mut self, nodes: u64, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        while self.nodes_max < nodes {
            self.take(Record::SetNode, os)?;
            self.nodes_max += 1;
        }
        Ok(())
    }

    /// Leaves of the page map for new pages, and for one before and one behind them.
    pub fn cover(&mut self, first_page: u64, pages: u64, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        let (first, last) = (first_page.saturating_sub(1), first_page + pages);
        for leaf in first >> LEAF_PAGES_SHIFT..=last >> LEAF_PAGES_SHIFT {
            if let Err(place) = self.leaves.binary_search(&leaf) {
                let at = self.cut(LEAF_BYTES, os)?;
                os.touch(Address(at), LEAF_BYTES);
                self.leaves.insert(place, leaf);
            }
        }
        Ok(())
    }

    fn pool(&mut self, record: Record) -> &mut Pool {
        match record {
            Record::Span => &mut self.spans,
            Record::SetNode => &mut self.nodes,
            Record::Cache => &mut self.caches,
            Record::Growth => &mut self.growths,
        }
    }

    fn filled(&mut self, pool: Pool, os: &mut dyn SystemMemory) -> Result<Pool, OutOfMemory> {
        Ok(Pool { next: self.cut(POOL_BYTES, os)?, left: POOL_BYTES, ..pool })
    }

    /// Cuts off the piece at hand; where too little is left of it, that is lost and the kernel gives another.
    fn cut(&mut self, bytes: u64, os: &mut dyn SystemMemory) -> Result<u64, OutOfMemory> {
        if self.left < bytes {
            self.next = self.system.allocate(CHUNK_BYTES, os.page_bytes(), Use::Own, os)?;
            self.left = CHUNK_BYTES;
        }
        let at = self.next;
        self.next += bytes;
        self.left -= bytes;
        Ok(at)
    }
}
