//! Heaps as pictures, for tests: a letter for a block, `H` for what the heap keeps for itself, `.` for free memory.

use super::flat_memory::FlatMemory;
use super::{HeapAllocator, HeapSetting};
use crate::registry::Model;
use crate::{Address, Coins, ThreadId, index};

/// Where the break of a drawn heap starts.
pub(super) const START: u64 = 0x10000;

/// A heap whose blocks have names.
pub(super) struct Drawn<H> {
    pub heap: H,
    pub memory: FlatMemory,
    names: Vec<(char, Address)>,
    /// Bytes of one character.
    unit: u64,
}

impl<H: Model<dyn HeapAllocator> + HeapAllocator> Drawn<H> {
    /// An empty heap; a letter is `unit` bytes.
    pub fn new(options: &H::Options, unit: u64) -> Drawn<H> {
        let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
        let heap = H::build(setting, options).expect("options of a test fit");
        Drawn { heap, memory: FlatMemory::at(Address(START)), names: Vec::new(), unit }
    }

    /// Whether the request was served.
    pub fn malloc(&mut self, name: char, bytes: u64) -> bool {
        let answer = self.heap.malloc(ThreadId(0), bytes, &mut self.memory);
        self.names.extend(answer.map(|at| (name, at)));
        self.heap.check().unwrap();
        answer.is_ok()
    }

    /// The same for blocks of the same size, one after the other.
    pub fn malloc_all(&mut self, names: &str, bytes: u64) {
        for name in names.chars() {
            assert!(self.malloc(name, bytes), "no memory for {name}");
        }
    }

    /// A block at a multiple of `align`.
    pub fn aligned(&mut self, name: char, align: u64, bytes: u64) {
        let at = self.heap.aligned_alloc(ThreadId(0), align, bytes, &mut self.memory).unwrap();
        self.names.push((name, at));
        self.heap.check().unwrap();
    }

    /// Frees blocks one after the other.
    pub fn free(&mut self, names: &str) {
        for name in names.chars() {
            let at = self.forget(name);
            self.heap.free(ThreadId(0), at, &mut self.memory).unwrap();
            self.heap.check().unwrap();
        }
    }

    /// Another length for a block.
    pub fn realloc(&mut self, name: char, bytes: u64) {
        let at = self.forget(name);
        let at = self.heap.realloc(ThreadId(0), at, bytes, &mut self.memory).unwrap();
        self.names.extend(at.map(|at| (name, at)));
        self.heap.check().unwrap();
    }

    /// Where a live block is.
    pub fn at(&self, name: char) -> Address {
        self.names.iter().find(|(other, _)| *other == name).expect("a name of a live block").1
    }

    /// Bytes from the start of the break to a block.
    pub fn offset(&self, name: char) -> u64 {
        self.at(name).0 - START
    }

    /// The heap in the break, but for what is free behind its last block and what the heap keeps behind that.
    pub fn draw(&self) -> String {
        let mut map = vec!['H'; index(self.memory.held_bytes() / self.unit)];
        let mut paint = |at: u64, bytes: u64, letter: char| {
            let (from, to) = ((at - START) / self.unit, (at + bytes - START) / self.unit);
            map[index(from)..index(to)].fill(letter);
        };
        self.heap.for_each_free(&mut |at, bytes| paint(at.0, bytes, '.'));
        for &(name, at) in &self.names {
            paint(at.0, self.heap.usable_size(at).unwrap(), name);
        }
        let map: String = map.into_iter().collect();
        let foot = map.trim_end_matches('H');
        let shown = foot.trim_end_matches('.');
        let rest = foot.len() - shown.len();
        if rest > 16 { format!("{shown}... and {} free", rest as u64 * self.unit) } else { map }
    }

    /// The free pieces in the order the heap keeps them, `offset+bytes`.
    pub fn free_pieces(&self) -> String {
        let mut list = Vec::new();
        self.heap.for_each_free(&mut |at, bytes| list.push(format!("{}+{bytes}", at.0 - START)));
        list.join(" ")
    }

    fn forget(&mut self, name: char) -> Address {
        let at = self.at(name);
        self.names.retain(|(other, _)| *other != name);
        at
    }
}
