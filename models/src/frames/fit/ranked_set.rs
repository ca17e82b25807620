//! A sorted set of 64-bit keys that can count: a B+ tree in two arrays.

use crate::{Violation, ensure, index};

/// Entries of a full node.
const WIDE: usize = 32;
/// Entries that a node other than the root keeps at least: 8 * 32/12 = 22 bytes for a key at worst, 12 as a rule.
const LEAST: usize = 12;
const _: () = assert!(2 * LEAST + 1 < WIDE, "two nodes that were merged have room for a key");

/// Keys in order. To insert, to remove, to find the next key, the rank of a key or the key of a rank is O(log keys).
#[derive(Clone, Debug)]
pub(super) struct RankedSet {
    leaves: Arena<Leaf>,
    branches: Arena<Branch>,
    root: u32,
    /// Levels of branches above the leaves.
    height: u32,
    keys: u64,
}

#[derive(Clone, Copy, Debug)]
struct Leaf {
    len: u32,
    keys: [u64; WIDE],
}

#[derive(Clone, Copy, Debug)]
struct Branch {
    len: u32,
    /// The last key under each child.
    last: [u64; WIDE],
    /// How many keys are under it.
    count: [u32; WIDE],
    child: [u32; WIDE],
}

/// What leaves and branches have in common.
trait Node: Copy {
    const EMPTY: Self;
    fn len(&self) -> usize;
    fn last_key(&self) -> u64;
    fn count_keys(&self) -> u32;
    /// Moves entries between two neighbours, until the left one has `left_len` and the right one the rest.
    fn pour(left: &mut Self, right: &mut Self, left_len: usize);
}

impl Node for Leaf {
    const EMPTY: Leaf = Leaf { len: 0, keys: [0; WIDE] };

    fn len(&self) -> usize {
        index(u64::from(self.len))
    }

    fn last_key(&self) -> u64 {
        self.keys[self.len() - 1]
    }

    fn count_keys(&self) -> u32 {
        self.len
    }

    fn pour(left: &mut Leaf, right: &mut Leaf, left_len: usize) {
        let lens = (left.len(), right.len());
        pour(&mut left.keys, &mut right.keys, lens, left_len);
        (left.len, right.len) = poured(lens, left_len);
    }
}

impl Node for Branch {
    const EMPTY: Branch = Branch { len: 0, last: [0; WIDE], count: [0; WIDE], child: [0; WIDE] };

    fn len(&self) -> usize {
        index(u64::from(self.len))
    }

    fn last_key(&self) -> u64 {
        self.last[self.len() - 1]
    }

    fn count_keys(&self) -> u32 {
        self.count[..self.len()].iter().sum()
    }

    fn pour(left: &mut Branch, right: &mut Branch, left_len: usize) {
        let lens = (left.len(), right.len());
        pour(&mut left.last, &mut right.last, lens, left_len);
        pour(&mut left.count, &mut right.count, lens, left_len);
        pour(&mut left.child, &mut right.child, lens, left_len);
        (left.len, right.len) = poured(lens, left_len);
    }
}

fn pour<T: Copy>(left: &mut [T; WIDE], right: &mut [T; WIDE], lens: (usize, usize), left_len: usize) {
    if let Some(moved) = left_len.checked_sub(lens.0) {
        left[lens.0..left_len].copy_from_slice(&right[..moved]);
        right.copy_within(moved..lens.1, 0);
    } else {
        let moved = lens.0 - left_len;
        right.copy_within(..lens.1, moved);
        right[..moved].copy_from_slice(&left[left_len..lens.0]);
    }
}

fn poured(lens: (usize, usize), left_len: usize) -> (u32, u32) {
    (narrow(left_len), narrow(lens.0 + lens.1 - left_len))
}

fn narrow(len: usize) -> u32 {
    u32::try_from(len).expect("a node's length and number fit 32 bits")
}

impl Branch {
    /// The child that has `key` or would get it.
    fn slot(&self, key: u64) -> usize {
        self.last[..self.len() - 1].partition_point(|last| *last < key)
    }

    fn insert(&mut self, slot: usize, last: u64, count: u32, child: u32) {
        insert_at(&mut self.last, slot, last);
        insert_at(&mut self.count, slot, count);
        insert_at(&mut self.child, slot, child);
        self.len += 1;
    }

