//! What is used of the C library, as its headers declare it for Linux on 64-bit machines.

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};

unsafe extern "C" {
    /// The environment; null before the C library is ready.
    pub(crate) static environ: *const *const c_char;

    pub(crate) fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    pub(crate) fn __errno_location() -> *mut c_int;
    pub(crate) fn getenv(name: *const c_char) -> *const c_char;
    pub(crate) fn abort() -> !;
    pub(crate) fn getpid() -> c_int;
    pub(crate) fn getppid() -> c_int;
    pub(crate) fn sched_yield() -> c_int;
    pub(crate) fn pthread_key_create(key: *mut c_uint, at_end: extern "C" fn(*mut c_void)) -> c_int;
    pub(crate) fn pthread_key_delete(key: c_uint) -> c_int;
    pub(crate) fn pthread_setspecific(key: c_uint, value: *const c_void) -> c_int;
    pub(crate) fn clock_gettime(clock: c_int, time: *mut TimeSpec) -> c_int;
    pub(crate) fn getrlimit(resource: c_uint, limit: *mut Limit) -> c_int;
    pub(crate) fn sysconf(name: c_int) -> c_long;
    pub(crate) fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    pub(crate) fn close(file: c_int) -> c_int;
    pub(crate) fn read(file: c_int, to: *mut c_void, bytes: usize) -> isize;
    pub(crate) fn pwrite(file: c_int, from: *const c_void, bytes: usize, at: i64) -> isize;
    pub(crate) fn fallocate(file: c_int, mode: c_int, at: i64, bytes: i64) -> c_int;
    pub(crate) fn mmap(at: *mut c_void, bytes: usize, may: c_int, flags: c_int, file: c_int, from: i64) -> *mut c_void;
    pub(crate) fn munmap(at: *mut c_void, bytes: usize) -> c_int;
    pub(crate) fn madvise(at: *mut c_void, bytes: usize, advice: c_int) -> c_int;
}

#[repr(C)]
pub(crate) struct TimeSpec {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: c_long,
}

#[repr(C)]
pub(crate) struct Limit {
    pub(crate) now: u64,
    pub(crate) most: u64,
}

/// The next definition of a symbol after this library's.
pub(crate) const RTLD_NEXT: *mut c_void = std::ptr::without_provenance_mut(usize::MAX);
pub(crate) const CLOCK_MONOTONIC: c_int = 1;
pub(crate) const RLIMIT_FSIZE: c_uint = 1;
pub(crate) const SC_PAGESIZE: c_int = 30;
pub(crate) const O_RDWR: c_int = 2;
pub(crate) const O_RDONLY: c_int = 0;
pub(crate) const O_CREAT: c_int = 0o100;
pub(crate) const O_EXCL: c_int = 0o200;
pub(crate) const O_CLOEXEC: c_int = 0o2_000_000;
pub(crate) const PROT_READ_WRITE: c_int = 3;
pub(crate) const MAP_SHARED: c_int = 1;
pub(crate) const MAP_PRIVATE: c_int = 2;
pub(crate) const MAP_ANONYMOUS: c_int = 0x20;
pub(crate) const MAP_FAILED: *mut c_void = std::ptr::without_provenance_mut(usize::MAX);
pub(crate) const MADV_WIPEONFORK: c_int = 18;
pub(crate) const EINTR: c_int = 4;
pub(crate) const ENOMEM: c_int = 12;
pub(crate) const EEXIST: c_int = 17;
pub(crate) const EINVAL: c_int = 22;
pub(crate) const EFBIG: c_int = 27;
pub(crate) const EOPNOTSUPP: c_int = 95;

pub(crate) fn errno() -> c_int {
    // SAFETY: the C library gives every thread a place for its errno that is valid as long as the thread is.
    unsafe { *__errno_location() }
}

pub(crate) fn set_errno(error: c_int) {
    // SAFETY: as in `errno`.
    unsafe { *__errno_location() = error }
}

/// Nanoseconds on the monotonic clock.
pub(crate) fn now_ns() -> u64 {
    let mut time = TimeSpec { seconds: 0, nanoseconds: 0 };
    // SAFETY: `time` is a timespec that may be written.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &raw mut time) };
    time.seconds.unsigned_abs().wrapping_mul(1_000_000_000).wrapping_add(time.nanoseconds.unsigned_abs())
}
