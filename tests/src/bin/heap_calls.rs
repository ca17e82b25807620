//! A program with known heap calls, for tests of `framesim record`: `heap_calls MODE`.
//!
//! What the global allocator of Rust asks of the system is what stands here: `malloc` for what is aligned to 16 bytes or
//! less, `calloc` for zeroed memory, `posix_memalign` above, `realloc` for a vector that grows.

use std::io::{Read as _, Write as _};
use std::sync::mpsc::channel;
use std::thread;

#[repr(align(256))]
struct Aligned(#[expect(dead_code, reason = "only its size matters")] [u8; 77_056]);

fn main() {
    let mode = std::env::args().nth(1).unwrap_or_default();
    match mode.as_str() {
        "known" => known(),
        "threads" => threads(),
        "many" => many(100_000),
        "wait" => wait(),
        "crash" => {
            many(1_000);
            std::process::abort();
        }
        _ => std::process::exit(64),
    }
}

/// One call of each sort, of sizes that nothing else has.
fn known() {
    let mut grows: Vec<u8> = Vec::with_capacity(770_001);
    grows.reserve_exact(770_002);
    grows.push(1);
    grows.reserve_exact(880_002);
    let zeroed = vec![0_u8; 770_003];
    let aligned = Box::new(Aligned([1; 77_056]));
    keep(&grows);
    keep(&zeroed);
    keep(&aligned);
    drop(zeroed);
    thread::spawn(|| keep(&Vec::<u8>::with_capacity(770_005))).join().expect("it does not panic");
}

/// Blocks that go round between threads, growing on the way: what one frees another gets at once. Half of them are too large
/// for the caches that glibc keeps for each thread.
fn threads() {
    const THREADS: usize = 6;
    let (first, start) = channel::<Vec<u8>>();
    let mut last = start;
    let mut handles = Vec::new();
    for number in 0..THREADS {
        let (send, next) = channel();
        let receive = std::mem::replace(&mut last, next);
        handles.push(thread::spawn(move || {
            for mut block in receive {
                block.reserve_exact(block.capacity() + 16);
                keep(&block);
                let fresh = Vec::with_capacity(16 << (number % 4));
                let _ = send.send(if block.capacity() > 1_600 { fresh } else { block });
            }
        }));
    }
    let ends = thread::spawn(move || last.into_iter().for_each(drop));
    for number in 0..20_000 {
        first.send(Vec::with_capacity(16 + number % 2 * 1_500 + number % 200)).expect("the first thread listens");
    }
    drop(first);
    handles.into_iter().chain([ends]).for_each(|handle| handle.join().expect("it does not panic"));
}

fn many(count: usize) {
    for number in 0..count {
        keep(&Vec::<u8>::with_capacity(16 + number % 1000));
    }
}

/// Some calls, a line when they are done, then nothing until it is killed.
fn wait() {
    many(50_000);
    let kept: Vec<u8> = Vec::with_capacity(770_001);
    let mut out = std::io::stdout();
    writeln!(out, "{}", std::process::id()).and_then(|()| out.flush()).expect("somebody reads");
    let _ = std::io::stdin().read(&mut [0]);
    keep(&kept);
}

/// The optimizer leaves calls out whose result nobody looks at.
fn keep<T>(value: &T) {
    std::hint::black_box(value);
}
