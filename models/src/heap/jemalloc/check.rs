//! Walks over everything: pieces, free memory, and the check of all invariants.

use super::Jemalloc;
use super::arena::Arena;
use super::classes::{CACHED_CLASSES, PAD_BYTES, PAGE_BYTES, SMALL_CLASSES};
use super::counts::Counts;
use super::extent::{Extent, ExtentId, NONE, State};
use super::page_map::On;
use super::shelf::{Shelf, heap_class};
use crate::heap::{Piece, PieceKind};
use crate::{Address, Violation, ensure, index};

impl Jemalloc {
    /// Every mapping of extents, and every block of tables: start, bytes, whether it is tables.
    fn mappings(&self) -> Vec<(u64, u64, bool)> {
        let extents = self.store.mappings.iter().map(|&(at, bytes)| (at, bytes, false));
        let tables = self.store.metadata.blocks().map(|(at, bytes)| (at, bytes, true));
        let mut all: Vec<_> = extents.chain(tables).collect();
        all.sort_unstable();
        all
    }

    pub(super) fn visit_pieces(&self, visit: &mut dyn FnMut(Piece)) {
        for (at, bytes, is_tables) in self.mappings() {
            if is_tables {
                visit(Piece { at: Address(at), bytes, kind: PieceKind::Overhead });
                continue;
            }
            self.for_each_extent(at, bytes, &mut |id| self.visit_extent(self.store.extent(id), visit));
        }
    }

    /// The extents of a mapping, upwards, as far as the page map leads.
    fn for_each_extent(&self, at: u64, bytes: u64, visit: &mut dyn FnMut(ExtentId)) {
        let mut reached = at;
        while reached < at + bytes {
            let id = self.store.extent_at(reached);
            if id == NONE {
                return;
            }
            visit(id);
            reached = self.store.extent(id).end();
        }
    }

    fn visit_extent(&self, extent: &Extent, visit: &mut dyn FnMut(Piece)) {
        let kind = match extent.state {
            State::Slab(number) => return self.visit_slab(number, visit),
            State::Live => PieceKind::Live { usable: extent.usable() },
            State::Cached => PieceKind::Cached,
            State::Stacks => PieceKind::Overhead,
            State::Dirty | State::Retained | State::Taken | State::Spare => PieceKind::Free,
        };
        visit(Piece { at: Address(extent.base), bytes: extent.bytes, kind });
    }

    fn visit_slab(&self, number: u32, visit: &mut dyn FnMut(Piece)) {
        let slab = &self.store.slabs[index(number.into())];
        let bytes = slab.class().bytes;
        for region in 0..slab.class().regions {
            let kind = if slab.is_live(region) {
                PieceKind::Live { usable: bytes }
            } else if slab.is_unused(region) {
                PieceKind::FreeInPage
            } else {
                PieceKind::Cached
            };
            visit(Piece { at: Address(slab.address(region)), bytes, kind });
        }
    }

