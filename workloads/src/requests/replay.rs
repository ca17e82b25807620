//! Recordings as requests.

use std::path::PathBuf;

use framesim_models::{Nanos, ThreadId, index};
use serde::{Deserialize, Serialize};

use super::{Origin, Request, Timed};
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
    /// Where its reader was last; another's is there when it is told apart by its name or position.
    #[serde(skip)]
    place: u32,
}

impl Progress {
    pub(super) const START: Progress = Progress { records: 0, place: 0 };
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
}

/// The reader of one process.
#[derive(Debug)]
struct Open {
    group: u32,
    origin: Origin,
    reader: ReadAhead,
    has_thread: bool,
}

impl Open {
    fn is_of(&self, group: u32, origin: &Origin) -> bool {
        self.group == group && self.origin == *origin
    }
}

impl Clone for Readers {
    /// A copy opens its own files, when it needs them.
    fn clone(&self) -> Readers {
        Readers::default()
    }
}

impl Readers {
    /// Opens a group's recording. The first of its processes goes on with it.
    pub(super) fn try_open(&mut self, group: u32, replay: &Replay) -> Result<(), TraceError> {
        self.fresh.push((group, TraceReader::open(&replay.file)?));
        Ok(())
    }

    /// The reader of a process, where it is in its recording.
    #[inline]
    fn at(
        &mut self,
        group: u32,
        origin: &Origin,
        progress: &mut Progress,
        replay: &Replay,
    ) -> Result<&mut ReadAhead, TraceError> {
        let place = index(progress.place.into());
        let is_there = self
            .open
            .get(place)
            .and_then(Option::as_ref)
            .is_some_and(|open| open.reader.taken() == progress.records && open.is_of(group, origin));
        if !is_there {
            self.open_at(group, origin, progress, replay)?;
        }
        let open = self.open[index(progress.place.into())].as_mut();
        Ok(&mut open.expect("it is there, or was put there").reader)
    }

    #[cold]
    fn open_at(
        &mut self,
        group: u32,
        origin: &Origin,
        progress: &mut Progress,
        replay: &Replay,
    ) -> Result<(), TraceError> {
        // A copy of the process may have been here, and gone on.
        self.close(group, origin, progress);
        let fresh = self.fresh.iter().position(|&(of, _)| of == group);
        let reader = match fresh {
            Some(fresh) => self.fresh.swap_remove(fresh).1,
            None => TraceReader::open(&replay.file)?,
        };
        let has_thread = self.threads < THREADS_MOST;
        let mut reader = if has_thread { ReadAhead::on_a_thread(reader) } else { ReadAhead::in_place(reader) };
        while reader.taken() < progress.records && reader.next_record()?.is_some() {}
        self.threads += usize::from(has_thread);
        progress.place = self.vacant.pop().unwrap_or_else(|| {
            self.open.push(None);
            u32::try_from(self.open.len() - 1).expect("fewer than 2^32 processes replay at one time")
        });
        self.open[index(progress.place.into())] = Some(Open { group, origin: origin.clone(), reader, has_thread });
        Ok(())
    }

    /// Forgets the reader of a process, if it has one.
    pub(super) fn close(&mut self, group: u32, origin: &Origin, progress: &Progress) {
        let Some(place) = self.open.get_mut(index(progress.place.into())) else { return };
        if let Some(open) = place.take_if(|open| open.is_of(group, origin)) {
            self.threads -= usize::from(open.has_thread);
            self.vacant.push(progress.place);
        }
    }
}

impl Replay {
    pub(super) fn of(recorded: &Recorded, folder: &std::path::Path) -> Replay {
        Replay { file: folder.join(&recorded.file), recorded: recorded.clone() }
    }

    #[inline]
    pub(super) fn next(
        &self,
        progress: &mut Progress,
        group: u32,
        origin: &Origin,
        readers: &mut Readers,
    ) -> Result<Option<Timed>, TraceError> {
        let reader = readers.at(group, origin, progress, self)?;
        let Some(record) = reader.next_record()? else {
            return Ok(None);
        };
        let timed = self.timed(record);
        progress.records = reader.taken();
        Ok(Some(timed))
    }

    #[inline]
    fn timed(&self, record: &Record) -> Timed {
        let gap = match self.recorded.pace {
            Pace::Recorded => Nanos(record.gap_ns),
            Pace::Every(span) => span.nanos(),
        };
        let thread = if self.recorded.one_thread { ThreadId(0) } else { record.thread };
        Timed { gap, thread, request: self.request(record.call) }
    }

    #[inline]
    fn request(&self, call: Call) -> Request {
        let touch = |bytes: u64| self.recorded.touch.of(bytes);
        match call {
            Call::Malloc { slot, bytes } => {
                Request::Malloc { slot: Some(slot), bytes, touch: touch(bytes), life: None }
            }
            Call::Calloc { slot, count, bytes } => {
                Request::Calloc { slot, count, bytes, touch: touch(count.saturating_mul(bytes)) }
            }
            Call::Aligned { slot, align, bytes } => Request::AlignedAlloc { slot, align, bytes, touch: touch(bytes) },
            Call::Realloc { slot, bytes } => Request::Realloc { slot, bytes, touch: touch(bytes) },
            Call::Free { slot } => Request::Free { slot },
        }
    }
}
