//! The preload library of `framesim record`: it stands in for `malloc` and its kin and writes down each call.
//!
//! # Models
//! Nothing: it makes recordings. `framesim record` starts a program with this library in `LD_PRELOAD` and turns the raw
//! files it leaves into heap traces. Linux with glibc on x86-64 and aarch64; empty elsewhere.
//!
//! # Rules
//! 1. Every process image has a raw file of its own (`raw.rs` is its layout), mapped shared: what was written is in the file
//!    whatever happens to the process, kill -9 included.
//! 2. A record takes the next place in the file by one atomic addition. For a `free` that is before the block is given
//!    back, for a call that gives a block after it was given, and `realloc` writes two records, before and after: so
//!    records about one address are in the order in which things happened to it.
//! 3. A process that was forked continues in a file of its own, which names its parent's and how many records of that
//!    came before it. A process that shares its parent's memory (vfork) shares the file.
//! 4. A call inside a call is not the program's and is not written down.
//! 5. The end of a thread is written down by the destructor of thread-specific data of its own, in the last round of those.
//! 6. When no more can be written (disk full, a limit, a sandbox) the program goes on; what is lost is counted.
//!
//! # Invariants
//! It allocates nothing from the heap it records, never panics, keeps `errno`, and holds no file open: a descriptor could be
//! closed or taken over by the program.
//!
//! # Cost
//! Some 110 ns a call, most of them the system's for the pages of the file: a look at the clock, an atomic addition, 40 bytes.
//! The file grows with one `fallocate` and `mmap` for 8,192 records at first, for a million later.
//!
//! # Left out
//! Programs that are static, set-uid, or bring an allocator that is linked in; calls while a signal handler interrupts
//! another call; ends of threads where 32 keys of thread-specific data were made before the first call; what a thread does after a `longjmp` out of a handler that interrupted one.
//!
//! # Safety
//! The functions of `calls` have the contracts of their C namesakes and pass pointers on without looking behind them.

#![cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod c;
mod calls;
mod fork;
mod path;
#[allow(dead_code, reason = "some of it is for the command that reads what is written here")]
mod raw;
mod real;
mod tape;
mod thread;
