//! Real allocators of this machine, that of the C library and others that are preloaded, played by a small C program:
//! `tests/real/replay.c`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use framesim_models::heap::{HeapAllocator, SystemMemory};
use framesim_models::kernel::AddressSpace;
use framesim_models::{Address, ThreadId, index};

/// A heap call of one thread. Blocks have numbers; a number is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who makes it: 0 is the main thread.
    pub thread: u8,
    /// What is asked.
    pub asks: Asks,
}

/// What a [`Call`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// `malloc(bytes)`.
    Malloc(u32, u64),
    /// `calloc(count, bytes)`.
    Calloc(u32, u64, u64),
    /// `realloc` of the second block, which becomes the first.
    Realloc(u32, u32, u64),
    /// `memalign(align, bytes)`.
    Aligned(u32, u64, u64),
    /// `free`.
    Free(u32),
    /// The thread ends; it makes no call after this one.
    Exit,
}

/// The calls of a heap trace, all by one thread.
///
/// # Panics
/// When it is not one: the data belong to the test.
#[must_use]
pub fn recorded_calls(trace: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    for line in trace.lines() {
        let mut words = line.split_ascii_whitespace();
        let kind = words.next().unwrap_or("#");
        if kind.starts_with(['#', 't', 'x']) {
            continue;
        }
        let mut numbers = words.skip(1).map(|word| word.parse::<u64>().expect("a number"));
        let mut number = || numbers.next().expect("one more number");
        let id = u32::try_from(number()).expect("a block's number");
        let asks = match kind {
            "m" => Asks::Malloc(id, number()),
            "c" => Asks::Calloc(id, number(), number()),
            "r" => Asks::Realloc(id, u32::try_from(number()).expect("a block's number"), number()),
            "a" => Asks::Aligned(id, number(), number()),
            _ => Asks::Free(id),
        };
        calls.push(Call { thread: 0, asks });
    }
    calls
}

/// What came of a call. Sizes of the process are those after every 256th call and the last; 0 in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Where the block is; 0 without one.
    pub at: u64,
    /// Bytes it may use.
    pub usable: u64,
    /// The program break.
    pub brk: u64,
    /// Mapped bytes of the process.
    pub mapped: u64,
    /// Resident bytes of the process.
    pub resident: u64,
}

/// What the real library did.
#[derive(Clone, Debug)]
pub struct RealRun {
    /// Processor time of all calls.
    pub nanos: u64,
    /// The sizes before the first call.
    pub before: Answer,
    /// One for each call.
    pub answers: Vec<Answer>,
    /// The mappings before the first call.
    pub maps: String,
}

/// Calls between two looks at the sizes of the process.
const EVERY: usize = 256;
const WORDS: usize = 5;

/// The C program, built in a folder for temporary files.
#[derive(Debug)]
pub struct RealHeap {
    folder: PathBuf,
    /// The environment of the program: what it preloads, and what the library reads.
    variables: Vec<(String, String)>,
}

/// Where systems keep shared libraries.
const LIBRARY_FOLDERS: [&str; 6] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib", "/lib"];

impl RealHeap {
    /// Builds the program; says why where it cannot, or where the C library is not glibc `version`.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn build(folder: &Path, version: &str) -> Result<RealHeap, String> {
        let found = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
        let found = found.map_err(|_| "the C library does not tell its version".to_owned())?;
        let found = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        if found != format!("glibc {version}") {
            return Err(format!("the C library is `{found}`, not glibc {version}"));
        }
        RealHeap::compile(folder)
    }

    /// Builds the program, to run with a shared library of that file name in the place of the C library's malloc; says why
    /// where it cannot, or where no such library is installed.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn preloading(folder: &Path, library: &str) -> Result<RealHeap, String> {
        let mut paths = LIBRARY_FOLDERS.iter().map(|folder| Path::new(folder).join(library));
        let path = paths.find(|path| path.is_file()).ok_or_else(|| format!("{library} is not installed"))?;
        Ok(RealHeap::compile(folder)?.with("LD_PRELOAD", &path.to_string_lossy()))
    }

    /// The same with a variable in its environment.
    #[must_use]
    pub fn with(mut self, variable: &str, value: &str) -> RealHeap {
        self.variables.push((variable.to_owned(), value.to_owned()));
        self
    }

    fn compile(folder: &Path) -> Result<RealHeap, String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("real/replay.c");
        let built =
            Command::new("cc").args(["-O2", "-o"]).arg(folder.join("replay")).arg(source).arg("-lpthread").status();
        match built {
            Ok(status) if status.success() => Ok(RealHeap { folder: folder.to_owned(), variables: Vec::new() }),
            Ok(status) => Err(format!("the C compiler ended with {status}")),
            Err(_) => Err("there is no C compiler".to_owned()),
        }
    }

    /// Makes the calls with the real malloc, each by its thread.
    ///
    /// # Errors
    /// When the program cannot be run or fails.
    pub fn play(&self, calls: &[Call], threads: u8) -> io::Result<RealRun> {
        let bytes = self.run(calls, threads, &[])?;
        let mut answers: Vec<Answer> = bytes.chunks_exact(WORDS * 8).map(answer).collect();
        let before = answers.remove(0);
        Ok(RealRun { nanos: before.at, before, answers, maps: std::fs::read_to_string(self.folder.join("maps"))? })
    }

    /// Nanoseconds of processor time that the calls take, and the writes to every page of their blocks.
    ///
    /// # Errors
    /// When the program cannot be run or fails.
    pub fn time(&self, calls: &[Call], threads: u8) -> io::Result<u64> {
        let bytes = self.run(calls, threads, &["bare"])?;
        Ok(bytes.chunks_exact(WORDS * 8).map(answer).next().unwrap_or_default().at)
    }

    /// What the program writes about the calls.
    fn run(&self, calls: &[Call], threads: u8, more: &[&str]) -> io::Result<Vec<u8>> {
        let path = |name: &str| self.folder.join(name);
        std::fs::write(path("calls"), calls.iter().flat_map(record).collect::<Vec<u8>>())?;
        let mut program = Command::new(path("replay"));
        program.env_clear().envs(self.variables.iter().map(|(variable, value)| (variable, value)));
        program.arg(path("calls")).arg(threads.to_string()).arg(path("answers")).arg(path("maps")).args(more);
        let ended = program.status()?;
        if !ended.success() {
            return Err(io::Error::other(format!("the replayer ended with {ended}")));
        }
        std::fs::read(path("answers"))
    }
}