    fn remove(&mut self, slot: usize) {
        self.last.copy_within(slot + 1.., slot);
        self.count.copy_within(slot + 1.., slot);
        self.child.copy_within(slot + 1.., slot);
        self.len -= 1;
    }
}

fn insert_at<T: Copy>(list: &mut [T; WIDE], at: usize, entry: T) {
    list.copy_within(at..WIDE - 1, at + 1);
    list[at] = entry;
}

/// Nodes by number; numbers of dropped ones are used again.
#[derive(Clone, Debug)]
struct Arena<N> {
    nodes: Vec<N>,
    spare: Vec<u32>,
}

impl<N: Node> Arena<N> {
    fn add(&mut self, node: N) -> u32 {
        if let Some(id) = self.spare.pop() {
            self.nodes[index(u64::from(id))] = node;
            return id;
        }
        if self.nodes.len() == self.nodes.capacity() {
            // Doubling would cost more than what half-full nodes do.
            self.nodes.reserve_exact((self.nodes.len() / 4).max(8));
        }
        self.nodes.push(node);
        narrow(self.nodes.len() - 1)
    }

    fn get(&self, id: u32) -> &N {
        &self.nodes[index(u64::from(id))]
    }

    fn get_mut(&mut self, id: u32) -> &mut N {
        &mut self.nodes[index(u64::from(id))]
    }

    fn pour(&mut self, left: u32, right: u32, left_len: usize) {
        let ids = [left, right].map(|id| index(u64::from(id)));
        let [left, right] = self.nodes.get_disjoint_mut(ids).expect("neighbours are two nodes of the arena");
        N::pour(left, right, left_len);
    }

    fn bytes(&self) -> u64 {
        (self.nodes.capacity() * size_of::<N>() + self.spare.capacity() * size_of::<u32>()) as u64
    }
}

impl RankedSet {
    pub(super) fn new() -> RankedSet {
        let leaves = Arena { nodes: vec![Leaf::EMPTY], spare: Vec::new() };
        let branches = Arena { nodes: Vec::new(), spare: Vec::new() };
        RankedSet { leaves, branches, root: 0, height: 0, keys: 0 }
    }

    pub(super) const fn len(&self) -> u64 {
        self.keys
    }

    /// Adds a key that is not there.
    pub(super) fn insert(&mut self, key: u64) {
        if self.entries(self.height, self.root) == WIDE {
            self.grow();
        }
        let mut node = self.root;
        // Full nodes are split on the way down, so that there is room for one more entry on each level.
        for level in (1..=self.height).rev() {
            let mut slot = self.branches.get(node).slot(key);
            if self.entries(level - 1, self.branches.get(node).child[slot]) == WIDE {
                self.split(level, node, slot);
                slot = self.branches.get(node).slot(key);
            }
            let branch = self.branches.get_mut(node);
            branch.count[slot] += 1;
            branch.last[slot] = branch.last[slot].max(key);
            node = branch.child[slot];
        }
        let leaf = self.leaves.get_mut(node);
        let at = leaf.keys[..leaf.len()].partition_point(|before| *before < key);
        insert_at(&mut leaf.keys, at, key);
        leaf.len += 1;
        self.keys += 1;
    }

    /// Removes a key.
    ///
    /// # Panics
    /// When it is not there.
    pub(super) fn remove(&mut self, key: u64) {
        /// A node has at least 12 children: nine levels hold 2^32 keys.
        const LEVELS: usize = 10;
        let mut path = [(0, 0); LEVELS];
        let mut node = self.root;
        // Poor nodes are filled up on the way down, so that each level can lose an entry.
        for level in (1..=self.height).rev() {
            let mut slot = self.branches.get(node).slot(key);
            if self.entries(level - 1, self.branches.get(node).child[slot]) <= LEAST {
                self.refill(level, node, slot);
                slot = self.branches.get(node).slot(key);
            }
            let branch = self.branches.get_mut(node);
            branch.count[slot] -= 1;
            path[index(u64::from(level))] = (node, slot);
            node = branch.child[slot];
        }
        let leaf = self.leaves.get_mut(node);
        let at = leaf.keys[..leaf.len()].partition_point(|before| *before < key);
        assert!(at < leaf.len() && leaf.keys[at] == key, "a key to remove is in the set");
        leaf.keys.copy_within(at + 1.., at);
        leaf.len -= 1;
        self.keys -= 1;
        if self.height > 0 && at == leaf.len() {
            let last = leaf.last_key();
            self.set_last(&path[1..=index(u64::from(self.height))], last);
        }
        self.shrink();
    }

