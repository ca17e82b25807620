//! The heap map: the memory of one process's heap, one letter for so many bytes, mapping by mapping.
//!
//! It is drawn as the [frame map](super::map): a letter is the sign of what most of its bytes are, in upper case when all of them
//! are, in lower case when they are mixed. A line is a fixed stretch of addresses; lines alike are folded.

use std::fmt::Write as _;

use framesim_models::Pid;
use framesim_models::heap::{Piece, PieceKind};
use framesim_models::kernel::AddressSpace;
use framesim_models::kernel::space::Area;
use serde::Serialize;

use super::map::{self, Holder, LETTERS, Labels};
use super::text::{Bytes, COLUMNS, Count, Seconds, wrapped};
use crate::simulation::{HeapLevels, Simulation};

/// Bytes of a letter at least: the grain of most heaps.
pub const LETTER_BYTES_MIN: u64 = 16;
/// Lines of letters that fit on a screen with their headings.
const LINES: u64 = 22;
/// Mappings that are drawn on one screen; of more the largest are.
const MAPPINGS: usize = 10;
/// Columns of an address.
const ADDRESS_WIDTH: usize = 14;

/// How much is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// At most one screen.
    Screen,
    /// A letter for every 16 bytes, every mapping.
    Full,
}

/// A heap at one moment.
pub struct HeapMap {
    pieces: Vec<Piece>,
    mappings: Vec<Mapping>,
    levels: HeapLevels,
}

/// A mapping that the heap lies in.
#[derive(Serialize)]
struct Mapping {
    start: u64,
    bytes: u64,
    resident_bytes: u64,
    /// Whether it is the memory below the program break.
    is_break: bool,
    /// What it is made of, from its start: a kind's number among the holders, and bytes.
    #[serde(skip)]
    runs: Vec<(usize, u64)>,
}

/// Number of bytes that are not the heap's, among the holders.
const OTHER: usize = 7;

fn holders() -> Vec<Holder> {
    [
        ('.', "free"),
        ('L', "live"),
        ('C', "cached"),
        ('P', "free in page"),
        ('T', "top"),
        ('R', "reserved"),
        ('O', "overhead"),
        ('-', "not the heap's"),
    ]
    .map(|(sign, name)| Holder::new(sign, name))
    .to_vec()
}

fn holder_of(kind: PieceKind) -> usize {
    match kind {
        PieceKind::Free => 0,
        PieceKind::Live { .. } => 1,
        PieceKind::Cached => 2,
        PieceKind::FreeInPage => 3,
        PieceKind::Top => 4,
        PieceKind::Reserved => 5,
        PieceKind::Overhead => 6,
    }
}

impl HeapMap {
    /// Of a process that has called its heap; `None` of any other.
    #[must_use]
    pub fn of(simulation: &Simulation, pid: Pid) -> Option<HeapMap> {
        let (heap, levels) = (simulation.heap(pid)?, simulation.heap_levels(pid)?);
        let mut pieces = Vec::new();
        heap.for_each_piece(&mut |piece| pieces.push(piece));
        let space = simulation.kernel().address_space(pid);
        let mappings = space.map_or_else(Vec::new, |space| mappings(space, &pieces));
        Some(HeapMap { pieces, mappings, levels })
    }

    /// The map with its legend. `who` is whose heap it is, and when.
    #[must_use]
    pub fn text(&self, who: &str, size: Size) -> String {
        let HeapLevels { held_bytes, live_bytes, internal_bytes, external_bytes, resident_bytes, .. } = self.levels;
        let [held, live, internal, external, resident] =
            [held_bytes, live_bytes, internal_bytes, external_bytes, resident_bytes].map(Bytes);
        let mut text = wrapped(who, COLUMNS) + "\n";
        let sums = format!("{held} held: {live} live, {internal} internal, {external} external; {resident} resident");
        text.push_str(&format!("{}\n{}", wrapped(&sums, COLUMNS), self.counts()));
        if self.mappings.is_empty() {
            return text + "\nThe heap holds nothing.\n";
        }
        let shown = self.shown(size);
        let per_letter = per_letter(&shown, size);
        writeln!(text, "one letter = {} bytes, most frequent kind", Count(per_letter)).expect("a string grows");
        let holders = holders();
        let mut seen = vec![false; holders.len()];
        for mapping in &shown {
            text.push_str(&mapping.text(&holders, per_letter, &mut seen));
        }
        text.push_str(&self.left_out(&shown));
        format!("{text}\n{}", map::legend(&holders, &seen, per_letter))
    }

