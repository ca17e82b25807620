//! Holds a heap against what the real allocator did on the same calls: every place and usable size, and a series of
//! break, mapped and resident bytes.
//!
//! A case is a heap trace, the places of its blocks (`ID PLACE USABLE`, a line for each call that returns a block) and, where
//! there is one, the series (`op,live,brk,mapped,resident`). What surrounded the allocator is a [`ReplaySetting`].
//! As in the recordings, every page of each block is written as soon as it is there.

mod reading;
mod setting;

pub use setting::{BeforeAsks, BeforeCall, Clock, Each, FirstCall, Places, ReplaySetting, Table, Threads};

use std::fmt;

use framesim_models::heap::{HeapAllocator, HeapFreeError, SystemMemory};
use framesim_models::kernel::AddressSpace;
use framesim_models::{Address, Nanos, ThreadId, index};
use framesim_workloads::requests::Slot;
use framesim_workloads::trace::{Call, Record};

use self::reading::{Place, Recorded, Row, bytes_asked, written};
use self::setting::Counts;
use super::{BadCase, Difference};

/// Rows of a series where none says how many calls a row stands for.
const ROWS: u64 = 200;

/// The texts of a case, unpacked.
#[derive(Clone, Copy, Debug)]
pub struct HeapCase<'a> {
    /// What it is called.
    pub name: &'a str,
    /// The calls: a heap trace, version 1.
    pub trace: &'a str,
    /// Where the blocks were.
    pub places: &'a str,
    /// The rows, if they were recorded.
    pub series: Option<&'a str>,
    /// What was mapped before the first call, if the setting leaves it to the case.
    pub maps: Option<&'a str>,
}

/// How a heap compares with a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapVerdict {
    /// The case.
    pub case: String,
    /// The heap that was played.
    pub model: String,
    /// Calls that were made.
    pub calls: u64,
    /// Blocks that were compared.
    pub blocks: u64,
    /// Of these, the ones at the same place.
    pub places_equal: u64,
    /// Of these, the ones with the same usable size.
    pub usable_equal: u64,
    /// The first call that differs in either.
    pub differs: Option<Difference>,
    /// How the series compares, where there is one.
    pub series: Option<SeriesVerdict>,
}

/// How a heap's series compares with a recorded one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesVerdict {
    /// Rows that were compared.
    pub rows: u64,
    /// Rows whose live bytes, break and mapped bytes are all equal.
    pub rows_equal: u64,
    /// The first row that differs in one of these.
    pub differs: Option<Difference>,
    /// Resident bytes that the recording has more from the first row on that has any: code of the library, which is read
    /// in when it first clears or copies memory. All later rows are held against it.
    pub resident_constant: i64,
    /// Rows whose resident bytes are equal but for that.
    pub resident_equal: u64,
    /// The largest difference of resident bytes, beyond that.
    pub resident_difference: u64,
    /// The first row that differs in resident bytes.
    pub resident_differs: Option<Difference>,
}

impl HeapVerdict {
    /// Whether every place, usable size and row was equal.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.differs.is_none()
            && self.series.as_ref().is_none_or(|series| series.differs.is_none() && series.resident_differs.is_none())
    }
}

impl fmt::Display for HeapVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HeapVerdict { case, model, blocks, places_equal, usable_equal, .. } = self;
        write!(f, "{case} {model}: {places_equal} of {blocks} places equal, {usable_equal} usable sizes")?;
        if let Some(differs) = &self.differs {
            write!(f, "; first difference at {differs}")?;
        }
        let Some(series) = &self.series else { return Ok(()) };
        let SeriesVerdict { rows, rows_equal, resident_constant, resident_equal, resident_difference, .. } = series;
        write!(f, "; {rows_equal} of {rows} rows equal")?;
        write!(f, ", {resident_equal} in resident bytes but for {resident_constant}")?;
        if *resident_difference > 0 {
            write!(f, " (largest difference {resident_difference})")?;
        }
        Ok(())
    }
}

/// Plays a case through `heap`, which must be fresh.
///
/// # Errors
/// [`BadCase`] when a text is not in its format, or when places and calls do not belong together.
pub fn hold(
    case: &HeapCase<'_>,
    model: &str,
    heap: &mut dyn HeapAllocator,
    setting: &ReplaySetting,
) -> Result<HeapVerdict, BadCase> {
    let calls = reading::calls(case.name, case.trace)?;
    let rows = case.series.map(reading::rows).transpose()?.unwrap_or_default();
    let mut space = setting.space(case.maps, heap)?;
    setting.map_tables(&mut space, counts(&calls, &rows))?;
    let mut replay = Replay::new(heap, space, setting);
    let threads = calls.iter().map(|traced| traced.thread.0).max().unwrap_or(0);
    setting.make_first_calls(replay.heap, threads, &mut replay.space)?;
    let mut verdict = HeapVerdict {
        case: case.name.to_owned(),
        model: model.to_owned(),
        calls: 0,
        blocks: 0,
        places_equal: 0,
        usable_equal: 0,
        differs: None,
        series: case.series.map(|_| SeriesVerdict::default()),
    };
    let mut recorded = reading::recorded(case.places);
    let mut rows = rows.iter();
    let mut row = rows.next();
    for traced in &calls {
        let block = replay.make(traced)?;
        verdict.calls += 1;
        if bytes_asked(traced.call).is_some()
            && let Some(recorded) = recorded.next()
        {
            verdict.compare_block(traced, block, recorded?, &mut replay)?;
        }
        if let (Some(due), Some(series)) = (row, &mut verdict.series)
            && due.calls == verdict.calls
        {
            series.compare(due, &replay.row(verdict.calls));
            row = rows.next();
        }
    }
    Ok(verdict)
}