    /// The least key that is not below `key`.
    pub(super) fn at_or_above(&self, key: u64) -> Option<u64> {
        let mut node = self.root;
        for _ in 0..self.height {
            let branch = self.branches.get(node);
            node = branch.child[branch.slot(key)];
        }
        let leaf = self.leaves.get(node);
        let keys = &leaf.keys[..leaf.len()];
        keys.get(keys.partition_point(|before| *before < key)).copied()
    }

    /// How many keys are below `key`.
    pub(super) fn rank(&self, key: u64) -> u64 {
        let (mut node, mut rank) = (self.root, 0);
        for _ in 0..self.height {
            let branch = self.branches.get(node);
            let slot = branch.slot(key);
            rank += u64::from(branch.count[..slot].iter().sum::<u32>());
            node = branch.child[slot];
        }
        let leaf = self.leaves.get(node);
        rank + leaf.keys[..leaf.len()].partition_point(|before| *before < key) as u64
    }

    /// The key that has `rank` keys below it.
    pub(super) fn nth(&self, rank: u64) -> Option<u64> {
        let (mut node, mut rank) = (self.root, rank);
        for _ in 0..self.height {
            let branch = self.branches.get(node);
            let mut slot = 0;
            while slot + 1 < branch.len() && rank >= u64::from(branch.count[slot]) {
                rank -= u64::from(branch.count[slot]);
                slot += 1;
            }
            node = branch.child[slot];
        }
        let leaf = self.leaves.get(node);
        leaf.keys[..leaf.len()].get(index(rank)).copied()
    }

