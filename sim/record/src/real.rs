//! The functions this library stands in for, and a little memory for the time until they are found.
//!
//! To find them is to call `dlsym`, which in older C libraries calls `calloc`: such calls are served from a small array
//! whose blocks are never given back.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use crate::c;
use crate::thread::Inside;

type Block = *mut c_void;

/// The real functions. Only had once all are found.
#[derive(Clone, Copy)]
pub(crate) struct Real {
    pub(crate) malloc: unsafe extern "C" fn(usize) -> Block,
    pub(crate) calloc: unsafe extern "C" fn(usize, usize) -> Block,
    pub(crate) realloc: unsafe extern "C" fn(Block, usize) -> Block,
    pub(crate) free: unsafe extern "C" fn(Block),
    pub(crate) memalign: unsafe extern "C" fn(usize, usize) -> Block,
    pub(crate) aligned_alloc: unsafe extern "C" fn(usize, usize) -> Block,
    pub(crate) posix_memalign: unsafe extern "C" fn(*mut Block, usize, usize) -> c_int,
    pub(crate) malloc_usable_size: unsafe extern "C" fn(Block) -> usize,
}

const NAMES: [&CStr; 8] = [
    c"malloc",
    c"calloc",
    c"realloc",
    c"free",
    c"memalign",
    c"aligned_alloc",
    c"posix_memalign",
    c"malloc_usable_size",
];

static FOUND: [AtomicPtr<c_void>; 8] = [const { AtomicPtr::new(null_mut()) }; 8];
static STATE: AtomicU32 = AtomicU32::new(NOT_SOUGHT);
const NOT_SOUGHT: u32 = 0;
const SOUGHT: u32 = 1;
const KNOWN: u32 = 2;

impl Real {
    /// `None` while this very thread is looking for them.
    #[inline]
    pub(crate) fn functions() -> Option<Real> {
        if STATE.load(Ordering::Acquire) != KNOWN && !find() {
            return None;
        }
        let found = |index: usize| FOUND[index].load(Ordering::Relaxed);
        // SAFETY: `find` has put there, in the order of NAMES, what the dynamic linker has under these names, which the C
        // standard, POSIX and glibc's malloc.h declare with these types. None is null: `find` saw to that.
        unsafe {
            Some(Real {
                malloc: std::mem::transmute::<Block, unsafe extern "C" fn(usize) -> Block>(found(0)),
                calloc: std::mem::transmute::<Block, unsafe extern "C" fn(usize, usize) -> Block>(found(1)),
                realloc: std::mem::transmute::<Block, unsafe extern "C" fn(Block, usize) -> Block>(found(2)),
                free: std::mem::transmute::<Block, unsafe extern "C" fn(Block)>(found(3)),
                memalign: std::mem::transmute::<Block, unsafe extern "C" fn(usize, usize) -> Block>(found(4)),
                aligned_alloc: std::mem::transmute::<Block, unsafe extern "C" fn(usize, usize) -> Block>(found(5)),
                posix_memalign: std::mem::transmute::<Block, unsafe extern "C" fn(*mut Block, usize, usize) -> c_int>(
                    found(6),
                ),
                malloc_usable_size: std::mem::transmute::<Block, unsafe extern "C" fn(Block) -> usize>(found(7)),
            })
        }
    }
}

/// Looks for the functions, or waits for the thread that does; false when this is the one.
#[cold]
fn find() -> bool {
    let Some(_inside) = Inside::enter() else {
        // Inside a call: `dlsym`'s own while the functions are sought, or one that began when they were known.
        return STATE.load(Ordering::Acquire) == KNOWN;
    };
    if STATE.compare_exchange(NOT_SOUGHT, SOUGHT, Ordering::Acquire, Ordering::Acquire).is_ok() {
        for (name, place) in NAMES.iter().zip(&FOUND) {
            // SAFETY: the name is a C string; RTLD_NEXT is a handle that dlsym knows.
            let function = unsafe { c::dlsym(c::RTLD_NEXT, name.as_ptr()) };
            if function.is_null() {
                // No program can go on without `malloc`, and glibc has all of them.
                // SAFETY: may be called at any time.
                unsafe { c::abort() };
            }
            place.store(function, Ordering::Relaxed);
        }
        STATE.store(KNOWN, Ordering::Release);
    }
    while STATE.load(Ordering::Acquire) != KNOWN {
        // SAFETY: may be called at any time.
        unsafe { c::sched_yield() };
    }
    true
}

const EARLY_BYTES: usize = 16 << 10;
const EARLY_ALIGN: usize = 16;

#[repr(align(4096))]
struct Early(UnsafeCell<[u8; EARLY_BYTES]>);

// SAFETY: the array is only handed out in parts that do not overlap (`EARLY_USED` sees to that) and not read or written here
// but by `early_copy`.
unsafe impl Sync for Early {}

static EARLY: Early = Early(UnsafeCell::new([0; EARLY_BYTES]));
static EARLY_USED: AtomicUsize = AtomicUsize::new(0);

/// Zeroed memory from before the functions were found; null when there is no more of it.
#[cold]
pub(crate) fn early(bytes: usize, align: usize) -> Block {
    let align = align.max(EARLY_ALIGN).checked_next_power_of_two().unwrap_or(EARLY_BYTES);
    let room = bytes.saturating_add(align);
    let used = EARLY_USED.fetch_add(room.min(EARLY_BYTES), Ordering::Relaxed);
    if used.saturating_add(room) > EARLY_BYTES {
        return null_mut();
    }
    let at = EARLY.0.get().cast::<u8>().wrapping_add(used);
    at.wrapping_add(at.addr().wrapping_neg() & (align - 1)).cast()
}

/// Whether a block is from `early`.
#[inline]
pub(crate) fn is_early(block: Block) -> bool {
    block.addr().wrapping_sub(EARLY.0.get().addr()) < EARLY_BYTES
}

/// Bytes from a block of `early` to the end of that memory: all that may be copied from it.
pub(crate) fn early_bytes(block: Block) -> usize {
    EARLY_BYTES.saturating_sub(block.addr().wrapping_sub(EARLY.0.get().addr()))
}
