//! The pieces of the memory that the heap holds, ascending.

use super::Tcmalloc;
use super::classes::{CLASSES, Class, PAGE_SHIFT};
use super::objects::{CACHED, LIVE};
use super::span::{Span, State};
use super::system::{Region, Use};
use crate::Address;
use crate::heap::{Piece, PieceKind};

impl Tcmalloc {
    pub(super) fn visit_pieces(&self, visit: &mut dyn FnMut(Piece)) {
        for &Region { start, end, is_for } in self.central.pages.tables.system.regions() {
            match is_for {
                Use::Own => visit(piece(start, end - start, PieceKind::Overhead)),
                Use::Heap => self.visit_spans(start, end, visit),
            }
        }
    }

    pub(super) fn visit_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        self.visit_pieces(&mut |piece| match piece.kind {
            PieceKind::Cached | PieceKind::FreeInPage | PieceKind::Free => visit(piece.at, piece.bytes),
            _ => {}
        });
    }

    fn visit_spans(&self, start: u64, end: u64, visit: &mut dyn FnMut(Piece)) {
        let pages = &self.central.pages;
        let mut at = start;
        while at < end {
            let id = pages.map.get(at >> PAGE_SHIFT).expect("the first page of a span names it");
            let span = pages.spans.get(id);
            let bytes = span.pages << PAGE_SHIFT;
            match (span.state, span.class) {
                (State::InUse, 0) => visit(piece(at, bytes, PieceKind::Live { usable: bytes })),
                (State::InUse, _) => self.visit_objects(span, visit),
                _ => visit(piece(at, bytes, PieceKind::Free)),
            }
            at += bytes;
        }
    }

    fn visit_objects(&self, span: &Span, visit: &mut dyn FnMut(Piece)) {
        let &Class { bytes, objects, .. } = CLASSES.get(span.class);
        let mut at = span.start << PAGE_SHIFT;
        let end = at + (span.pages << PAGE_SHIFT);
        for slot in span.slots..span.slots + objects {
            let kind = match self.central.slots.get(slot) {
                LIVE => PieceKind::Live { usable: bytes },
                CACHED => PieceKind::Cached,
                _ => PieceKind::FreeInPage,
            };
            visit(piece(at, bytes, kind));
            at += bytes;
        }
        if at < end {
            visit(piece(at, end - at, PieceKind::Overhead));
        }
    }
}

fn piece(at: u64, bytes: u64, kind: PieceKind) -> Piece {
    Piece { at: Address(at), bytes, kind }
}