    pub(super) fn last(&self) -> Option<u64> {
        match self.height {
            _ if self.keys == 0 => None,
            0 => Some(self.leaves.get(self.root).last_key()),
            _ => Some(self.branches.get(self.root).last_key()),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.leaves.bytes() + self.branches.bytes()
    }

    /// Entries of the node `id`, which is a leaf at level 0.
    fn entries(&self, level: u32, id: u32) -> usize {
        if level == 0 { self.leaves.get(id).len() } else { self.branches.get(id).len() }
    }

    /// A new root above the old one.
    fn grow(&mut self) {
        let mut branch = Branch::EMPTY;
        branch.insert(0, self.last().expect("a full root has keys"), narrow(index(self.keys)), self.root);
        self.root = self.branches.add(branch);
        self.height += 1;
    }

    /// A root with one child gives way to it.
    fn shrink(&mut self) {
        while self.height > 0 && self.branches.get(self.root).len == 1 {
            let root = self.root;
            self.root = self.branches.get(root).child[0];
            self.branches.spare.push(root);
            self.height -= 1;
        }
    }

    /// Moves the upper half of a full child into a new one after it. `level` is the parent's.
    fn split(&mut self, level: u32, parent: u32, slot: usize) {
        let right = if level == 1 { self.leaves.add(Leaf::EMPTY) } else { self.branches.add(Branch::EMPTY) };
        self.branches.get_mut(parent).insert(slot + 1, 0, 0, right);
        self.pour(level, parent, slot, WIDE / 2);
        self.describe(level, parent, slot);
        self.describe(level, parent, slot + 1);
    }

    /// Gives a poor child entries of a neighbour, or all of them.
    fn refill(&mut self, level: u32, parent: u32, slot: usize) {
        let left = slot.saturating_sub(1);
        let branch = self.branches.get(parent);
        let children = [branch.child[left], branch.child[left + 1]];
        let entries = children.map(|id| self.entries(level - 1, id)).iter().sum::<usize>();
        if entries > 2 * LEAST + 1 {
            self.pour(level, parent, left, entries / 2);
            self.describe(level, parent, left + 1);
        } else {
            self.pour(level, parent, left, entries);
            let spare = if level == 1 { &mut self.leaves.spare } else { &mut self.branches.spare };
            spare.push(children[1]);
            self.branches.get_mut(parent).remove(left + 1);
        }
        self.describe(level, parent, left);
    }

    fn pour(&mut self, level: u32, parent: u32, slot: usize, left_len: usize) {
        let child = self.branches.get(parent).child;
        if level == 1 {
            self.leaves.pour(child[slot], child[slot + 1], left_len);
        } else {
            self.branches.pour(child[slot], child[slot + 1], left_len);
        }
    }

    /// Writes into the parent what a child holds now.
    fn describe(&mut self, level: u32, parent: u32, slot: usize) {
        let child = self.branches.get(parent).child[slot];
        let (last, count) = self.described(level - 1, child);
        let branch = self.branches.get_mut(parent);
        (branch.last[slot], branch.count[slot]) = (last, count);
    }

    fn described(&self, level: u32, id: u32) -> (u64, u32) {
        if level == 0 {
            let leaf = self.leaves.get(id);
            (leaf.last_key(), leaf.count_keys())
        } else {
            let branch = self.branches.get(id);
            (branch.last_key(), branch.count_keys())
        }
    }

    /// A leaf lost its last key: its ancestors, lowest first, learn the new one as long as it is the last of theirs too.
    fn set_last(&mut self, path: &[(u32, usize)], last: u64) {
        for (node, slot) in path {
            let branch = self.branches.get_mut(*node);
            branch.last[*slot] = last;
            if slot + 1 < branch.len() {
                return;
            }
        }
    }

    /// Full check.
    ///
    /// # Errors
    /// The first invariant that is broken.
    pub(super) fn check(&self) -> Result<(), Violation> {
        let mut keys = 0;
        let mut before = None;
        self.check_node(self.height, self.root, &mut |key| {
            let in_order = before < Some(key);
            before = Some(key);
            keys += 1;
            ensure(in_order, || format!("key {key:#x} is out of order"))
        })?;
        ensure(keys == self.keys, || format!("{keys} keys, {} are counted", self.keys))
    }

    fn check_node(
        &self,
        level: u32,
        id: u32,
        visit: &mut impl FnMut(u64) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let entries = self.entries(level, id);
        let least = if id == self.root && level == self.height { level.min(1) * 2 } else { narrow(LEAST) };
        ensure(entries >= index(u64::from(least)), || format!("node {id} of level {level} has {entries} entries"))?;
        if level == 0 {
            let leaf = self.leaves.get(id);
            return leaf.keys[..entries].iter().try_for_each(|key| visit(*key));
        }
        let branch = self.branches.get(id);
        for slot in 0..entries {
            let (told, found) =
                ((branch.last[slot], branch.count[slot]), self.described(level - 1, branch.child[slot]));
            ensure(told == found, || format!("child {slot} of node {id}: last key and count {told:?}, not {found:?}"))?;
            self.check_node(level - 1, branch.child[slot], visit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Remove(u64),
    }

    /// Grows first and shrinks later, so that nodes are split and merged on several levels.
    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let grow = prop::collection::vec((0_u64..5_000).prop_map(Step::Insert), 0..4_000);
        let mixed = (0_u64..5_000, any::<bool>());
        let mixed = mixed.prop_map(|(key, insert)| if insert { Step::Insert(key) } else { Step::Remove(key) });
        let shrink = prop::collection::vec((0_u64..5_000).prop_map(Step::Remove), 0..8_000);
        (grow, prop::collection::vec(mixed, 0..1_000), shrink).prop_map(|(a, b, c)| [a, b, c].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn keys_ranks_and_neighbours_are_those_of_a_sorted_set(steps in steps()) {
            let (mut ranked, mut set) = (RankedSet::new(), BTreeSet::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(key) if set.insert(key) => ranked.insert(key),
                    Step::Remove(key) if set.remove(&key) => ranked.remove(key),
                    Step::Insert(key) | Step::Remove(key) => {
                        prop_assert_eq!(ranked.at_or_above(key), set.range(key..).next().copied());
                        prop_assert_eq!(ranked.rank(key), set.range(..key).count() as u64);
                        prop_assert_eq!(ranked.nth(key), set.iter().nth(index(key)).copied());
                        prop_assert_eq!(ranked.last(), set.last().copied());
                    }
                }
                prop_assert_eq!(ranked.len(), set.len() as u64);
                if number % 64 == 0 {
                    prop_assert_eq!(ranked.check(), Ok(()));
                }
            }
            prop_assert_eq!(ranked.check(), Ok(()));
        }
    }

    #[test]
    fn a_set_filled_at_random_takes_less_than_16_bytes_a_key() {
        let mut ranked = RankedSet::new();
        let mut coins = crate::Coins::from_key([3; 32]);
        for _ in 0..200_000 {
            ranked.insert(coins.next_u64());
        }
        assert!(ranked.bytes() < 200_000 * 16, "{} bytes", ranked.bytes());
    }
}