    pub(super) fn visit_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        self.visit_pieces(&mut |piece| {
            if matches!(piece.kind, PieceKind::Cached | PieceKind::FreeInPage | PieceKind::Free) {
                visit(piece.at, piece.bytes);
            }
        });
    }

    pub(super) fn check_all(&self) -> Result<(), Violation> {
        self.check_tiling()?;
        self.check_caches()?;
        for arena in self.arenas.iter().flatten() {
            self.check_arena(arena)?;
        }
        ensure(self.due.is_empty() && self.emptied.is_empty(), || "a flush was not finished".to_owned())?;
        let known = Counts { slab_bytes: self.store.slab_bytes, ..self.counts };
        let found = self.counted();
        ensure(found == known, || format!("counted {found:?}, known {known:?}"))
    }

    /// Extents tile each mapping, none is in between two uses, and the page map knows their ends.
    fn check_tiling(&self) -> Result<(), Violation> {
        let mut mapped = 0;
        for &(at, bytes) in &self.store.mappings {
            mapped += bytes;
            let (mut reached, mut last_retained) = (at, false);
            let mut failed = Ok(());
            self.for_each_extent(at, bytes, &mut |id| {
                let extent = self.store.extent(id);
                let checked = self.check_extent(id, extent, reached == at);
                let touching = last_retained && extent.state == State::Retained;
                let apart = ensure(!touching, || format!("two retained extents touch at {:#x}", extent.base));
                if failed.is_ok() {
                    failed = checked.and(apart).and(ensure(extent.base == reached, || {
                        format!("the extent at {reached:#x} starts at {:#x}", extent.base)
                    }));
                }
                (reached, last_retained) = (extent.end(), extent.state == State::Retained);
            });
            failed?;
            ensure(reached == at + bytes, || format!("extents of the mapping at {at:#x} end at {reached:#x}"))?;
        }
        ensure(mapped == self.store.mapped_bytes, || format!("{mapped} bytes in mappings"))
    }

    fn check_extent(&self, id: ExtentId, extent: &Extent, is_first: bool) -> Result<(), Violation> {
        let at = extent.base;
        ensure(extent.is_head == is_first, || format!("extent {at:#x} is head: {}", extent.is_head))?;
        let is_in_use = !matches!(extent.state, State::Spare | State::Taken);
        ensure(is_in_use, || format!("extent {at:#x} is {:?}", extent.state))?;
        let expected = match extent.state {
            State::Slab(number) => On::Slab(number),
            _ => On::Extent(id),
        };
        let ends = [at, extent.end() - PAGE_BYTES];
        ensure(ends.iter().all(|&end| self.store.pages.at(end) == expected), || format!("ends of {at:#x}"))?;
        let inner = if matches!(extent.state, State::Slab(_)) { expected } else { On::Nothing };
        let mut pages = (at + PAGE_BYTES..extent.end().saturating_sub(PAGE_BYTES)).step_by(index(PAGE_BYTES));
        ensure(pages.all(|page| self.store.pages.at(page) == inner), || format!("pages inside extent {at:#x}"))
    }

    /// Cached blocks are neither live nor unused, and in one stack only.
    fn check_caches(&self) -> Result<(), Violation> {
        let mut seen = std::collections::BTreeSet::new();
        for cache in self.threads.iter().filter_map(|thread| thread.cache.as_ref()) {
            for class in 0..CACHED_CLASSES {
                let stack = cache.stacks[class];
                ensure(stack.low <= stack.count && stack.count <= stack.capacity, || format!("stack {stack:?}"))?;
                for &item in cache.items(class) {
                    let is_cached = if class < SMALL_CLASSES {
                        let slab = &self.store.slabs[index(item.owner.into())];
                        usize::from(slab.class) == class && !slab.is_live(item.region) && !slab.is_unused(item.region)
                    } else {
                        self.store.extent(item.owner).state == State::Cached
                    };
                    ensure(is_cached, || format!("{item:?} in a stack of class {class}"))?;
                    let is_large = class >= SMALL_CLASSES;
                    let is_new = seen.insert((is_large, item.owner, item.region));
                    ensure(is_new, || format!("{item:?} is in two stacks"))?;
                }
            }
        }
        Ok(())
    }

    fn check_arena(&self, arena: &Arena) -> Result<(), Violation> {
        for shelf in [&arena.dirty, &arena.retained] {
            self.check_shelf(arena, shelf)?;
        }
        let number = arena.number;
        let threads = self.threads.iter().filter(|thread| thread.cache.is_some() && thread.arena == number).count();
        ensure(threads as u64 == u64::from(arena.threads), || format!("{threads} threads on arena {number}"))?;
        let of_arena = |extent: &&Extent| extent.arena == number && extent.state != State::Spare;
        let records = self.store.extents[1..].iter().filter(of_arena).count() as u64;
        let used = self.store.metadata.records_used(number);
        ensure(records == used, || format!("{records} extents of arena {number}, {used} records in use"))?;
        self.check_bins(arena)
    }

    fn check_shelf(&self, arena: &Arena, shelf: &Shelf) -> Result<(), Violation> {
        let store = &self.store;
        let mut listed: Vec<ExtentId> = shelf.members(store).collect();
        let pages: u64 = listed.iter().map(|&id| store.extent(id).bytes / PAGE_BYTES).sum();
        ensure(pages == shelf.pages, || format!("{pages} pages in a shelf that counts {}", shelf.pages))?;
        let in_heaps = shelf.in_heaps(store);
        let misplaced = in_heaps.iter().find(|&&(class, id)| heap_class(store.extent(id).bytes) != class);
        ensure(misplaced.is_none(), || format!("{misplaced:?} is in another class's heap"))?;
        let mut in_heaps: Vec<ExtentId> = in_heaps.into_iter().map(|(_, id)| id).collect();
        in_heaps.sort_unstable();
        listed.sort_unstable();
        ensure(in_heaps == listed, || "heaps and list of a shelf differ".to_owned())?;
        let is_member = |extent: &Extent| extent.state == shelf.state() && extent.arena == arena.number;
        let expected = store.extents.iter().filter(|extent| is_member(extent)).count();
        ensure(expected == listed.len(), || format!("{expected} extents are {:?}", shelf.state()))
    }

    /// Of each class: the current slab and, in the heap, all others that are not full.
    fn check_bins(&self, arena: &Arena) -> Result<(), Violation> {
        let mut expected = vec![Vec::new(); SMALL_CLASSES];
        for (id, extent) in (0..).zip(&self.store.extents) {
            let State::Slab(number) = extent.state else { continue };
            if extent.arena != arena.number {
                continue;
            }
            let slab = &self.store.slabs[index(number.into())];
            ensure(slab.extent == id, || format!("slab {number} is not that of extent {id}"))?;
            let bin = &arena.bins[usize::from(slab.class)];
            ensure(!slab.is_empty(), || format!("slab {number} is empty"))?;
            if slab.free > 0 && bin.current != Some(number) {
                expected[usize::from(slab.class)].push(id);
            }
        }
        for (bin, expected) in arena.bins.iter().zip(expected) {
            let mut members = bin.others.members(&self.store.extents);
            members.sort_unstable();
            ensure(members == expected, || format!("slabs {members:?} in a bin, {expected:?} are not full"))?;
        }
        Ok(())
    }

    /// The counts, by a walk over all pieces.
    fn counted(&self) -> Counts {
        let mut counts = Counts::default();
        for extent in &self.store.extents {
            match extent.state {
                State::Live => {
                    counts.blocks += 1;
                    counts.large_blocks += 1;
                    counts.large_bytes += extent.bytes - PAD_BYTES;
                }
                State::Cached => counts.cached_extent_bytes += extent.bytes,
                State::Stacks => counts.stacks_bytes += extent.bytes,
                State::Slab(number) => {
                    let slab = &self.store.slabs[index(number.into())];
                    let (bytes, regions) = (slab.class().bytes, slab.class().regions);
                    let live = (0..regions).filter(|&region| slab.is_live(region)).count() as u64;
                    counts.blocks += live;
                    counts.small_bytes += live * bytes;
                    counts.slab_bytes += extent.bytes;
                    counts.taken_bytes += u64::from(regions - slab.free) * bytes;
                }
                State::Spare | State::Taken | State::Dirty | State::Retained => {}
            }
        }
        counts
    }
}
