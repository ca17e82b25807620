//! The invariants, and the pieces that a map of the heap is made of.

use super::Hoard;
use super::heaps::{Account, GLOBAL};
use super::superblock::{BUFFERED, FULL, HEADER_BYTES, LIVE, LIVE_INSIDE, NO_CLASS, NONE, Superblock};
use crate::heap::{Piece, PieceKind};
use crate::{Address, Violation, ensure, index};

impl Hoard {
    pub(super) fn check_all(&self) -> Result<(), Violation> {
        self.by_start.check()?;
        self.inside.check()?;
        let mut totals = vec![Account::default(); self.heaps.accounts().len()];
        let (mut blocks, mut live_bytes, mut carved) = (0, 0, 0);
        for (_, id) in self.by_start.iter() {
            let superblock = &self.heaps.superblocks[index(id)];
            if superblock.class == NO_CLASS {
                continue;
            }
            let live = self.check_blocks(superblock)?;
            blocks += live;
            live_bytes += live * superblock.block_bytes;
            carved += superblock.held_bytes();
            let total = &mut totals[self.account_of(superblock)];
            total.used += superblock.used_bytes();
            total.held += superblock.held_bytes();
        }
        let counted = (self.counts.blocks, self.counts.live_bytes, self.counts.carved);
        ensure((blocks, live_bytes, carved) == counted, || {
            format!("{blocks} blocks of {live_bytes} bytes in {carved}, counted {counted:?}")
        })?;
        self.check_accounts(&totals)?;
        self.check_groups()
    }

    fn account_of(&self, superblock: &Superblock) -> usize {
        let heap = index(superblock.heap.into());
        if self.rules.has_current() { heap * self.classes.len() + usize::from(superblock.class) } else { heap }
    }

    /// What heaps hold and use is that of their superblocks, and no heap is too empty after a free.
    fn check_accounts(&self, totals: &[Account]) -> Result<(), Violation> {
        let of_global = if self.rules.has_current() { self.classes.len() } else { 1 };
        for (nth, (account, total)) in self.heaps.accounts().iter().zip(totals).enumerate() {
            let Account { used, held, is_settled } = *account;
            ensure((used, held) == (total.used, total.held), || {
                format!("account {nth}: {used} used of {held}, its superblocks {} of {}", total.used, total.held)
            })?;
            let is_too_empty = is_settled && nth >= of_global && self.rules.is_too_empty(used, held);
            ensure(!is_too_empty, || format!("account {nth} uses {used} of {held} after a free: too empty"))?;
        }
        Ok(())
    }

    fn check_groups(&self) -> Result<(), Violation> {
        let mut members = 0;
        for heap in 0..self.heaps.count() {
            for class in 0..u8::try_from(self.classes.len()).expect("fewer than 256 classes") {
                for group in 0..=FULL {
                    let (mut id, mut previous) = (self.heaps.first_of(heap, class, group), NONE);
                    while id != NONE {
                        let superblock = &self.heaps.superblocks[index(id.into())];
                        let is_here = (superblock.heap, superblock.class, superblock.group()) == (heap, class, group);
                        ensure(is_here && superblock.previous == previous, || {
                            format!("superblock {id} in group {group} of class {class}, heap {heap}")
                        })?;
                        ensure(heap != GLOBAL || group > 0, || format!("empty superblock {id} of heap 0 has a class"))?;
                        (previous, id) = (id, superblock.next);
                        members += 1;
                    }
                }
                members += u64::from(self.heaps.current_of(heap, class) != NONE);
            }
        }
        members += self.heaps.empty.len() as u64;
        let all = self.by_start.len();
        ensure(members == all && all == self.counts.superblocks, || {
            format!("{members} of {all} superblocks in a group")
        })
    }

    /// Live blocks of a superblock; each of its blocks is live, in a buffer or on its list.
    fn check_blocks(&self, superblock: &Superblock) -> Result<u64, Violation> {
        let at = superblock.start;
        let is = |marks: &[u16]| superblock.links.iter().filter(|link| marks.contains(link)).count();
        let (live, buffered) = (is(&[LIVE, LIVE_INSIDE]), is(&[BUFFERED]));
        let free = superblock.free_list().count();
        ensure(live + buffered == usize::from(superblock.used), || {
            format!("superblock {at:#x} has {live} live and {buffered} buffered blocks, {} counted", superblock.used)
        })?;
        ensure(live + buffered + free == superblock.links.len(), || format!("superblock {at:#x} lost blocks"))?;
        ensure(superblock.links.len() <= usize::from(superblock.blocks), || format!("superblock {at:#x} is too long"))?;
        Ok(live as u64)
    }

    pub(super) fn visit_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        self.visit_pieces(&mut |piece| {
            if matches!(piece.kind, PieceKind::Free | PieceKind::Cached | PieceKind::FreeInPage) {
                visit(piece.at, piece.bytes);
            }
        });
    }

    pub(super) fn visit_pieces(&self, visit: &mut dyn FnMut(Piece)) {
        let live = self.large.iter().map(|(at, usable)| (at, usable, PieceKind::Live { usable }));
        let kept = self.large.kept().map(|(at, bytes)| (at, bytes, PieceKind::Cached));
        let mut mapped: Vec<(u64, u64, PieceKind)> = live.chain(kept).collect();
        mapped.sort_unstable();
        let mut mapped = mapped.into_iter().map(|(at, bytes, kind)| Piece { at: Address(at), bytes, kind }).peekable();
        for (start, id) in self.by_start.iter() {
            while let Some(piece) = mapped.next_if(|piece| piece.at.0 < start) {
                visit(piece);
            }
            self.visit_superblock(&self.heaps.superblocks[index(id)], visit);
        }
        mapped.for_each(visit);
    }

    fn visit_superblock(&self, superblock: &Superblock, visit: &mut dyn FnMut(Piece)) {
        let end = superblock.start + self.rules.superblock_bytes;
        let mut reached = superblock.start;
        let mut emit = |to: u64, kind| {
            if to > reached {
                visit(Piece { at: Address(reached), bytes: to - reached, kind });
                reached = to;
            }
        };
        emit(superblock.start + HEADER_BYTES, PieceKind::Overhead);
        if superblock.class == NO_CLASS {
            return emit(end, PieceKind::Free);
        }
        for (block, &link) in (0..).zip(&superblock.links) {
            let (at, block_end) = (superblock.address(block).0, superblock.address(block).0 + superblock.block_bytes);
            let kind = match link {
                LIVE => PieceKind::Live { usable: superblock.block_bytes },
                LIVE_INSIDE => PieceKind::Live { usable: block_end - self.inside_of(at, block_end) },
                BUFFERED => PieceKind::Cached,
                _ => PieceKind::FreeInPage,
            };
            emit(block_end, kind);
        }
        emit(superblock.address(superblock.blocks).0, PieceKind::FreeInPage);
        emit(end, PieceKind::Overhead);
    }

    /// Where the program has the block from.
    fn inside_of(&self, at: u64, end: u64) -> u64 {
        let mut places = (at..end).step_by(16).skip(1);
        places.find(|&place| self.inside.get(place).is_some()).expect("an aligned block has its place")
    }
}