    /// How many pieces there are of each kind.
    fn counts(&self) -> String {
        let counts = PieceKind::ALL.map(|kind| {
            let count = self.pieces.iter().filter(|piece| piece.kind.number() == kind.number()).count();
            (count as u64, kind.name())
        });
        let said =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!("{} {name}", Count(*count)));
        let pieces = if self.pieces.len() == 1 { "piece" } else { "pieces" };
        let count = Count(self.pieces.len() as u64);
        wrapped(&format!("{count} {pieces}: {}", said.collect::<Vec<_>>().join(", ")), COLUMNS) + "\n"
    }

    /// Mappings that are drawn, ascending.
    fn shown(&self, size: Size) -> Vec<&Mapping> {
        let mut shown: Vec<&Mapping> = self.mappings.iter().collect();
        if size == Size::Screen && shown.len() > MAPPINGS {
            shown.sort_by_key(|mapping| std::cmp::Reverse(mapping.bytes));
            shown.truncate(MAPPINGS);
            shown.sort_by_key(|mapping| mapping.start);
        }
        shown
    }

    fn left_out(&self, shown: &[&Mapping]) -> String {
        let left = self.mappings.len() - shown.len();
        if left == 0 {
            return String::new();
        }
        let all: u64 = self.mappings.iter().map(|mapping| mapping.bytes).sum();
        let drawn: u64 = shown.iter().map(|mapping| mapping.bytes).sum();
        format!("and {} smaller mappings of {} together (--full draws all)\n", Count(left as u64), Bytes(all - drawn))
    }
}

/// The mappings that pieces lie in.
fn mappings(space: &AddressSpace, pieces: &[Piece]) -> Vec<Mapping> {
    let heap = space.heap_pages();
    let mut mappings = Vec::new();
    let mut left = pieces;
    for area in space.areas() {
        let (start, end) = (space.address_of(area.pages.start).0, space.address_of(area.pages.end).0);
        let (runs, is_heap) = runs(&mut left, start, end);
        if is_heap {
            let is_break = heap.contains(area.pages.start);
            mappings.push(Mapping { start, bytes: end - start, resident_bytes: resident(space, area), is_break, runs });
        }
    }
    mappings
}

fn resident(space: &AddressSpace, area: &Area) -> u64 {
    space.count_present(area.pages) * space.settings().page_bytes
}

/// What a range of addresses is made of, and whether any of it is the heap's. Pieces that end in it are taken off the list.
fn runs(left: &mut &[Piece], start: u64, end: u64) -> (Vec<(usize, u64)>, bool) {
    let (mut runs, mut reached) = (Vec::new(), start);
    let mut is_heap = false;
    while let Some((piece, rest)) = left.split_first() {
        let (piece_start, piece_end) = (piece.at.0, piece.at.0 + piece.bytes);
        if piece_start >= end {
            break;
        }
        if piece_end > start {
            let (from, to) = (piece_start.max(start), piece_end.min(end));
            add_run(&mut runs, OTHER, from - reached);
            add_run(&mut runs, holder_of(piece.kind), to - from);
            (reached, is_heap) = (to, true);
        }
        if piece_end > end {
            break;
        }
        *left = rest;
    }
    add_run(&mut runs, OTHER, end - reached);
    (runs, is_heap)
}

/// Adds bytes to the last run where that is of the same kind.
fn add_run(runs: &mut Vec<(usize, u64)>, kind: usize, bytes: u64) {
    match runs.last_mut() {
        _ if bytes == 0 => {}
        Some((last, sum)) if *last == kind => *sum += bytes,
        _ => runs.push((kind, bytes)),
    }
}

/// As few bytes a letter as fit the screen.
fn per_letter(shown: &[&Mapping], size: Size) -> u64 {
    let mut bytes = LETTER_BYTES_MIN;
    let drawn = || shown.iter().filter(|mapping| mapping.runs.len() > 1);
    let room = LINES.saturating_sub(shown.len() as u64).max(shown.len() as u64);
    while size == Size::Screen && drawn().map(|mapping| mapping.bytes.div_ceil(bytes * LETTERS)).sum::<u64>() > room {
        bytes *= 2;
    }
    bytes
}

