//! Scripts made ready to run: names are slots, a repetition is a jump back.

use std::collections::BTreeMap;

use framesim_models::{Nanos, ThreadId};
use serde::{Deserialize, Serialize};

use super::{Request, Slot, Timed};
use crate::spec::{Count, Group, Step};

/// A script's steps in a row; all processes of a group share it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Script {
    ops: Vec<Op>,
    /// Names by slot.
    pub(super) names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Ask(Request),
    Sleep(Nanos),
    Thread(ThreadId),
    EndThread(ThreadId),
    /// The operations up to the matching `Again` are done this often.
    Repeat(u64),
    /// Back to the operation behind the matching `Repeat`, when rounds are left.
    Again(u32),
}

/// How far a process is in its script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    next: u32,
    thread: ThreadId,
    /// Rounds left of each repetition it is in, this one included.
    #[expect(clippy::box_collection, reason = "8 bytes in a million processes that repeat nothing instead of 24")]
    rounds: Option<Box<Vec<u64>>>,
}

impl Progress {
    pub(super) const START: Progress = Progress { next: 0, thread: ThreadId(0), rounds: None };
}

impl Script {
    /// The steps of a group of `groups`, all checked.
    pub(super) fn of(steps: &[Step], groups: &[Group]) -> Script {
        let mut compiler = Compiler { ops: Vec::new(), slots: BTreeMap::new(), names: Vec::new(), groups };
        compiler.steps(steps);
        Script { ops: compiler.ops, names: compiler.names }
    }

    pub(super) fn next(&self, progress: &mut Progress) -> Timed {
        loop {
            let ask = |gap, request| Timed { gap, thread: progress.thread, request };
            let Some(op) = self.ops.get(at(progress.next)) else {
                return ask(Nanos(0), Request::Exit);
            };
            progress.next += 1;
            match *op {
                Op::Ask(Request::Exit) => {
                    progress.next = length(&self.ops);
                    return ask(Nanos(0), Request::Exit);
                }
                Op::Ask(request) => return ask(Nanos(0), request),
                Op::Sleep(span) => return ask(span, Request::Sleep),
                Op::Thread(thread) => progress.thread = thread,
                Op::EndThread(thread) => {
                    progress.thread = ThreadId(0);
                    return Timed { gap: Nanos(0), thread, request: Request::EndThread };
                }
                Op::Repeat(rounds) => progress.rounds.get_or_insert_default().push(rounds),
                Op::Again(start) => {
                    let rounds = progress.rounds.get_or_insert_default();
                    let left = rounds.last_mut().expect("a round ends in the repetition it began in");
                    *left -= 1;
                    if *left > 0 {
                        progress.next = start;
                    } else {
                        rounds.pop();
                    }
                }
            }
        }
    }
}

fn at(op: u32) -> usize {
    framesim_models::index(u64::from(op))
}

fn length(ops: &[Op]) -> u32 {
    u32::try_from(ops.len()).expect("a script of a file of 16 MiB has fewer than 2^32 steps")
}

fn thread_of(number: Count) -> ThreadId {
    ThreadId(u32::try_from(number.0).expect("checked: few threads"))
}

struct Compiler<'s> {
    ops: Vec<Op>,
    slots: BTreeMap<&'s str, Slot>,
    names: Vec<String>,
    groups: &'s [Group],
}

impl<'s> Compiler<'s> {
    fn steps(&mut self, steps: &'s [Step]) {
        for step in steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &'s Step) {
        let op = match step {
            Step::Repeat(times, steps) => {
                self.ops.push(Op::Repeat(times.0));
                let start = length(&self.ops);
                self.steps(steps);
                Op::Again(start)
            }
            Step::Sleep(span) => Op::Sleep(span.nanos()),
            Step::Thread(thread) => Op::Thread(thread_of(*thread)),
            Step::EndThread(thread) => Op::EndThread(thread_of(*thread)),
            asks => Op::Ask(self.request(asks)),
        };
        self.ops.push(op);
    }

    fn request(&mut self, step: &'s Step) -> Request {
        match step {
            Step::Take(name, frames) => Request::Take { slot: self.slot(name), frames: frames.0 },
            Step::Give(name) => Request::Give { slot: self.slot(name) },
            Step::Malloc(name, bytes) => Request::Malloc {
                slot: Some(self.slot(name)),
                bytes: bytes.0,
                touch: 0,
                life: None,
                freed_by: ThreadId(0),
            },
            Step::Calloc(name, count, bytes) => {
                Request::Calloc { slot: self.slot(name), count: count.0, bytes: bytes.0, touch: 0 }
            }
            Step::Aligned(name, align, bytes) => {
                Request::AlignedAlloc { slot: self.slot(name), align: align.0, bytes: bytes.0, touch: 0 }
            }
            Step::Realloc(name, bytes) => Request::Realloc { slot: self.slot(name), bytes: bytes.0, touch: 0 },
            Step::Free(name) => Request::Free { slot: self.slot(name) },
            Step::Touch(name) => Request::Touch { slot: self.slot(name) },
            Step::Mmap(name, bytes) => Request::Mmap { slot: self.slot(name), bytes: bytes.0 },
            Step::Munmap(name) => Request::Munmap { slot: self.slot(name) },
            Step::Dontneed(name) => Request::DontNeed { slot: self.slot(name) },
            Step::Spawn(name) => Request::Spawn { group: self.group(name) },
            Step::Exit => Request::Exit,
            Step::Sleep(_) | Step::Thread(_) | Step::EndThread(_) | Step::Repeat(..) => {
                unreachable!("these are no requests")
            }
        }
    }

    fn slot(&mut self, name: &'s str) -> Slot {
        let new = Slot(u32::try_from(self.names.len()).expect("a file of 16 MiB has fewer than 2^32 names"));
        let slot = *self.slots.entry(name).or_insert(new);
        if slot == new {
            self.names.push(name.to_owned());
        }
        slot
    }

    fn group(&self, name: &str) -> u32 {
        let place = self.groups.iter().position(|group| group.name == name).expect("checked: a spawned group exists");
        u32::try_from(place).expect("a file of 16 MiB has fewer than 2^32 groups")
    }
}
