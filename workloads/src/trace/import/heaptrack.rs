//! heaptrack's files, version 3 (heaptrack 1.4, `libheaptrack.cpp` and `heaptrack_interpret.cpp`).
//!
//! # Rules
//! 1. `heaptrack --raw` writes `+ SIZE TRACE ADDRESS` and `- ADDRESS`. What `heaptrack` writes has no addresses: `a SIZE TRACE` is
//!    a kind of allocation, `+ KIND` makes a block of it and `- KIND` frees one. Which one it does not say: the newest.
//! 2. `c MS` is the time since the start. All numbers are hexadecimal.
//! 3. heaptrack writes a `realloc` as a free and an allocation, `calloc` and `memalign` as allocations, and no threads: so
//!    does the trace.

use std::io::Write;

use super::super::write::{TraceWriter, WriteError};
use super::{Cause, Lines, excerpt, hex};

const NS_PER_MS: u64 = 1_000_000;

/// What interpreted files say of blocks.
#[derive(Default)]
struct Kinds {
    kinds: Vec<Kind>,
    /// Blocks made so far: they stand for addresses.
    blocks: u64,
}

struct Kind {
    bytes: u64,
    live: Vec<u64>,
}

pub(super) fn read<W: Write>(lines: &mut Lines<'_>, trace: &mut TraceWriter<W>) -> Result<(), Cause> {
    check_version(lines.current()?)?;
    trace.at(0, 0);
    let mut kinds = Kinds::default();
    while let Some(line) = lines.next()? {
        let mut words = line.split(' ');
        match words.next() {
            Some("+") => {
                let first = hex(&mut words, "the size")?;
                match words.next() {
                    None => kinds.make(first, line, trace)?,
                    Some(_) => {
                        let address = hex(&mut words, "the address")?;
                        trace.malloc(address, first).map_err(Cause::Write)?;
                    }
                }
            }
            Some("-") => {
                let which = hex(&mut words, "what is freed")?;
                if kinds.kinds.is_empty() {
                    trace.free(which).map_err(Cause::Write)?;
                } else {
                    kinds.free(which, line, trace)?;
                }
            }
            Some("a") => {
                kinds.kinds.push(Kind { bytes: hex(&mut words, "the size")?, live: Vec::new() });
                hex(&mut words, "the trace")?;
            }
            Some("c") => {
                let time_ns = hex(&mut words, "the time")?.saturating_mul(NS_PER_MS);
                trace.at(time_ns, 0);
            }
            // Strings, traces, modules, resident size, command, system, suppressions, comments.
            Some("s" | "t" | "i" | "m" | "R" | "x" | "X" | "I" | "A" | "S" | "#" | "") => continue,
            _ => return Err(Cause::Bad(format!("`{}` is no line of heaptrack", excerpt(line)))),
        }
        if words.next().is_some() {
            return Err(Cause::Bad(format!("`{}` has more than it needs", excerpt(line))));
        }
    }
    Ok(())
}

fn check_version(first: &str) -> Result<(), Cause> {
    let mut words = first.split(' ').skip(1);
    hex(&mut words, "heaptrack's version")?;
    match hex(&mut words, "the file's version")? {
        3 => Ok(()),
        other => Err(Cause::Bad(format!("version {other:x} of heaptrack's files is not known; 3 is (heaptrack 1.4)"))),
    }
}

impl Kinds {
    fn make<W: Write>(&mut self, which: u64, line: &str, trace: &mut TraceWriter<W>) -> Result<(), Cause> {
        self.blocks += 1;
        let block = self.blocks;
        let kind = self.kind(which, line)?;
        kind.live.push(block);
        trace.malloc(block, kind.bytes).map_err(Cause::Write)
    }

    fn free<W: Write>(&mut self, which: u64, line: &str, trace: &mut TraceWriter<W>) -> Result<(), Cause> {
        let newest = self.kind(which, line)?.live.pop();
        let block =
            newest.ok_or_else(|| Cause::Bad(format!("`{}`: all blocks of this kind are free", excerpt(line))))?;
        trace.free(block).map_err(Cause::Write)
    }

    fn kind(&mut self, which: u64, line: &str) -> Result<&mut Kind, Cause> {
        let kind = usize::try_from(which).ok().and_then(|which| self.kinds.get_mut(which));
        kind.ok_or_else(|| Cause::Bad(format!("`{}`: no allocation has number {which}", excerpt(line))))
    }
}

impl From<WriteError> for Cause {
    fn from(error: WriteError) -> Cause {
        Cause::Write(error)
    }
}
