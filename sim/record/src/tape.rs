//! The raw file of this process: begun with the first call, written record by record, grown chunk by chunk.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::c;
use crate::fork::{self, Parent};
use crate::path::{Folder, Path};
use crate::raw::{self, Chunk};
use crate::thread;

/// One call to be written down.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) kind: u64,
    pub(crate) block: usize,
    pub(crate) size: usize,
    pub(crate) more: usize,
}

static STATE: AtomicU32 = AtomicU32::new(COLD);
/// No call was seen yet, or the C library is not ready.
const COLD: u32 = 0;
/// One thread begins the file.
const STARTING: u32 = 1;
const ON: u32 = 2;
/// This process is not recorded.
const OFF: u32 = 3;
/// No more can be written: calls are counted as lost.
const STOPPED: u32 = 4;

static HEADER: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());
#[expect(clippy::cast_possible_truncation, reason = "some thousand; and this is for 64-bit machines")]
static CHUNKS: [AtomicPtr<AtomicU64>; raw::CHUNKS_MOST as usize] =
    [const { AtomicPtr::new(null_mut()) }; raw::CHUNKS_MOST as usize];
static IS_GROWING: AtomicBool = AtomicBool::new(false);
/// Places taken in the file, as this process knows it: a forked child finds here how many its parent had taken.
static TAKEN: AtomicU64 = AtomicU64::new(0);

static FOLDER: Folder = Folder::new();
static FILE: Path = Path::new();

/// Writes a call down. The thread is inside a call.
#[inline]
pub(crate) fn note(call: Call) {
    match STATE.load(Ordering::Acquire) {
        ON | STOPPED => {}
        OFF => return,
        _ => start(),
    }
    if !fork::is_ours() {
        fork::adopt();
    }
    match STATE.load(Ordering::Acquire) {
        ON => write(call),
        STOPPED => lose(),
        _ => {}
    }
}

fn write(call: Call) {
    let time = c::now_ns();
    let number = header(raw::TAKEN_WORD).fetch_add(1, Ordering::Relaxed);
    TAKEN.store(number.wrapping_add(1), Ordering::Relaxed);
    let Some(record) = place(number) else { return lose() };
    let word = |index: usize| {
        // SAFETY: `place` gives the start of a record's words in a mapping that stays; all access to it is atomic.
        unsafe { &*record.wrapping_add(index) }
    };
    word(1).store(time, Ordering::Relaxed);
    word(2).store(call.block as u64, Ordering::Relaxed);
    word(3).store(call.size as u64, Ordering::Relaxed);
    word(4).store(call.more as u64, Ordering::Relaxed);
    word(0).store(raw::first_word(call.kind, thread::number()), Ordering::Release);
}

#[cold]
fn lose() {
    header(raw::LOST_WORD).fetch_add(1, Ordering::Relaxed);
}

/// A word of the header. Only once there is one.
fn header(word: u64) -> &'static AtomicU64 {
    let words = HEADER.load(Ordering::Acquire);
    // SAFETY: set before the state became ON, to a mapping of HEADER_BYTES that a process unmaps only when it has been
    // forked and no other thread runs yet; all access to it is atomic.
    unsafe { &*words.wrapping_add(index(word)) }
}

fn index(number: u64) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "this is for 64-bit machines")]
    let index = number as usize;
    index
}

/// The words of a record; `None` when the file cannot grow.
#[inline]
fn place(number: u64) -> Option<*mut AtomicU64> {
    if number >= raw::RECORDS_MOST {
        stop(raw::STOP_FULL, 0);
        return None;
    }
    let chunk = raw::chunk_of(number);
    let mut start = CHUNKS.get(index(chunk.number))?.load(Ordering::Acquire);
    if start.is_null() {
        start = grow(chunk)?;
    }
    Some(start.wrapping_add(index((number - chunk.first) * raw::RECORD_WORDS)))
}

/// Maps a chunk, unless another thread just did.
#[cold]
fn grow(chunk: Chunk) -> Option<*mut AtomicU64> {
    let errno = c::errno();
    while IS_GROWING.swap(true, Ordering::Acquire) {
        // SAFETY: may be called at any time.
        unsafe { c::sched_yield() };
    }
    let slot = CHUNKS.get(index(chunk.number))?;
    let mut start = slot.load(Ordering::Acquire);
    if start.is_null() && STATE.load(Ordering::Relaxed) == ON {
        let at = raw::HEADER_BYTES + chunk.first * raw::RECORD_BYTES;
        match map_part(at, chunk.records * raw::RECORD_BYTES) {
            Ok(words) => {
                slot.store(words, Ordering::Release);
                start = words;
            }
            Err(why) => stop(why.0, why.1),
        }
    }
    IS_GROWING.store(false, Ordering::Release);
    c::set_errno(errno);
    (!start.is_null()).then_some(start)
}