fn counts(calls: &[Record], rows: &[Row]) -> Counts {
    let total = calls.len() as u64;
    let ids = calls.iter().map(|traced| traced.id).max().unwrap_or(0) + 1;
    let every = rows.first().map_or(total.div_ceil(ROWS), |first| first.calls).max(1);
    let blocks = calls.iter().filter(|traced| bytes_asked(traced.call).is_some()).count() as u64;
    Counts { calls: total, ids, blocks, rows: total / every + 2 }
}

/// A block that a call returned: its address and usable bytes.
type Block = (Address, u64);

/// A heap in its setting, with the blocks of the trace.
struct Replay<'a> {
    heap: &'a mut dyn HeapAllocator,
    space: AddressSpace,
    is_one_thread: bool,
    places: Places,
    random_from: Option<u64>,
    /// By slot: address and bytes asked for.
    blocks: Vec<Option<(Address, u64)>>,
    live: u64,
    start_break: u64,
    mapped_before: u64,
    resident_before: u64,
    /// The first block that a recording counts places from.
    first_outside: Option<Address>,
    clock: Option<Clock>,
    now: Nanos,
}

impl<'a> Replay<'a> {
    fn new(heap: &'a mut dyn HeapAllocator, space: AddressSpace, setting: &ReplaySetting) -> Replay<'a> {
        let heap_keeps_time = heap.keeps_time();
        Replay {
            heap,
            is_one_thread: setting.threads == Threads::One,
            places: setting.places,
            random_from: setting.random_within_page_from,
            blocks: Vec::new(),
            live: 0,
            start_break: space.program_break().0,
            mapped_before: space.mapped_pages(),
            resident_before: space.resident_pages(),
            first_outside: None,
            clock: setting.clock.filter(|_| heap_keeps_time),
            now: Nanos(0),
            space,
        }
    }

    /// Makes one call, at its time; the block it returned, if it did.
    fn make(&mut self, traced: &Record) -> Result<Option<Block>, BadCase> {
        let Some(clock) = self.clock else { return self.make_untimed(traced) };
        self.heap.tick(self.now, &mut self.space);
        let before = self.space.resident_pages();
        let made = self.make_untimed(traced);
        let pages = self.space.resident_pages().saturating_sub(before);
        self.now.0 += clock.call_ns + clock.page_ns * pages;
        made
    }

    fn make_untimed(&mut self, traced: &Record) -> Result<Option<Block>, BadCase> {
        let thread = if self.is_one_thread { ThreadId(0) } else { traced.thread };
        let Some(slot) = slot_of(traced.call) else {
            self.end(thread);
            return Ok(None);
        };
        let slot = index(slot.0.into());
        if slot >= self.blocks.len() {
            self.blocks.resize(slot + 1, None);
        }
        let old = self.blocks[slot].take();
        self.live -= old.map_or(0, |(_, bytes)| bytes);
        let (heap, space) = (&mut *self.heap, &mut self.space);
        let answer = match (traced.call, old) {
            (Call::Malloc { bytes, .. }, _) | (Call::Realloc { bytes, .. }, None) => {
                heap.malloc(thread, bytes, space).ok()
            }
            (Call::Calloc { count, bytes, .. }, _) => heap.calloc(thread, count, bytes, space).ok(),
            (Call::Aligned { align, bytes, .. }, _) => heap.aligned_alloc(thread, align, bytes, space).ok(),
            (Call::Realloc { bytes, .. }, Some((at, _))) => heap.realloc(thread, at, bytes, space).ok().flatten(),
            (Call::Free { .. }, None) | (Call::ThreadEnd, _) => None,
            (Call::Free { .. }, Some((at, _))) => {
                let freed = heap.free(thread, at, space);
                freed.map_err(|HeapFreeError(at)| BadCase(format!("the heap lost block {} at {at}", traced.id)))?;
                None
            }
        };
        let (Some(at), Some(bytes)) = (answer, bytes_asked(traced.call)) else { return Ok(None) };
        self.space.touch(at, bytes);
        self.live += bytes;
        self.blocks[slot] = Some((at, bytes));
        let usable = self.heap.usable_size(at).unwrap_or(0);
        Ok(Some((at, usable)))
    }

    /// A thread ends; where all calls are one thread's that one goes on.
    fn end(&mut self, thread: ThreadId) {
        if !self.is_one_thread {
            self.heap.thread_exit(thread, &mut self.space);
        }
    }

    /// Where a block is, as the recording would write it.
    fn place(&mut self, at: Address) -> Place {
        if self.places != Places::Offsets {
            self.first_outside.get_or_insert(at);
            return Place::At(at.0);
        }
        if (self.start_break..self.space.program_break().0).contains(&at.0) {
            return Place::At(at.0 - self.start_break);
        }
        let first = *self.first_outside.get_or_insert(at);
        Place::FromFirst(at.0.wrapping_sub(first.0).cast_signed())
    }

    /// The row of the series now.
    fn row(&self, calls: u64) -> Row {
        let more_bytes =
            |now: u64, before: u64| (now.wrapping_sub(before).wrapping_mul(self.space.page_bytes())).cast_signed();
        Row {
            calls,
            live: self.live,
            brk: self.space.program_break().0 - self.start_break,
            mapped: more_bytes(self.space.mapped_pages(), self.mapped_before),
            resident: more_bytes(self.space.resident_pages(), self.resident_before),
        }
    }
}

/// The block of a call; none for the end of a thread.
const fn slot_of(call: Call) -> Option<Slot> {
    match call {
        Call::Malloc { slot, .. }
        | Call::Calloc { slot, .. }
        | Call::Aligned { slot, .. }
        | Call::Realloc { slot, .. }
        | Call::Free { slot } => Some(slot),
        Call::ThreadEnd => None,
    }
}

impl HeapVerdict {
    fn compare_block(
        &mut self,
        traced: &Record,
        block: Option<Block>,
        recorded: Recorded,
        replay: &mut Replay<'_>,
    ) -> Result<(), BadCase> {
        let id = traced.id;
        if recorded.id != id {
            return Err(BadCase(format!("the places name block {} where the trace has block {id}", recorded.id)));
        }
        self.blocks += 1;
        let found = block.map(|(at, usable)| (replay.place(at), usable));
        let place = found.map(|(place, _)| match recorded.place {
            // A recording that starts at a random address counts from its first block.
            Place::FromFirst(_) if replay.places != Places::Offsets => from_first(place, replay.first_outside),
            _ => place,
        });
        let usable = found.map(|(_, usable)| usable);
        let is_by_page = replay.random_from.is_some_and(|from| recorded.usable >= from);
        let compared = |place: Place| if is_by_page { place.page() } else { place };
        let is_place_equal = place.map(compared) == Some(compared(recorded.place));
        let is_usable_equal = usable == Some(recorded.usable);
        self.places_equal += u64::from(is_place_equal);
        self.usable_equal += u64::from(is_usable_equal);
        if !is_place_equal {
            self.note("place", traced, &recorded.place, place.as_ref());
        } else if !is_usable_equal {
            self.note("usable size", traced, &recorded.usable, usable.as_ref());
        }
        Ok(())
    }

