//! What each thread knows: its number, whether it is inside a call already, and that it will tell its end.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::without_provenance;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::c;
use crate::raw;
use crate::tape::{Call, note};

/// Without destructors: the memory for it comes with the thread, and it can be used to the thread's last call.
struct Thread {
    /// The number plus 1; 0 before the first call.
    number: Cell<u32>,
    is_inside: Cell<bool>,
}

thread_local! {
    static THREAD: Thread = const { Thread { number: Cell::new(0), is_inside: Cell::new(false) } };
}

static THREADS: AtomicU32 = AtomicU32::new(0);

/// The number of this thread, in the order of their first calls.
pub(crate) fn number() -> u32 {
    THREAD.with(|thread| {
        if thread.number.get() == 0 {
            thread.number.set(THREADS.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
            tell_end_in(1);
        }
        thread.number.get().wrapping_sub(1)
    })
}

/// While one lives, further calls of the thread are its callee's, or a signal handler's.
pub(crate) struct Inside(());

impl Inside {
    /// `None` when the thread is inside a call already.
    pub(crate) fn enter() -> Option<Inside> {
        THREAD.with(|thread| if thread.is_inside.replace(true) { None } else { Some(Inside(())) })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        THREAD.with(|thread| thread.is_inside.set(false));
    }
}

/// The key whose destructor tells ends.
static KEY: AtomicU32 = AtomicU32::new(NO_KEY);
const NO_KEY: u32 = u32::MAX;
/// The C library has room in each thread for the data of so many keys; for others it would call `calloc`.
const KEYS_IN_PLACE: u32 = 32;
/// As often it goes over the destructors of a thread that ends, while they leave new data (`PTHREAD_DESTRUCTOR_ITERATIONS`).
const ROUNDS: usize = 4;

/// Makes the key. Only once, before the first record; where there is none, ends are not told.
pub(crate) fn tell_ends() {
    let mut key = NO_KEY;
    // SAFETY: `key` may be written, and `ended` is there as long as this library, which is never unloaded.
    if unsafe { c::pthread_key_create(&raw mut key, ended) } != 0 {
        return;
    }
    if key < KEYS_IN_PLACE {
        KEY.store(key, Ordering::Release);
    } else {
        // SAFETY: made above, and known to nobody else.
        unsafe { c::pthread_key_delete(key) };
    }
}

/// Sees to it that `ended` is called for this thread in that round of destructors, with its number.
fn tell_end_in(round: usize) {
    let key = KEY.load(Ordering::Acquire);
    if key != NO_KEY {
        // SAFETY: the key was made by `tell_ends`; its data is a number, not a pointer.
        unsafe { c::pthread_setspecific(key, without_provenance(round)) };
    }
}

/// A thread ends. The destructors of the program's own data may free blocks: the last round is waited for.
extern "C" fn ended(round: *mut c_void) {
    if round.addr() < ROUNDS {
        return tell_end_in(round.addr() + 1);
    }
    let inside = Inside::enter();
    if inside.is_some() {
        note(Call { kind: raw::THREAD_END, block: 0, size: 0, more: 0 });
    }
}