/// Why the file could not grow: a `STOP_` number, and the system's.
struct Why(u64, c_int);

/// The file is opened by its path each time: a descriptor that stays open may be closed or replaced by the program.
fn map_part(at: u64, bytes: u64) -> Result<*mut AtomicU64, Why> {
    // SAFETY: the path is a C string.
    let file = unsafe { c::open(FILE.as_c(), c::O_RDWR | c::O_CLOEXEC, 0) };
    if file < 0 {
        return Err(Why(raw::STOP_OPEN, c::errno()));
    }
    let mapped = extend_and_map(file, at, bytes);
    // SAFETY: opened above, and known to nobody else.
    unsafe { c::close(file) };
    mapped
}

fn extend_and_map(file: c_int, at: u64, bytes: u64) -> Result<*mut AtomicU64, Why> {
    reserve(file, at.cast_signed(), bytes).map_err(|error| Why(raw::STOP_GROW, error))?;
    // SAFETY: a new mapping, where the system likes; the part of the file is there.
    let words = unsafe { c::mmap(null_mut(), index(bytes), c::PROT_READ_WRITE, c::MAP_SHARED, file, at.cast_signed()) };
    if words == c::MAP_FAILED { Err(Why(raw::STOP_MAP, c::errno())) } else { Ok(words.cast()) }
}

/// Makes the disk's blocks part of the file: a store to a mapped page without one would end the program when the disk is full.
fn reserve(file: c_int, at: i64, bytes: u64) -> Result<(), c_int> {
    let mut limit = c::Limit { now: u64::MAX, most: u64::MAX };
    // SAFETY: `limit` may be written.
    unsafe { c::getrlimit(c::RLIMIT_FSIZE, &raw mut limit) };
    if at.cast_unsigned().saturating_add(bytes) > limit.now {
        // To try would raise a signal.
        return Err(c::EFBIG);
    }
    loop {
        // SAFETY: touches nothing of this process.
        if unsafe { c::fallocate(file, 0, at, bytes.cast_signed()) } == 0 {
            return Ok(());
        }
        match c::errno() {
            c::EINTR => {}
            c::EOPNOTSUPP => return fill(file, at, bytes),
            error => return Err(error),
        }
    }
}

/// Writes zeros, where a file system cannot reserve.
fn fill(file: c_int, at: i64, bytes: u64) -> Result<(), c_int> {
    static ZEROS: [u8; 4096] = [0; 4096];
    let mut done = 0;
    while done < bytes {
        let count = index((bytes - done).min(4096));
        // SAFETY: ZEROS has at least `count` bytes.
        let written = unsafe { c::pwrite(file, ZEROS.as_ptr().cast(), count, at + done.cast_signed()) };
        match u64::try_from(written) {
            Ok(written) if written > 0 => done += written,
            _ if c::errno() == c::EINTR => {}
            _ => return Err(c::errno()),
        }
    }
    Ok(())
}

/// Writes nothing more, and says why.
#[cold]
fn stop(why: u64, error: c_int) {
    if STATE.compare_exchange(ON, STOPPED, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        header(raw::STOP_ERROR_WORD).store(u64::from(error.unsigned_abs()), Ordering::Relaxed);
        header(raw::STOP_WORD).store(why, Ordering::Relaxed);
    }
}

/// The first call of a process image.
#[cold]
fn start() {
    // SAFETY: a variable of the C library; nobody sets it while the program has one thread.
    if unsafe { c::environ }.is_null() {
        return;
    }
    if STATE.compare_exchange(COLD, STARTING, Ordering::Acquire, Ordering::Acquire).is_err() {
        while STATE.load(Ordering::Acquire) == STARTING {
            // SAFETY: may be called at any time.
            unsafe { c::sched_yield() };
        }
        return;
    }
    let errno = c::errno();
    let folder = variable(c"FRAMESIM_RECORD");
    let is_on = folder.is_some_and(|folder| FOLDER.set(folder) && fork::mark() && begin(Parent::NONE));
    if is_on {
        thread::tell_ends();
    }
    STATE.store(if is_on { ON } else { OFF }, Ordering::Release);
    c::set_errno(errno);
}

