//! The memory of all arenas piece by piece, for maps: a walk over every chunk.

use std::collections::BTreeMap;

use super::arena::Arena;
use super::chunk::{LOST_BYTES, bytes_of};
use super::heaps::HEAP_BYTES;
use super::region::Region;
use super::tcache::Owned;
use super::{Glibc, MAIN};
use crate::Address;
use crate::heap::{Piece, PieceKind};

/// What chunks are that are in use, but not by the program.
type Kept = BTreeMap<Owned, PieceKind>;

impl Glibc {
    /// All pieces: those of each region ascend, regions and mappings come as they are kept.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let kept = self.kept_chunks();
        let mut pieces = Vec::new();
        for (arena, number) in self.arenas.iter().zip(0..) {
            for region in arena.regions.iter() {
                arena.collect_pieces(region, number, &kept, &mut pieces);
            }
        }
        let mapped = self.mapped.iter();
        pieces.extend(mapped.map(|(at, bytes, usable)| Piece { at, bytes, kind: PieceKind::Live { usable } }));
        pieces
    }

    /// Chunks of thread caches and fast bins, and the caches' own tables.
    fn kept_chunks(&self) -> Kept {
        let mut kept = Kept::new();
        for cache in self.threads.iter().filter_map(|thread| thread.cache.as_ref()) {
            kept.insert(cache.table, PieceKind::Overhead);
            kept.extend(cache.iter().map(|(_, chunk)| (chunk, PieceKind::Cached)));
        }
        for (arena, number) in self.arenas.iter().zip(0..) {
            let fast = arena.fast.iter().flatten();
            kept.extend(fast.map(|&chunk| (Owned { arena: number, chunk }, PieceKind::Cached)));
        }
        kept
    }
}

impl Arena {
    fn collect_pieces(&self, region: &Region, number: u32, kept: &Kept, pieces: &mut Vec<Piece>) {
        let end = region.place(region.end());
        let mut reached = region.start;
        let mut show = |bytes: u64, kind: PieceKind| {
            if bytes > 0 {
                pieces.push(Piece { at: Address(reached), bytes, kind });
            }
            reached += bytes;
        };
        show(region.table_bytes, PieceKind::Overhead);
        let mut chunk = region.place(region.start + region.table_bytes);
        while chunk < end && chunk != self.top && !self.is_fence(chunk, end) {
            let header = self.memory.read(chunk.0);
            let bytes = bytes_of(header.units());
            let kind = match kept.get(&Owned { arena: number, chunk }) {
                _ if header.is_live() => PieceKind::Live { usable: bytes - LOST_BYTES },
                Some(&kind) => kind,
                None => PieceKind::Free,
            };
            show(bytes, kind);
            chunk = chunk.above(header.units());
        }
        let kind = if chunk == self.top { PieceKind::Top } else { PieceKind::Overhead };
        show(bytes_of(end.0 - chunk.0), kind);
        if number != MAIN {
            // The rest of a heap is held without rights, or was given up without them.
            show(HEAP_BYTES - region.bytes, PieceKind::Reserved);
        }
    }
}
