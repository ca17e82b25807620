//! `malloc` and its kin: each calls the real one and has it written down.

use std::ffi::{c_int, c_void};
use std::ptr::{copy_nonoverlapping, null_mut};

use crate::c;
use crate::raw;
use crate::real::{Real, early, early_bytes, is_early};
use crate::tape::{Call, note};
use crate::thread::Inside;

type Block = *mut c_void;

/// A call that gives a block: made by `make`, and written down after it unless it is inside another call.
#[inline]
fn given(kind: u64, size: usize, more: usize, make: impl FnOnce() -> Block) -> Block {
    let inside = Inside::enter();
    let block = make();
    if inside.is_some() {
        note(Call { kind, block: block.addr(), size, more });
    }
    block
}

/// # Safety
/// As C's `malloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc(size: usize) -> Block {
    let Some(real) = Real::functions() else { return early(size, 1) };
    // SAFETY: called as this function was.
    given(raw::MALLOC, size, 0, || unsafe { (real.malloc)(size) })
}

/// # Safety
/// As C's `calloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn calloc(count: usize, size: usize) -> Block {
    let Some(real) = Real::functions() else { return early(count.saturating_mul(size), 1) };
    // SAFETY: called as this function was.
    given(raw::CALLOC, size, count, || unsafe { (real.calloc)(count, size) })
}

/// # Safety
/// As C's `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(block: Block) {
    if block.is_null() || is_early(block) {
        return;
    }
    let Some(real) = Real::functions() else { return };
    let inside = Inside::enter();
    if inside.is_some() {
        note(Call { kind: raw::FREE, block: block.addr(), size: 0, more: 0 });
    }
    // SAFETY: called as this function was.
    unsafe { (real.free)(block) }
}

/// # Safety
/// As C's `realloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(block: Block, size: usize) -> Block {
    if block.is_null() {
        // SAFETY: the same by definition; any size may be asked for.
        return unsafe { malloc(size) };
    }
    let Some(real) = Real::functions() else {
        return early_copy(block, size, early(size, 1));
    };
    if is_early(block) {
        // SAFETY: any size may be asked for.
        return early_copy(block, size, unsafe { malloc(size) });
    }
    let inside = Inside::enter();
    if inside.is_some() {
        note(Call { kind: raw::REALLOC, block: block.addr(), size, more: 0 });
    }
    let old = block.addr();
    // SAFETY: called as this function was.
    let block = unsafe { (real.realloc)(block, size) };
    if inside.is_some() {
        note(Call { kind: raw::REALLOCATED, block: block.addr(), size, more: old });
    }
    block
}

/// Moves what an early block holds to a new one, as far as both go.
#[cold]
fn early_copy(from: Block, size: usize, to: Block) -> Block {
    if !to.is_null() {
        // SAFETY: `from` points into the early memory and at least `early_bytes(from)` bytes of it follow; `to` has `size`. They
        // do not overlap: `to` is a block of its own. What is copied beyond the end of `from` is early memory as well.
        unsafe { copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), size.min(early_bytes(from))) };
    }
    to
}

/// # Safety
/// As glibc's `reallocarray`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(block: Block, count: usize, size: usize) -> Block {
    let Some(bytes) = count.checked_mul(size) else {
        c::set_errno(c::ENOMEM);
        return null_mut();
    };
    // SAFETY: called as this function was.
    unsafe { realloc(block, bytes) }
}

/// # Safety
/// As glibc's `memalign`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memalign(align: usize, size: usize) -> Block {
    let Some(real) = Real::functions() else { return early(size, align) };
    // SAFETY: called as this function was.
    given(raw::ALIGNED, size, align, || unsafe { (real.memalign)(align, size) })
}

/// # Safety
/// As C's `aligned_alloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aligned_alloc(align: usize, size: usize) -> Block {
    let Some(real) = Real::functions() else { return early(size, align) };
    // SAFETY: called as this function was.
    given(raw::ALIGNED, size, align, || unsafe { (real.aligned_alloc)(align, size) })
}

/// # Safety
/// As POSIX's `posix_memalign`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(to: *mut Block, align: usize, size: usize) -> c_int {
    let Some(real) = Real::functions() else { return c::ENOMEM };
    let mut answer = c::EINVAL;
    given(raw::ALIGNED, size, align, || {
        // SAFETY: called as this function was.
        answer = unsafe { (real.posix_memalign)(to, align, size) };
        // SAFETY: it succeeded, so it has written the block there.
        if answer == 0 { unsafe { *to } } else { null_mut() }
    });
    answer
}

fn page_bytes() -> usize {
    // SAFETY: may be called at any time.
    usize::try_from(unsafe { c::sysconf(c::SC_PAGESIZE) }).unwrap_or(4096)
}

/// # Safety
/// As glibc's `valloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn valloc(size: usize) -> Block {
    // SAFETY: the same by definition.
    unsafe { memalign(page_bytes(), size) }
}

/// # Safety
/// As glibc's `pvalloc`: whole pages.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvalloc(size: usize) -> Block {
    let page = page_bytes();
    let Some(pages) = size.checked_next_multiple_of(page) else {
        c::set_errno(c::ENOMEM);
        return null_mut();
    };
    // SAFETY: the same by definition.
    unsafe { memalign(page, pages) }
}

/// # Safety
/// As glibc's `malloc_usable_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(block: Block) -> usize {
    // Nobody may write beyond what was asked for; how much that was is not known any more.
    if is_early(block) {
        return 0;
    }
    // SAFETY: called as this function was.
    Real::functions().map_or(0, |real| unsafe { (real.malloc_usable_size)(block) })
}
