//! What each thread knows: its number, and whether it is inside a call already.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

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
