//! The example of a heap: a few blocks, and when the kernel is asked.

use std::io::Write;

use framesim_models::heap::flat_memory::FlatMemory;
use framesim_models::heap::{HeapAllocator, HeapChoice, HeapSetting, SystemMemory};
use framesim_models::{Address, Coins, ThreadId, index};

use crate::Registries;
use crate::cli::exit::Failure;
use crate::report::map::coloured;
use crate::report::text::{Bytes, Count};

const START: u64 = 0x1000_0000;
/// Bytes that one letter of the drawing stands for.
const LETTER: u64 = 16;
const LETTERS: u64 = 28;

enum Call {
    Malloc(char, u64),
    Free(char),
}

/// Small blocks side by side, a hole that is used again or not, two neighbours freed, and one block that is large.
const SCRIPT: &[Call] = &[
    Call::Malloc('A', 24),
    Call::Malloc('B', 100),
    Call::Malloc('C', 40),
    Call::Malloc('D', 24),
    Call::Free('B'),
    Call::Malloc('E', 40),
    Call::Free('A'),
    Call::Free('C'),
    Call::Malloc('F', 72),
    Call::Malloc('G', 200 << 10),
    Call::Free('G'),
];

/// Plays the script through the heap called `name` and shows each call.
pub fn example(registries: &Registries, name: &str, screen: &mut impl Write) -> Result<(), Failure> {
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    let Some(Ok(heap)) = registries.heaps.build(name, &HeapChoice::named(name), setting) else {
        return Ok(());
    };
    let mut example = Example { heap, os: FlatMemory::at(Address(START)), live: Vec::new() };
    writeln!(screen, "\nAn example; one letter = {LETTER} bytes from the first program break on:\n")?;
    writeln!(screen, "step  call              gives     usable  kernel  heap")?;
    for (place, call) in SCRIPT.iter().enumerate() {
        let before = example.os.system_calls();
        let (request, gives, usable) = example.play(call);
        let calls = example.os.system_calls() - before;
        let drawn = coloured(&example.drawn());
        writeln!(screen, "{:>4}  {request:16}  {gives:8}  {usable:>6}  {calls:>6}  {drawn}", place + 1)?;
    }
    let held = Bytes(example.os.held_bytes());
    writeln!(screen, "\nThe heap holds {held}; the kernel was asked {} times.", Count(example.os.system_calls()))?;
    Ok(())
}

struct Example {
    heap: Box<dyn HeapAllocator>,
    os: FlatMemory,
    /// Live blocks: letter and address.
    live: Vec<(char, Address)>,
}

impl Example {
    /// The call, what it gives, and the bytes usable there.
    fn play(&mut self, call: &Call) -> (String, String, String) {
        match *call {
            Call::Malloc(block, bytes) => self.malloc(block, bytes),
            Call::Free(block) => self.free(block),
        }
    }

    fn malloc(&mut self, block: char, bytes: u64) -> (String, String, String) {
        let request = format!("malloc {block}, {}", Bytes(bytes));
        let Ok(at) = self.heap.malloc(ThreadId(0), bytes, &mut self.os) else {
            return (request, "refused".to_owned(), String::new());
        };
        self.os.touch(at, bytes);
        self.live.push((block, at));
        let usable = self.heap.usable_size(at).map_or_else(String::new, |usable| usable.to_string());
        (request, self.place(at), usable)
    }

    fn free(&mut self, block: char) -> (String, String, String) {
        let request = format!("free {block}");
        let live = self.live.iter().position(|(letter, _)| *letter == block);
        let gives = live.map_or_else(
            || "not live".to_owned(),
            |live| {
                let (_, at) = self.live.remove(live);
                self.heap.free(ThreadId(0), at, &mut self.os).expect("the example frees what it got");
                String::new()
            },
        );
        (request, gives, String::new())
    }

    fn place(&self, at: Address) -> String {
        let in_break = START <= at.0 && at.0 < self.os.program_break().0;
        if in_break { format!("+{:#x}", at.0 - START) } else { "mapped".to_owned() }
    }

    /// The first bytes of the heap: each letter is the block that reaches into it first.
    fn drawn(&self) -> String {
        let mut letters = vec!['.'; index(LETTERS)];
        for &(block, at) in self.live.iter().rev() {
            let usable = self.heap.usable_size(at).unwrap_or(0).max(1);
            let first = at.0.saturating_sub(START) / LETTER;
            let last = (at.0.saturating_sub(START) + usable - 1) / LETTER;
            for letter in first.min(LETTERS)..(last + 1).min(LETTERS) {
                letters[index(letter)] = block;
            }
        }
        letters.into_iter().collect()
    }
}
