//! The `dlmalloc` heap beside the crate `dlmalloc`, a port of 2.8.6 to Rust: the same calls, the same addresses.
//!
//! The crate never moves a break and never maps a block by itself, so the model is built without both. Below the two lies the same
//! [`FlatMemory`]; the crate's copy has real bytes under it, because it keeps its chunk headers there.
//!
//! Alignments go up to 32 bytes: beyond, the port cuts one alignment further where exactly 32 bytes would be left in
//! front of a block, and the C file, which the recordings in `tests/data/heap` are of, does not.

#![expect(clippy::disallowed_types, reason = "the crate hands its system layer a shared reference")]

use std::cell::RefCell;

use dlmalloc::{Allocator, Dlmalloc};
use framesim_models::heap::dlmalloc::DlmallocOptions;
use framesim_models::heap::flat_memory::FlatMemory;
use framesim_models::heap::{HeapAllocator, HeapChoice, HeapRegistry, HeapSetting, MapRequest, SystemMemory};
use framesim_models::{Address, Coins, ThreadId};
use proptest::prelude::*;

/// Real memory under the highest addresses of a [`FlatMemory`]: more than any case here has live.
const REAL_BYTES: u64 = 256 << 20;
const MAPPINGS_END: u64 = 0x7fff_f000_0000;
const MAIN: ThreadId = ThreadId(0);
/// Frees of large chunks between two looks for unused segments: few, so that they happen.
const RELEASE_RATE: u64 = 8;
/// 32 bytes.
const ALIGN_ORDER_MAX: u32 = 5;

/// What the crate asks for memory: addresses by [`FlatMemory`], bytes by one large allocation.
struct Reserve {
    memory: RefCell<FlatMemory>,
    bytes: RefCell<Vec<u8>>,
    /// Into `bytes`, where the lowest address of the reserve is: a multiple of 1 MiB.
    start: usize,
}

impl Reserve {
    fn new() -> Reserve {
        const ALIGN: usize = 1 << 20;
        let bytes = vec![0; REAL_BYTES as usize + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN);
        Reserve { memory: RefCell::new(FlatMemory::at(Address(0x1000_0000))), bytes: RefCell::new(bytes), start }
    }

    fn pointer(&self, at: Address) -> *mut u8 {
        let offset = at.0.checked_sub(MAPPINGS_END - REAL_BYTES).expect("a case stays within the reserve");
        self.bytes.borrow_mut()[self.start + offset as usize..].as_mut_ptr()
    }

    fn address(&self, pointer: *mut u8) -> Address {
        let offset = pointer.addr() - self.bytes.borrow().as_ptr().addr() - self.start;
        Address(MAPPINGS_END - REAL_BYTES + offset as u64)
    }
}

// SAFETY: memory that `alloc` hands out lies in `bytes`, which is never resized, and `FlatMemory` gives no address twice
// while it is mapped.
unsafe impl Allocator for Reserve {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let at = self.memory.borrow_mut().mmap(&MapRequest::anywhere(size as u64)).expect("memory without a limit");
        (self.pointer(at), size, 0)
    }

    fn remap(&self, _pointer: *mut u8, _old: usize, _new: usize, _can_move: bool) -> *mut u8 {
        unreachable!("only blocks in mappings of their own are moved, and the crate makes none")
    }

    fn free_part(&self, pointer: *mut u8, old: usize, new: usize) -> bool {
        let at = self.address(pointer);
        self.memory.borrow_mut().munmap(Address(at.0 + new as u64), (old - new) as u64);
        true
    }

    fn free(&self, pointer: *mut u8, size: usize) -> bool {
        self.memory.borrow_mut().munmap(self.address(pointer), size as u64);
        true
    }

    fn can_release_part(&self, _flags: u32) -> bool {
        true
    }

    fn allocates_zeros(&self) -> bool {
        false
    }

    fn page_size(&self) -> usize {
        4096
    }
}

fn model() -> Box<dyn HeapAllocator> {
    let options = DlmallocOptions {
        use_break: false,
        mmap_threshold_bytes: None,
        release_rate: RELEASE_RATE,
        ..DlmallocOptions::default()
    };
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    let built = HeapRegistry::default().build("dlmalloc", &HeapChoice::Dlmalloc(options), setting);
    built.expect("a heap of that name").expect("options in range")
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Malloc(u64),
    Aligned {
        align: u64,
        bytes: u64,
    },
    /// Of the live blocks the one at that place, counted around.
    Realloc(usize, u64),
    Free(usize),
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 1..300_u64, 4 => 1..5_000_u64, 2 => 1..200_000_u64, 1 => 1_000_000..4_000_000_u64]
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = prop_oneof![
        6 => sizes().prop_map(Call::Malloc),
        1 => (0..=ALIGN_ORDER_MAX, sizes()).prop_map(|(order, bytes)| Call::Aligned { align: 1 << order, bytes }),
        2 => (any::<usize>(), sizes()).prop_map(|(which, bytes)| Call::Realloc(which, bytes)),
        5 => any::<usize>().prop_map(Call::Free),
    ];
    prop::collection::vec(call, 1..600)
}

/// Makes the calls on both and compares every address and what is mapped.
fn play(calls: &[Call]) -> Result<(), TestCaseError> {
    let mut model = model();
    let mut memory = FlatMemory::at(Address(0x1000_0000));
    let mut peer = Dlmalloc::new_with_allocator(Reserve::new());
    peer.set_max_release_check_rate(RELEASE_RATE as usize);
    let mut live: Vec<(Address, *mut u8)> = Vec::new();
    for (number, &call) in calls.iter().enumerate() {
        let (ours, theirs) = match call {
            Call::Malloc(bytes) => {
                // SAFETY: a size is all that it needs.
                let theirs = unsafe { peer.c_malloc(bytes as usize) };
                (model.malloc(MAIN, bytes, &mut memory).ok(), theirs)
            }
            Call::Aligned { align, bytes } => {
                // SAFETY: a size and an alignment that is a power of two are all that it needs.
                let theirs = unsafe { peer.c_memalign(align as usize, bytes as usize) };
                (model.aligned_alloc(MAIN, align, bytes, &mut memory).ok(), theirs)
            }
            Call::Realloc(which, bytes) if !live.is_empty() => {
                let (at, pointer) = live.swap_remove(which % live.len());
                // SAFETY: `pointer` came from this allocator and has not been freed: it was in `live`.
                let theirs = unsafe { peer.c_realloc(pointer, bytes as usize) };
                (model.realloc(MAIN, at, bytes, &mut memory).ok().flatten(), theirs)
            }
            Call::Free(which) if !live.is_empty() => {
                let (at, pointer) = live.swap_remove(which % live.len());
                model.free(MAIN, at, &mut memory).expect("a live block");
                // SAFETY: as for `realloc`.
                unsafe { peer.c_free(pointer) };
                continue;
            }
            Call::Realloc(..) | Call::Free(_) => continue,
        };
        let ours = ours.expect("memory without a limit");
        prop_assert!(!theirs.is_null(), "call {}, {:?}: the crate has no memory", number, call);
        prop_assert_eq!(ours, peer.allocator().address(theirs), "call {}, {:?}", number, call);
        let held = peer.allocator().memory.borrow().held_bytes();
        prop_assert_eq!(memory.held_bytes(), held, "mapped after call {}, {:?}", number, call);
        live.push((ours, theirs));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_address_is_where_the_port_to_rust_puts_it(calls in calls()) {
        play(&calls)?;
    }
}
