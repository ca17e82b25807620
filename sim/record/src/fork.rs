//! Whether this process is the one that began the file, or a child that was forked since.
//!
//! A page that the system empties in a forked child (Linux 4.14) tells them apart at the cost of one load, however the child
//! was made: handlers of `pthread_atfork` miss those made by `clone` or `_Fork`. A child that shares its parent's memory
//! sees the page as it is, rightly. Where the system has no such pages, the number of the process tells.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::c;
use crate::tape;

/// Where a forked process comes from.
#[derive(Clone, Copy)]
pub(crate) struct Parent {
    pub(crate) pid: u64,
    pub(crate) image: u64,
    pub(crate) records: u64,
}

impl Parent {
    /// Started by exec.
    pub(crate) const NONE: Parent = Parent { pid: 0, image: 0, records: 0 };
}

static MARK: AtomicPtr<AtomicU32> = AtomicPtr::new(null_mut());
const WIPED: u32 = 0;
const OURS: u32 = 1;
/// A forked child is on its way to a file of its own.
const ADOPTING: u32 = 2;

/// The process that began the file, and which image of it.
static PID: AtomicU64 = AtomicU64::new(0);
static IMAGE: AtomicU64 = AtomicU64::new(0);

const MARK_BYTES: usize = 64 << 10;

/// Makes the page; false when there is no memory for it.
pub(crate) fn mark() -> bool {
    // SAFETY: new memory, where the system likes.
    let page = unsafe { c::mmap(null_mut(), MARK_BYTES, c::PROT_READ_WRITE, c::MAP_PRIVATE | c::MAP_ANONYMOUS, -1, 0) };
    if page == c::MAP_FAILED {
        return false;
    }
    // SAFETY: of memory that was just made.
    if unsafe { c::madvise(page, MARK_BYTES, c::MADV_WIPEONFORK) } == 0 {
        let mark: *mut AtomicU32 = page.cast();
        // SAFETY: the memory is zeroed, aligned, and never given back.
        unsafe { &*mark }.store(OURS, Ordering::Relaxed);
        MARK.store(mark, Ordering::Release);
    }
    true
}

/// Notes whose file it is.
pub(crate) fn remember(pid: u64, image: u64) {
    PID.store(pid, Ordering::Relaxed);
    IMAGE.store(image, Ordering::Relaxed);
}

fn marked() -> Option<&'static AtomicU32> {
    // SAFETY: null, or set by `mark` to memory that stays; all access to it is atomic.
    unsafe { MARK.load(Ordering::Acquire).as_ref() }
}

/// Whether this process began the file that is being written.
#[inline]
pub(crate) fn is_ours() -> bool {
    match marked() {
        Some(mark) => mark.load(Ordering::Acquire) == OURS,
        // SAFETY: may be called at any time.
        None => PID.load(Ordering::Relaxed) == u64::from(unsafe { c::getpid() }.unsigned_abs()),
    }
}

/// In a forked child: continues in a file of its own.
#[cold]
pub(crate) fn adopt() {
    let errno = c::errno();
    let (pid, image) = (PID.load(Ordering::Relaxed), IMAGE.load(Ordering::Relaxed));
    match marked() {
        Some(mark) => {
            if mark.compare_exchange(WIPED, ADOPTING, Ordering::Acquire, Ordering::Acquire).is_ok() {
                tape::begin_again(pid, image);
                mark.store(OURS, Ordering::Release);
            }
            while mark.load(Ordering::Acquire) != OURS {
                // SAFETY: may be called at any time.
                unsafe { c::sched_yield() };
            }
        }
        None => tape::begin_again(pid, image),
    }
    c::set_errno(errno);
}