impl Mapping {
    /// Its heading and its lines; one that is all of a kind has no lines.
    fn text(&self, holders: &[Holder], per_letter: u64, seen: &mut [bool]) -> String {
        let Mapping { start, bytes, resident_bytes, is_break, .. } = self;
        let what = if *is_break { "break" } else { "mapping" };
        let mut text =
            format!("\n{start:>ADDRESS_WIDTH$x} {what}, {}, {} resident", Bytes(*bytes), Bytes(*resident_bytes));
        if let [(kind, _)] = self.runs[..] {
            seen[kind] = true;
            writeln!(text, ", all {}", holders[kind].name).expect("a string grows");
            return text;
        }
        text.push('\n');
        let labels = Labels { width: ADDRESS_WIDTH, start: *start, is_address: true };
        let (lines, occur) = map::lines(holders, self.runs.iter().copied(), per_letter, labels);
        seen.iter_mut().zip(occur).for_each(|(seen, occurs)| *seen |= occurs);
        text + &lines
    }
}

/// The map as JSON.
#[derive(Serialize)]
pub struct Document<'a> {
    workload: &'a str,
    heap: &'a str,
    process: &'a str,
    time: u64,
    /// Calls of the heap until then.
    calls: u64,
    levels: &'a HeapLevels,
    mappings: &'a [Mapping],
    pieces: Vec<PieceRow>,
    /// The digest of the run up to this moment.
    digest: String,
}

#[derive(Serialize)]
struct PieceRow {
    at: u64,
    bytes: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    usable: Option<u64>,
}

/// Whose heap, of what run, after how many of its calls.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// The workload's name.
    pub workload: &'a str,
    /// The heap's.
    pub heap: &'a str,
    /// The process's.
    pub process: &'a str,
    /// Calls of the heap.
    pub calls: u64,
}

impl HeapMap {
    /// The document.
    #[must_use]
    pub fn document<'a>(&'a self, whose: Whose<'a>, simulation: &Simulation) -> Document<'a> {
        let row = |piece: &Piece| {
            let usable = if let PieceKind::Live { usable } = piece.kind { Some(usable) } else { None };
            PieceRow { at: piece.at.0, bytes: piece.bytes, kind: piece.kind.name(), usable }
        };
        Document {
            workload: whose.workload,
            heap: whose.heap,
            process: whose.process,
            time: simulation.now().0,
            calls: whose.calls,
            levels: &self.levels,
            mappings: &self.mappings,
            pieces: self.pieces.iter().map(row).collect(),
            digest: simulation.digest().to_string(),
        }
    }
}

impl Whose<'_> {
    /// The first line of a map.
    #[must_use]
    pub fn text(&self, simulation: &Simulation, when: &str) -> String {
        let Whose { workload, heap, process, calls } = self;
        let calls = Count(*calls);
        format!("{workload}: heap of {process}, {heap}, {when} (at {}, after {calls} calls)", Seconds(simulation.now()))
    }
}

#[cfg(test)]
mod tests {
    use framesim_models::Address;

    use super::*;

    fn piece(at: u64, bytes: u64, kind: PieceKind) -> Piece {
        Piece { at: Address(at), bytes, kind }
    }

    #[test]
    fn a_range_is_made_of_pieces_and_of_what_is_not_the_heaps() {
        let pieces = [
            piece(0x1000, 0x100, PieceKind::Live { usable: 0xf0 }),
            piece(0x1100, 0x100, PieceKind::Live { usable: 0xf0 }),
            piece(0x1200, 0x1e00, PieceKind::Reserved),
            piece(0x8000, 0x10, PieceKind::Free),
        ];
        let mut left = &pieces[..];
        assert_eq!(runs(&mut left, 0x1000, 0x2000), (vec![(1, 0x200), (5, 0xe00)], true));
        assert_eq!(runs(&mut left, 0x2000, 0x4000), (vec![(5, 0x1000), (OTHER, 0x1000)], true));
        assert_eq!(runs(&mut left, 0x5000, 0x6000), (vec![(OTHER, 0x1000)], false));
        assert_eq!(runs(&mut left, 0x7000, 0x9000), (vec![(OTHER, 0x1000), (0, 0x10), (OTHER, 0xff0)], true));
    }

    #[test]
    fn every_kind_has_a_sign_of_its_own() {
        let holders = holders();
        for kind in PieceKind::ALL {
            assert_eq!(holders[holder_of(kind)].name, kind.name());
        }
    }
}
