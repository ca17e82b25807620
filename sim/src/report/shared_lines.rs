//! False sharing: cache lines in which two threads of a process have blocks, counted as a run goes on.
//!
//! A block belongs to the thread that asked for it. Groups without threads have none.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use framesim_models::metrics::SharedLines;
use framesim_models::{Address, ThreadId};
use framesim_workloads::requests::{Request, Slot};
use framesim_workloads::spec::Group;
use serde::Serialize;

use super::text::Count;
use crate::simulation::{Call, Happened, Outcome, Simulation};

/// Bytes of a cache line.
const LINE_BYTES: u64 = 64;

/// Follows the blocks of all processes. Shown every event of a run, from its start.
#[derive(Clone, Debug, Default)]
pub struct SharedLinesRecorder {
    /// By the number of the group: lines now, and the most there were.
    groups: BTreeMap<u32, (u64, u64)>,
    processes: BTreeMap<(u32, u32), Blocks>,
}

/// Live blocks of a process.
#[derive(Clone, Debug)]
struct Blocks {
    lines: SharedLines,
    slots: BTreeMap<Slot, Address>,
}

/// Lines that threads of a group's processes share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupLines {
    /// The group.
    pub group: String,
    /// The most at one time.
    pub lines_max: u64,
    /// At the end of the run.
    pub lines_end: u64,
}

impl SharedLinesRecorder {
    /// Takes in an event.
    pub fn see(&mut self, happened: &Happened) {
        let process = (happened.process.group, happened.process.ordinal);
        let before = self.processes.get(&process).map_or(0, |blocks| blocks.lines.shared());
        if matches!(happened.call, Call::Exit(_) | Call::Kill) {
            self.processes.remove(&process);
        } else if happened.call.is_on_heap() {
            self.processes.entry(process).or_default().change(happened);
        }
        let after = self.processes.get(&process).map_or(0, |blocks| blocks.lines.shared());
        let (now, most) = self.groups.entry(process.0).or_default();
        *now = *now + after - before;
        *most = (*most).max(*now);
    }

    /// A count for each group of the workload that ran.
    #[must_use]
    pub fn counts(&self, simulation: &Simulation) -> Vec<GroupLines> {
        let named = (0..).zip(&simulation.setting().workload.processes);
        let counted = |(number, group): (u32, &Group)| {
            let &(lines_end, lines_max) = self.groups.get(&number)?;
            Some(GroupLines { group: group.name.clone(), lines_max, lines_end })
        };
        named.filter_map(counted).collect()
    }
}

/// For a person: a line for each group.
#[must_use]
pub fn text(groups: &[GroupLines]) -> String {
    let mut text = format!("{:44}{:>10}{:>10}\n", "cache lines with blocks of two threads", "most", "end");
    for GroupLines { group, lines_max, lines_end } in groups {
        writeln!(text, "  {group:42}{:>10}{:>10}", Count(*lines_max).to_string(), Count(*lines_end).to_string())
            .expect("a string grows");
    }
    text
}

impl Default for Blocks {
    fn default() -> Blocks {
        Blocks { lines: SharedLines::new(LINE_BYTES), slots: BTreeMap::new() }
    }
}

impl Blocks {
    fn change(&mut self, happened: &Happened) {
        match (happened.call, happened.outcome) {
            (Call::LifeOver { address, .. }, _) => self.lines.remove(address),
            (Call::Request(Request::Free { slot }), _) => self.remove(slot),
            (Call::Request(Request::Realloc { slot, .. }), Outcome::At(at)) => {
                self.remove(slot);
                self.insert(happened.thread, Some(slot), at, happened.call.bytes());
            }
            (Call::Request(request), Outcome::At(at)) => {
                self.insert(happened.thread, slot_of(&request), at, happened.call.bytes());
            }
            _ => {}
        }
    }

    fn insert(&mut self, thread: ThreadId, slot: Option<Slot>, at: Address, bytes: Option<u64>) {
        self.lines.insert(thread, at, bytes.unwrap_or(0).max(1));
        if let Some(slot) = slot {
            self.slots.insert(slot, at);
        }
    }

    fn remove(&mut self, slot: Slot) {
        if let Some(at) = self.slots.remove(&slot) {
            self.lines.remove(at);
        }
    }
}

/// The slot that a new block goes to.
fn slot_of(request: &Request) -> Option<Slot> {
    match *request {
        Request::Malloc { slot, .. } => slot,
        Request::Calloc { slot, .. } | Request::AlignedAlloc { slot, .. } => Some(slot),
        _ => None,
    }
}