/// The value of an environment variable.
fn variable(name: &CStr) -> Option<&'static [u8]> {
    // SAFETY: the name is a C string, and so is the value, which stays while nobody changes the variable: it is read at once.
    unsafe {
        let value: *const c_char = c::getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value).to_bytes())
    }
}

/// Continues in a file of its own after a fork. No other thread runs.
pub(crate) fn begin_again(parent_pid: u64, parent_image: u64) {
    STATE.store(STARTING, Ordering::Release);
    let parent = Parent { pid: parent_pid, image: parent_image, records: TAKEN.swap(0, Ordering::Relaxed) };
    IS_GROWING.store(false, Ordering::Relaxed);
    unmap();
    let is_on = begin(parent);
    STATE.store(if is_on { ON } else { OFF }, Ordering::Release);
}

/// Lets go of the parent's file.
fn unmap() {
    let mut first = 0;
    while first < raw::RECORDS_MOST {
        let chunk = raw::chunk_of(first);
        let start = CHUNKS.get(index(chunk.number)).map_or(null_mut(), |slot| slot.swap(null_mut(), Ordering::Relaxed));
        if !start.is_null() {
            // SAFETY: `grow` mapped as many bytes there; the only thread is here.
            unsafe { c::munmap(start.cast(), index(chunk.records * raw::RECORD_BYTES)) };
        }
        first += chunk.records;
    }
    let words = HEADER.swap(null_mut(), Ordering::Relaxed);
    if !words.is_null() {
        // SAFETY: as above, from `begin`.
        unsafe { c::munmap(words.cast(), index(raw::HEADER_BYTES)) };
    }
}

/// Begins a file for this process; false when it is not to be recorded, or cannot be.
fn begin(parent: Parent) -> bool {
    // SAFETY: may be called at any time.
    let (pid, parent_now) = unsafe { (c::getpid(), c::getppid()) };
    let pid = u64::from(pid.unsigned_abs());
    if let Some(only) = variable(c"FRAMESIM_RECORD_CHILD_OF")
        && (parent.pid != 0 || crate::path::number(only) != u64::from(parent_now.unsigned_abs()))
    {
        mark_as_seen(pid);
        return false;
    }
    for image in 0..1_000_000 {
        FILE.set(&FOLDER, pid, Some(image));
        match create(FILE.as_c()) {
            Ok(file) => {
                let header = extend_and_map(file, 0, raw::HEADER_BYTES);
                // SAFETY: opened by `create`, and known to nobody else.
                unsafe { c::close(file) };
                let Ok(words) = header else { return false };
                HEADER.store(words, Ordering::Release);
                fork::remember(pid, image);
                fill_header(pid, image, parent);
                return true;
            }
            Err(c::EEXIST) => {}
            Err(_) => return false,
        }
    }
    false
}

fn create(path: *const c_char) -> Result<c_int, c_int> {
    // SAFETY: the path is a C string.
    let file = unsafe { c::open(path, c::O_RDWR | c::O_CREAT | c::O_EXCL | c::O_CLOEXEC, 0o600) };
    if file < 0 { Err(c::errno()) } else { Ok(file) }
}

/// Leaves a file that says only that there was such a process.
fn mark_as_seen(pid: u64) {
    FILE.set(&FOLDER, pid, None);
    if let Ok(file) = create(FILE.as_c()) {
        // SAFETY: opened above.
        unsafe { c::close(file) };
    }
}

fn fill_header(pid: u64, image: u64, parent: Parent) {
    let set = |word, value| header(word).store(value, Ordering::Relaxed);
    set(raw::VERSION_WORD, raw::VERSION);
    set(raw::PID_WORD, pid);
    set(raw::IMAGE_WORD, image);
    set(raw::PARENT_WORD, parent.pid);
    set(raw::PARENT_IMAGE_WORD, parent.image);
    set(raw::PARENT_RECORDS_WORD, parent.records);
    set(raw::STARTED_WORD, c::now_ns());
    copy_command_line();
    header(raw::MAGIC_WORD).store(raw::MAGIC, Ordering::Release);
}

fn copy_command_line() {
    let start: *mut c_void = HEADER.load(Ordering::Acquire).cast();
    let to = start.wrapping_byte_add(index(raw::COMMAND_AT));
    // SAFETY: the path is a C string; the header has room for COMMAND_BYTES and one more, and nobody else looks at them.
    unsafe {
        let file = c::open(c"/proc/self/cmdline".as_ptr(), c::O_RDONLY | c::O_CLOEXEC, 0);
        if file >= 0 {
            c::read(file, to, index(raw::COMMAND_BYTES));
            c::close(file);
        }
    }
}