    fn note<T: fmt::Display>(&mut self, field: &'static str, traced: &Record, expected: &T, found: Option<&T>) {
        let operation = self.calls;
        self.differs.get_or_insert_with(|| Difference {
            operation,
            request: written(traced),
            field,
            expected: expected.to_string(),
            found: found.map_or("refused".to_owned(), T::to_string),
        });
    }
}

fn from_first(place: Place, first: Option<Address>) -> Place {
    match (place, first) {
        (Place::At(at), Some(first)) => Place::FromFirst(at.wrapping_sub(first.0).cast_signed()),
        _ => place,
    }
}

impl SeriesVerdict {
    fn compare(&mut self, recorded: &Row, found: &Row) {
        if self.resident_constant == 0 {
            self.resident_constant = recorded.resident - found.resident;
        }
        self.rows += 1;
        let fields = [
            ("live", signed(recorded.live), signed(found.live)),
            ("brk", signed(recorded.brk), signed(found.brk)),
            ("mapped", recorded.mapped, found.mapped),
        ];
        match fields.into_iter().find(|(_, expected, found)| expected != found) {
            None => self.rows_equal += 1,
            Some(field) => note_row(&mut self.differs, found.calls, field),
        }
        let expected = recorded.resident - self.resident_constant;
        if expected == found.resident {
            self.resident_equal += 1;
        } else {
            self.resident_difference = self.resident_difference.max(expected.abs_diff(found.resident));
            note_row(&mut self.resident_differs, found.calls, ("resident", expected, found.resident));
        }
    }
}

fn note_row(differs: &mut Option<Difference>, calls: u64, (field, expected, found): (&'static str, i64, i64)) {
    differs.get_or_insert_with(|| Difference {
        operation: calls,
        request: "row of the series".to_owned(),
        field,
        expected: expected.to_string(),
        found: found.to_string(),
    });
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::At(at) => write!(f, "{at:x}"),
            Place::FromFirst(from) if *from < 0 => write!(f, "M-{:x}", from.unsigned_abs()),
            Place::FromFirst(from) => write!(f, "M{from:x}"),
        }
    }
}