/// A call as the C program reads it.
fn record(call: &Call) -> Vec<u8> {
    let (kind, id, old, a, b) = match call.asks {
        Asks::Malloc(id, bytes) => (b'm', id, 0, bytes, 0),
        Asks::Calloc(id, count, bytes) => (b'c', id, 0, count, bytes),
        Asks::Realloc(id, old, bytes) => (b'r', id, old, bytes, 0),
        Asks::Aligned(id, align, bytes) => (b'a', id, 0, align, bytes),
        Asks::Free(id) => (b'f', id, 0, 0, 0),
        Asks::Exit => (b'x', 0, 0, 0, 0),
    };
    let mut record = vec![kind, call.thread, 0, 0, 0, 0, 0, 0];
    for word in [u64::from(id), u64::from(old), a, b] {
        record.extend(word.to_le_bytes());
    }
    record
}

fn answer(bytes: &[u8]) -> Answer {
    let word = |nth: usize| u64::from_le_bytes(bytes[nth * 8..nth * 8 + 8].try_into().expect("8 bytes"));
    Answer { at: word(0), usable: word(1), brk: word(2), mapped: word(3), resident: word(4) }
}

/// Makes the calls with a model, with every page of each block written as the C program does.
pub fn play_model(heap: &mut dyn HeapAllocator, space: &mut AddressSpace, calls: &[Call]) -> Vec<Answer> {
    let mut blocks: Vec<Address> = Vec::new();
    let mut answers = Vec::with_capacity(calls.len());
    for (call, nth) in calls.iter().zip(1..) {
        let block = make(heap, space, &mut blocks, *call);
        let usable = block.and_then(|at| heap.usable_size(at)).unwrap_or(0);
        let mut answer =
            Answer { at: block.unwrap_or_default().0, usable, brk: space.program_break().0, mapped: 0, resident: 0 };
        if nth % EVERY == 0 || nth == calls.len() {
            answer.mapped = space.mapped_pages() * space.page_bytes();
            answer.resident = space.resident_pages() * space.page_bytes();
        }
        answers.push(answer);
    }
    answers
}

fn make(
    heap: &mut dyn HeapAllocator,
    space: &mut AddressSpace,
    blocks: &mut Vec<Address>,
    call: Call,
) -> Option<Address> {
    let thread = ThreadId(call.thread.into());
    let (id, bytes, block) = match call.asks {
        Asks::Malloc(id, bytes) => (id, bytes, heap.malloc(thread, bytes, space).ok()),
        Asks::Calloc(id, count, bytes) => (id, count * bytes, heap.calloc(thread, count, bytes, space).ok()),
        Asks::Aligned(id, align, bytes) => (id, bytes, heap.aligned_alloc(thread, align, bytes, space).ok()),
        Asks::Realloc(id, old, bytes) => {
            let at = std::mem::take(&mut blocks[index(old.into())]);
            let block = match at {
                Address(0) => heap.malloc(thread, bytes, space).ok(),
                at => heap.realloc(thread, at, bytes, space).ok().flatten(),
            };
            (id, bytes, block)
        }
        Asks::Free(id) => {
            let at = std::mem::take(&mut blocks[index(id.into())]);
            if at != Address(0) {
                heap.free(thread, at, space).expect("a block that was handed out and is live");
            }
            return None;
        }
        Asks::Exit => {
            heap.thread_exit(thread, space);
            return None;
        }
    };
    let slot = index(id.into());
    if slot >= blocks.len() {
        blocks.resize(slot + 1, Address(0));
    }
    if let Some(at) = block {
        space.touch(at, bytes);
        blocks[slot] = at;
    }
    block
}
