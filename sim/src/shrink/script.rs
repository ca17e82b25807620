//! Scripts as rows of operations that can be taken out, and back as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use framesim_models::ThreadId;
use framesim_workloads::spec::{Bytes, Count, Does, Step, Workload};
use framesim_workloads::trace::{Call, TraceError, TraceReader};

/// Operations of one workload at most.
const OPERATIONS_MOST: usize = 4_000_000;
const COLUMNS: usize = 88;

/// More operations than can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than 4,000,000 operations cannot be shrunk")]
pub struct TooMany;

/// The operations of all scripts of a workload.
#[derive(Clone, Debug)]
pub struct Operations {
    ops: Vec<Operation>,
}

#[derive(Clone, Debug)]
struct Operation {
    group: usize,
    thread: u64,
    step: Step,
}

/// Operations that go together, by their places.
pub(super) type Parts = Vec<Vec<usize>>;

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thing {
    Frames,
    Block,
    Mapping,
}

/// What a step does to its name.
enum Use<'s> {
    Makes(&'s str, Thing),
    /// Makes a block, or resizes the one there is.
    Resizes(&'s str),
    Needs(&'s str, &'static [Thing]),
    Ends(&'s str, Thing),
    Nothing,
}

fn use_of(step: &Step) -> Use<'_> {
    match step {
        Step::Take(name, _) => Use::Makes(name, Thing::Frames),
        Step::Malloc(name, _) | Step::Calloc(name, ..) | Step::Aligned(name, ..) => Use::Makes(name, Thing::Block),
        Step::Mmap(name, _) => Use::Makes(name, Thing::Mapping),
        Step::Realloc(name, _) => Use::Resizes(name),
        Step::Touch(name) => Use::Needs(name, &[Thing::Block, Thing::Mapping]),
        Step::Dontneed(name) => Use::Needs(name, &[Thing::Mapping]),
        Step::Give(name) => Use::Ends(name, Thing::Frames),
        Step::Free(name) => Use::Ends(name, Thing::Block),
        Step::Munmap(name) => Use::Ends(name, Thing::Mapping),
        Step::Spawn(_) | Step::Sleep(_) | Step::Thread(_) | Step::EndThread(_) | Step::Repeat(..) | Step::Exit => {
            Use::Nothing
        }
    }
}

impl Operations {
    /// The operations of the scripts of a checked workload, repetitions written out.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn of(workload: &Workload) -> Result<Operations, TooMany> {
        let mut operations = Operations { ops: Vec::new() };
        for (group, does) in workload.processes.iter().map(|group| &group.does).enumerate() {
            if let Does::Script(steps) = does {
                operations.write_out(group, steps, &mut 0)?;
            }
        }
        Ok(operations)
    }

    fn write_out(&mut self, group: usize, steps: &[Step], thread: &mut u64) -> Result<(), TooMany> {
        for step in steps {
            match step {
                Step::Thread(number) => *thread = number.0,
                Step::Repeat(times, steps) => {
                    for _ in 0..times.0 {
                        self.write_out(group, steps, thread)?;
                    }
                }
                step => {
                    self.push(Operation { group, thread: *thread, step: step.clone() })?;
                    if matches!(step, Step::EndThread(_)) {
                        *thread = 0;
                    }
                }
            }
        }
        Ok(())
    }

    /// The calls of a recording, as a script of the first process.
    ///
    /// # Errors
    /// When it cannot be read, or is too long.
    pub fn of_trace(reader: &mut TraceReader) -> Result<Result<Operations, TooMany>, TraceError> {
        let mut operations = Operations { ops: Vec::new() };
        while let Some(record) = reader.next_record()? {
            let step = match record.call {
                Call::Malloc { slot, bytes } => Step::Malloc(name(slot.0), Bytes(bytes)),
                Call::Calloc { slot, count, bytes } => Step::Calloc(name(slot.0), Count(count), Bytes(bytes)),
                Call::Aligned { slot, align, bytes } => Step::Aligned(name(slot.0), Bytes(align), Bytes(bytes)),
                Call::Realloc { slot, bytes } => Step::Realloc(name(slot.0), Bytes(bytes)),
                Call::Free { slot } => Step::Free(name(slot.0)),
                Call::ThreadEnd if record.thread == ThreadId(0) => continue,
                Call::ThreadEnd => Step::EndThread(Count(record.thread.0.into())),
            };
            let thread = record.thread.0.into();
            if operations.push(Operation { group: 0, thread, step }).is_err() {
                return Ok(Err(TooMany));
            }
        }
        Ok(Ok(operations))
    }

    fn push(&mut self, operation: Operation) -> Result<(), TooMany> {
        if self.ops.len() == OPERATIONS_MOST {
            return Err(TooMany);
        }
        self.ops.push(operation);
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Each thing that is made, with all that is done to it; each other operation by itself.
    pub(super) fn blocks(&self) -> Parts {
        let mut parts: Parts = Vec::new();
        let mut of_name: BTreeMap<(usize, &str), usize> = BTreeMap::new();
        for (place, op) in self.ops.iter().enumerate() {
            let known = match use_of(&op.step) {
                Use::Makes(name, _) => {
                    of_name.insert((op.group, name), parts.len());
                    None
                }
                Use::Resizes(name) => {
                    let next = parts.len();
                    let part = *of_name.entry((op.group, name)).or_insert(next);
                    (part < next).then_some(part)
                }
                Use::Needs(name, _) => of_name.get(&(op.group, name)).copied(),
                // A `realloc` after it makes a new block.
                Use::Ends(name, _) => of_name.remove(&(op.group, name)),
                Use::Nothing => None,
            };
            match known {
                Some(part) => parts[part].push(place),
                None => parts.push(vec![place]),
            }
        }
        parts
    }

    /// Each operation by itself.
    pub(super) fn singles(&self) -> Parts {
        (0..self.ops.len()).map(|place| vec![place]).collect()
    }

    /// The operations of these parts, without those that make no sense any more.
    pub(super) fn with(&self, parts: &Parts, kept: &[usize]) -> Operations {
        let mut is_kept = vec![false; self.ops.len()];
        for part in kept {
            for place in &parts[*part] {
                is_kept[*place] = true;
            }
        }
        let mut live: BTreeMap<(usize, &str), Thing> = BTreeMap::new();
        let mut ops = Vec::new();
        for (op, _) in self.ops.iter().zip(is_kept).filter(|(_, is_kept)| *is_kept) {
            let makes_sense = match use_of(&op.step) {
                Use::Makes(name, thing) => {
                    live.insert((op.group, name), thing);
                    true
                }
                Use::Resizes(name) => *live.entry((op.group, name)).or_insert(Thing::Block) == Thing::Block,
                Use::Needs(name, things) => live.get(&(op.group, name)).is_some_and(|thing| things.contains(thing)),
                Use::Ends(name, thing) => {
                    let is_live = live.get(&(op.group, name)) == Some(&thing);
                    if is_live {
                        live.remove(&(op.group, name));
                    }
                    is_live
                }
                Use::Nothing => true,
            };
            if makes_sense {
                ops.push(op.clone());
            }
        }
        Operations { ops }
    }

    /// The workload with these operations as its scripts.
    #[must_use]
    pub fn in_workload(&self, workload: &Workload) -> Workload {
        let mut workload = workload.clone();
        for (group, process) in workload.processes.iter_mut().enumerate() {
            if let Does::Script(steps) = &mut process.does {
                *steps = self.steps(group);
            }
        }
        workload
    }

    fn steps(&self, group: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut thread = 0;
        for op in self.ops.iter().filter(|op| op.group == group) {
            // The end of a thread names it, and leaves the steps after it to thread 0.
            let ends = matches!(op.step, Step::EndThread(_));
            if op.thread != thread && !ends {
                thread = op.thread;
                steps.push(Step::Thread(Count(thread)));
            }
            if ends {
                thread = 0;
            }
            steps.push(op.step.clone());
        }
        steps
    }

    /// The script of a process group as RON: `script([take("A", 2), give("A")])`, in lines.
    #[must_use]
    pub fn script(&self, group: usize) -> String {
        const INDENT: &str = "            ";
        let mut text = "script([".to_owned();
        let mut column = COLUMNS;
        for step in self.steps(group) {
            let step = in_ron(&step);
            if column + step.chars().count() + 2 > COLUMNS {
                text.push('\n');
                text.push_str(INDENT);
                column = INDENT.len();
            } else {
                text.push(' ');
                column += 1;
            }
            write!(text, "{step},").expect("a string grows");
            column += step.chars().count() + 1;
        }
        text.push_str("\n        ])");
        text
    }
}

fn name(slot: u32) -> String {
    format!("b{slot}")
}

fn in_ron(step: &Step) -> String {
    match step {
        Step::Take(name, frames) => format!("take({name:?}, {})", frames.0),
        Step::Give(name) => format!("give({name:?})"),
        Step::Malloc(name, bytes) => format!("malloc({name:?}, {})", bytes.0),
        Step::Calloc(name, count, bytes) => format!("calloc({name:?}, {}, {})", count.0, bytes.0),
        Step::Aligned(name, align, bytes) => format!("aligned({name:?}, {}, {})", align.0, bytes.0),
        Step::Realloc(name, bytes) => format!("realloc({name:?}, {})", bytes.0),
        Step::Free(name) => format!("free({name:?})"),
        Step::Touch(name) => format!("touch({name:?})"),
        Step::Mmap(name, bytes) => format!("mmap({name:?}, {})", bytes.0),
        Step::Munmap(name) => format!("munmap({name:?})"),
        Step::Dontneed(name) => format!("dontneed({name:?})"),
        Step::Spawn(group) => format!("spawn({group:?})"),
        Step::Sleep(span) => format!("sleep({})", span.0),
        Step::Thread(number) => format!("thread({})", number.0),
        Step::EndThread(number) => format!("end_thread({})", number.0),
        Step::Repeat(times, steps) => {
            let steps: Vec<String> = steps.iter().map(in_ron).collect();
            format!("repeat({}, [{}])", times.0, steps.join(", "))
        }
        Step::Exit => "exit".to_owned(),
    }
}
