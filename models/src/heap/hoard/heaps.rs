//! Heaps of superblocks: groups by fullness, what each holds and uses, and who had it last.

use serde::{Deserialize, Serialize};

use super::superblock::{FULL, GROUPS, NO_CLASS, NONE, Superblock};
use crate::{ThreadId, index};

/// The heap that all others give to and take from.
pub(super) const GLOBAL: u32 = 0;

/// Bytes of blocks that a heap holds and uses: of all classes, or of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub used: u64,
    pub held: u64,
    /// The last change was a free: the emptiness invariant holds.
    pub is_settled: bool,
}

/// All heaps of a process, the global one first, and all superblocks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Heaps {
    pub superblocks: Vec<Superblock>,
    /// First members: of each heap, class and group.
    groups: Vec<u32>,
    /// Of each heap, or of each heap and class.
    accounts: Vec<Account>,
    /// Of each heap and class, where there is one that is tried before the groups.
    current: Vec<u32>,
    /// Empty superblocks of the global heap, of no class, the next one last.
    pub empty: Vec<u32>,
    /// The thread that had each heap last.
    last_thread: Vec<ThreadId>,
    classes: usize,
    has_accounts_by_class: bool,
    /// Times that a heap was had by another thread than the time before.
    pub handovers: u64,
}

impl Heaps {
    /// No heap yet; accounts for each class of a heap, or one for all.
    pub fn new(classes: usize, has_accounts_by_class: bool) -> Heaps {
        Heaps {
            superblocks: Vec::new(),
            groups: Vec::new(),
            accounts: Vec::new(),
            current: Vec::new(),
            empty: Vec::new(),
            last_thread: Vec::new(),
            classes,
            has_accounts_by_class,
            handovers: 0,
        }
    }

    /// Heaps up to this one exist.
    pub fn make_room_for(&mut self, heap: u32) {
        let heaps = index(heap.into()) + 1;
        if self.last_thread.len() < heaps {
            self.groups.resize(heaps * self.classes * GROUPS, NONE);
            self.current.resize(heaps * self.classes, NONE);
            self.accounts.resize(heaps * if self.has_accounts_by_class { self.classes } else { 1 }, Account::default());
            self.last_thread.resize(heaps, ThreadId(u32::MAX));
        }
    }

    /// Heaps so far, the global one among them.
    pub fn count(&self) -> u32 {
        u32::try_from(self.last_thread.len()).expect("heaps have numbers of 32 bits")
    }

    /// A thread takes the lock of a heap.
    pub fn lock(&mut self, heap: u32, thread: ThreadId) {
        let last = std::mem::replace(&mut self.last_thread[index(heap.into())], thread);
        self.handovers += u64::from(last != thread && last != ThreadId(u32::MAX));
    }

    fn slot(&self, heap: u32, class: u8) -> usize {
        index(heap.into()) * self.classes + usize::from(class)
    }

    /// What a heap holds and uses, as rule 5 counts it for a class.
    pub fn account(&mut self, heap: u32, class: u8) -> &mut Account {
        let slot = if self.has_accounts_by_class { self.slot(heap, class) } else { index(heap.into()) };
        &mut self.accounts[slot]
    }

    /// All accounts, by heap, or by heap and class.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// The superblock of a class that a heap tries first; `NONE` without one.
    pub fn current(&mut self, heap: u32, class: u8) -> &mut u32 {
        let slot = self.slot(heap, class);
        &mut self.current[slot]
    }

    /// The same to read.
    pub fn current_of(&self, heap: u32, class: u8) -> u32 {
        self.current[self.slot(heap, class)]
    }

    /// The record of a superblock.
    pub fn superblock(&mut self, id: u32) -> &mut Superblock {
        &mut self.superblocks[index(id.into())]
    }

    /// The superblock of a group that was used last.
    pub fn first_of(&self, heap: u32, class: u8, group: u8) -> u32 {
        self.groups[self.slot(heap, class) * GROUPS + usize::from(group)]
    }

    /// The fullest superblock with room in the groups of a class.
    pub fn fullest(&self, heap: u32, class: u8) -> Option<u32> {
        (0..FULL).rev().map(|group| self.first_of(heap, class, group)).find(|&id| id != NONE)
    }

    /// The emptiest superblock of a class, its current one included.
    pub fn emptiest(&self, heap: u32, class: u8) -> Option<u32> {
        let in_groups = (0..=FULL).map(|group| self.first_of(heap, class, group)).find(|&id| id != NONE);
        let current = Some(self.current[self.slot(heap, class)]).filter(|&id| id != NONE);
        let used = |&id: &u32| self.superblocks[index(id.into())].used;
        in_groups.into_iter().chain(current).min_by_key(used)
    }

    /// Puts a superblock first in its group.
    pub fn link(&mut self, id: u32) {
        let Superblock { heap, class, .. } = *self.superblock(id);
        let slot = self.slot(heap, class) * GROUPS + usize::from(self.superblock(id).group());
        let next = std::mem::replace(&mut self.groups[slot], id);
        let superblock = self.superblock(id);
        (superblock.previous, superblock.next) = (NONE, next);
        if next != NONE {
            self.superblock(next).previous = id;
        }
    }

    /// Takes a superblock out of the group it is in, which is the one of its fullness now.
    pub fn unlink(&mut self, id: u32) {
        let Superblock { heap, class, previous, next, .. } = *self.superblock(id);
        let slot = self.slot(heap, class) * GROUPS + usize::from(self.superblock(id).group());
        if previous == NONE {
            self.groups[slot] = next;
        } else {
            self.superblock(previous).next = next;
        }
        if next != NONE {
            self.superblock(next).previous = previous;
        }
    }

    /// A superblock goes to another heap with what it holds and uses; it is in no group before and after.
    pub fn hand_to(&mut self, heap: u32, id: u32) {
        let superblock = self.superblock(id);
        let (from, class) = (std::mem::replace(&mut superblock.heap, heap), superblock.class);
        let (used, held) = (superblock.used_bytes(), superblock.held_bytes());
        if class == NO_CLASS {
            return;
        }
        let account = self.account(from, class);
        (account.used, account.held) = (account.used - used, account.held - held);
        let account = self.account(heap, class);
        (account.used, account.held) = (account.used + used, account.held + held);
    }
}
