//! Objects of spans: where they are, and which are free, cached or live.

use serde::{Deserialize, Serialize};

use super::classes::CLASSES;
use crate::index;

/// An object that is in no span's list: cached, or on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Object {
    /// Its address.
    pub at: u64,
    /// Where its state is.
    pub slot: u32,
}

/// The state of a free object that is the last of its span's list. Before it in the list: the number of the next one.
pub(super) const END: u16 = u16::MAX - 2;
/// In a thread's cache or in a transfer cache.
pub(super) const CACHED: u16 = u16::MAX - 1;
/// The program has it.
pub(super) const LIVE: u16 = u16::MAX;

/// Two bytes for each object of a span: its state, which the real one keeps inside free objects.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Slots {
    states: Vec<u16>,
    /// By class: where runs of slots start that no span has.
    spare: Vec<Vec<u32>>,
}

impl Slots {
    pub fn new() -> Slots {
        Slots { states: Vec::new(), spare: vec![Vec::new(); CLASSES.count().into()] }
    }

    #[inline]
    pub fn get(&self, slot: u32) -> u16 {
        self.states[index(slot.into())]
    }

    #[inline]
    pub fn set(&mut self, slot: u32, state: u16) {
        self.states[index(slot.into())] = state;
    }

    /// Slots for a span of a class; its objects are free and in one list, ascending.
    pub fn take(&mut self, class: u8) -> u32 {
        let objects = CLASSES.get(class).objects;
        let first = self.spare[usize::from(class)].pop().unwrap_or_else(|| {
            let first = u32::try_from(self.states.len()).expect("a heap has fewer than 2^32 small objects");
            self.states.resize(self.states.len() + index(objects.into()), END);
            first
        });
        let states = &mut self.states[index(first.into())..][..index(objects.into())];
        for (state, next) in states.iter_mut().zip(1..) {
            *state = next;
        }
        *states.last_mut().expect("a span has objects") = END;
        first
    }

    /// Takes the slots of a span back, all of whose objects are free.
    pub fn give_back(&mut self, class: u8, first: u32) {
        self.spare[usize::from(class)].push(first);
    }
}
