//! Recordings as requests.

use std::collections::BTreeMap;
use std::path::PathBuf;

use framesim_models::{Nanos, ThreadId};
use serde::{Deserialize, Serialize};

use super::{Request, Timed};
use crate::spec::{Pace, Recorded};
use crate::trace::{Call, TraceError, TraceReader};

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
}

impl Progress {
    pub(super) const START: Progress = Progress { records: 0 };
}

/// Readers of the processes that are replaying, by what names a process. Not part of a run's state: one that is not here is
/// opened again and read up to where its process is.
#[derive(Debug, Default)]
pub(super) struct Readers(BTreeMap<(u32, super::Origin), TraceReader>);

impl Clone for Readers {
    /// A copy opens its own files, when it needs them.
    fn clone(&self) -> Readers {
        Readers::default()
    }
}

impl Readers {
    /// The reader of a process that has read `records`.
    fn at(
        &mut self,
        process: &(u32, super::Origin),
        replay: &Replay,
        records: u64,
    ) -> Result<&mut TraceReader, TraceError> {
        let is_there = self.0.get(process).is_some_and(|reader| reader.records() == records);
        if !is_there {
            let mut reader = TraceReader::open(&replay.file)?;
            while reader.records() < records {
                reader.next_record()?;
            }
            self.0.insert(process.clone(), reader);
        }
        Ok(self.0.get_mut(process).expect("put there above"))
    }

    pub(super) fn close(&mut self, process: &(u32, super::Origin)) {
        self.0.remove(process);
    }
}

impl Replay {
    pub(super) fn of(recorded: &Recorded, folder: &std::path::Path) -> Replay {
        Replay { file: folder.join(&recorded.file), recorded: recorded.clone() }
    }

    pub(super) fn next(
        &self,
        progress: &mut Progress,
        process: &(u32, super::Origin),
        readers: &mut Readers,
    ) -> Result<Option<Timed>, TraceError> {
        let reader = readers.at(process, self, progress.records)?;
        let Some(record) = reader.next_record()? else {
            return Ok(None);
        };
        progress.records = reader.records();
        let gap = match self.recorded.pace {
            Pace::Recorded => Nanos(record.gap_ns),
            Pace::Every(span) => span.nanos(),
        };
        let thread = if self.recorded.one_thread { ThreadId(0) } else { record.thread };
        Ok(Some(Timed { gap, thread, request: self.request(record.call) }))
    }

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
