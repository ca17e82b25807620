//! Recordings as requests.

use std::path::PathBuf;

use framesim_models::{Nanos, ThreadId, index};
use serde::{Deserialize, Serialize};

use super::{Request, Timed};
use crate::spec::{Pace, Recorded};
use crate::trace::{Call, ReadAhead, Record, TraceError, TraceReader};

/// Recordings that are read on threads of their own at one time; more are read by the simulation itself.
const THREADS_MOST: usize = 4;

/// A recording; all processes of a group replay the same.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    pub(super) file: PathBuf,
    recorded: Recorded,
}

/// How far a process is in its recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    records: u64,
    /// Its reader; not part of the run's state.
    #[serde(skip)]
    reader: ReaderId,
}

/// Names a reader, for as long as it is where it was left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ReaderId {
    place: u32,
    /// Readers that were opened up to this one; 0 for none.
    number: u32,
}

impl Progress {
    pub(super) const START: Progress = Progress { records: 0, reader: ReaderId { place: 0, number: 0 } };
}

/// Readers of the processes that are replaying. Not part of a run's state: one that is not here is opened again and read up
/// to where its process is.
#[derive(Debug, Default)]
pub(super) struct Readers {
    open: Vec<Option<Open>>,
    /// Places of `open` that are free.
    vacant: Vec<u32>,
    /// Recordings that were opened to see whether they are any, by group.
    fresh: Vec<(u32, TraceReader)>,
    /// Readers with a thread of their own.
    threads: usize,
    /// Readers ever opened.
    opened: u32,
}

/// The reader of one process.
#[derive(Debug)]
struct Open {
    number: u32,
    reader: ReadAhead<Timed>,
    has_thread: bool,
}

impl Clone for Readers {
    /// A copy opens its own files, when it needs them; no number of the original names one of them.
    fn clone(&self) -> Readers {
        Readers { opened: self.opened, ..Readers::default() }
    }
}

impl Readers {
    /// Opens a group's recording. The first of its processes goes on with it.
    pub(super) fn try_open(&mut self, group: u32, replay: &Replay) -> Result<(), TraceError> {
        self.fresh.push((group, TraceReader::open(&replay.file)?));
        Ok(())
    }

    /// The reader of a process of `group`, where it is in its recording.
    #[inline]
    fn at(
        &mut self,
        group: u32,
        progress: &mut Progress,
        replay: &Replay,
    ) -> Result<&mut ReadAhead<Timed>, TraceError> {
        let is_there = self
            .open
            .get(index(progress.reader.place.into()))
            .and_then(Option::as_ref)
            .is_some_and(|open| open.number == progress.reader.number && open.reader.taken() == progress.records);
        if !is_there {
            self.open_at(group, progress, replay)?;
        }
        let open = self.open[index(progress.reader.place.into())].as_mut();
        Ok(&mut open.expect("it is there, or was put there").reader)
    }

    #[cold]
    fn open_at(&mut self, group: u32, progress: &mut Progress, replay: &Replay) -> Result<(), TraceError> {
        // A copy of the process may have been here, and gone on.
        self.close(progress);
        let fresh = self.fresh.iter().position(|&(of, _)| of == group);
        let reader = match fresh {
            Some(fresh) => self.fresh.swap_remove(fresh).1,
            None => TraceReader::open(&replay.file)?,
        };
        let has_thread = self.threads < THREADS_MOST;
        let recorded = replay.recorded.clone();
        let timed = move |record: &Record| timed(&recorded, record);
        let mut reader =
            if has_thread { ReadAhead::on_a_thread(reader, timed) } else { ReadAhead::in_place(reader, timed) };
        while reader.taken() < progress.records && reader.next_record()?.is_some() {}
        self.threads += usize::from(has_thread);
        self.opened += 1;
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.open.push(None);
            u32::try_from(self.open.len() - 1).expect("fewer than 2^32 processes replay at one time")
        });
        progress.reader = ReaderId { place, number: self.opened };
        self.open[index(place.into())] = Some(Open { number: self.opened, reader, has_thread });
        Ok(())
    }

    /// Forgets the reader of a process, if it has one.
    pub(super) fn close(&mut self, progress: &Progress) {
        let ReaderId { place, number } = progress.reader;
        let Some(open) = self.open.get_mut(index(place.into())) else { return };
        if let Some(open) = open.take_if(|open| open.number == number) {
            self.threads -= usize::from(open.has_thread);
            self.vacant.push(place);
        }
    }
}

impl Replay {
    pub(super) fn of(recorded: &Recorded, folder: &std::path::Path) -> Replay {
        Replay { file: folder.join(&recorded.file), recorded: recorded.clone() }
    }

    #[inline]
    pub(super) fn next<'r>(
        &self,
        progress: &mut Progress,
        group: u32,
        readers: &'r mut Readers,
    ) -> Result<Option<&'r Timed>, TraceError> {
        let timed = readers.at(group, progress, self)?.next_record()?;
        progress.records += u64::from(timed.is_some());
        Ok(timed)
    }
}

/// A recorded call as a request.
fn timed(recorded: &Recorded, record: &Record) -> Timed {
    let gap = match recorded.pace {
        Pace::Recorded => Nanos(record.gap_ns),
        Pace::Every(span) => span.nanos(),
    };
    let thread = if recorded.one_thread { ThreadId(0) } else { record.thread };
    Timed { gap, thread, request: request(recorded, record.call) }
}

fn request(recorded: &Recorded, call: Call) -> Request {
    let touch = |bytes: u64| recorded.touch.of(bytes);
    match call {
        Call::Malloc { slot, bytes } => {
            Request::Malloc { slot: Some(slot), bytes, touch: touch(bytes), life: None, freed_by: ThreadId(0) }
        }
        Call::Calloc { slot, count, bytes } => {
            Request::Calloc { slot, count, bytes, touch: touch(count.saturating_mul(bytes)) }
        }
        Call::Aligned { slot, align, bytes } => Request::AlignedAlloc { slot, align, bytes, touch: touch(bytes) },
        Call::Realloc { slot, bytes } => Request::Realloc { slot, bytes, touch: touch(bytes) },
        Call::Free { slot } => Request::Free { slot },
        Call::ThreadEnd => Request::EndThread,
    }
}
