//! The list of free pieces: its order, how it is searched, when neighbours join.

use serde::{Deserialize, Serialize};

use super::{Order, Policy};

/// Free bytes that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub start: u64,
    pub bytes: u64,
}

impl Piece {
    /// The byte behind it.
    pub fn end(self) -> u64 {
        self.start + self.bytes
    }
}

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Search {
    /// Position of the piece that serves the request.
    pub found: Option<usize>,
    /// Pieces looked at.
    pub looked_at: u64,
}

/// Free pieces in list order, in one array: a search reads memory in a row, and no call allocates but to double the array.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PieceList {
    order: Order,
    coalesce: bool,
    pieces: Vec<Piece>,
    bytes: u64,
    /// Position where a next-fit search begins: the piece that the last one ended at.
    rover: u32,
    /// Whether two list neighbours may touch: a change of the order brought them together.
    may_touch: bool,
}

impl PieceList {
    /// An empty list.
    pub fn new(order: Order, coalesce: bool) -> PieceList {
        PieceList { order, coalesce, pieces: Vec::new(), bytes: 0, rover: 0, may_touch: false }
    }

    /// Free bytes in all.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The pieces in list order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Looks for a piece that `fits`. Best and worst fit look at every piece; on a tie the first in the list is taken.
    pub fn search(&self, policy: Policy, fits: impl Fn(&Piece) -> bool) -> Search {
        match policy {
            Policy::First => self.search_from(0, fits),
            Policy::Next => self.search_from(self.rover(), fits),
            Policy::Best => self.search_all(fits, |piece, best| piece.bytes < best.bytes),
            Policy::Worst => self.search_all(fits, |piece, worst| piece.bytes > worst.bytes),
        }
    }

    fn search_from(&self, from: usize, fits: impl Fn(&Piece) -> bool) -> Search {
        let (before, after) = self.pieces.split_at(from);
        if let Some(steps) = after.iter().position(&fits) {
            return Search { found: Some(from + steps), looked_at: steps as u64 + 1 };
        }
        match before.iter().position(fits) {
            Some(found) => Search { found: Some(found), looked_at: (after.len() + found) as u64 + 1 },
            None => Search { found: None, looked_at: self.pieces.len() as u64 },
        }
    }

    fn search_all(&self, fits: impl Fn(&Piece) -> bool, is_better: impl Fn(&Piece, &Piece) -> bool) -> Search {
        let mut found: Option<(usize, &Piece)> = None;
        for (position, piece) in self.pieces.iter().enumerate() {
            if fits(piece) && found.is_none_or(|(_, best)| is_better(piece, best)) {
                found = Some((position, piece));
            }
        }
        Search { found: found.map(|(position, _)| position), looked_at: self.pieces.len() as u64 }
    }

    /// Takes `bytes` bytes out of the piece at `position`, `lead` bytes above its start. What is left keeps its place.
    pub fn take(&mut self, position: usize, lead: u64, bytes: u64) {
        let piece = self.pieces[position];
        let rest = Piece { start: piece.start + lead + bytes, bytes: piece.bytes - lead - bytes };
        self.bytes -= bytes;
        self.rover = narrow(position);
        match (lead > 0, rest.bytes > 0) {
            (false, false) => self.remove_at(position),
            (false, true) => self.pieces[position] = rest,
            (true, has_rest) => {
                self.pieces[position].bytes = lead;
                if has_rest {
                    self.insert_at(position + 1, rest);
                }
            }
        }
    }

    /// Adds a freed piece where the order wants it; then neighbours join, if they do.
    pub fn insert(&mut self, piece: Piece) {
        self.bytes += piece.bytes;
        match self.order {
            Order::Address => return self.insert_by_address(piece),
            Order::InsertFront => self.insert_at(0, piece),
            Order::InsertBack => self.insert_at(self.pieces.len(), piece),
            Order::SizeUp => self.insert_sorted(piece, |piece| piece.bytes),
            Order::SizeDown => self.insert_sorted(piece, |piece| !piece.bytes),
        }
        if self.coalesce && self.may_touch {
            self.join_list_neighbours();
        }
        self.may_touch = false;
    }

    /// In address order pieces that touch are next to each other in the list, and have joined when the younger one came:
    /// only the two neighbours of the new one can join now.
    fn insert_by_address(&mut self, piece: Piece) {
        let position = self.pieces.partition_point(|other| other.start < piece.start);
        let joins_below = self.coalesce && position > 0 && self.pieces[position - 1].end() == piece.start;
        let joins_above = self.coalesce && self.pieces.get(position).is_some_and(|above| piece.end() == above.start);
        match (joins_below, joins_above) {
            (false, false) => self.insert_at(position, piece),
            (true, false) => self.pieces[position - 1].bytes += piece.bytes,
            (false, true) => {
                let above = &mut self.pieces[position];
                *above = Piece { start: piece.start, bytes: piece.bytes + above.bytes };
            }
            (true, true) => {
                self.pieces[position - 1].bytes += piece.bytes + self.pieces[position].bytes;
                let rover_joins = self.rover() == position;
                self.remove_at(position);
                self.rover = if rover_joins { narrow(position - 1) } else { self.rover };
            }
        }
    }

    /// Appends, then sorts stably by `key`. Pieces that were split or joined since the last time stand out of order, few of
    /// them: each is moved to its place in the sorted pieces before it.
    fn insert_sorted(&mut self, piece: Piece, key: impl Fn(&Piece) -> u64) {
        self.insert_at(self.pieces.len(), piece);
        let mut position = 1;
        while position < self.pieces.len() {
            let low = key(&self.pieces[position]);
            let high = key(&self.pieces[position - 1]);
            if high <= low {
                position += 1;
            } else if position > 1 && key(&self.pieces[position - 2]) > low {
                let to = self.pieces[..position].partition_point(|other| key(other) <= low);
                self.move_piece(position, to);
            } else {
                // The one before is out of order, not this one.
                let above = self.pieces[position..].iter().take_while(|other| key(other) < high).count();
                self.move_piece(position - 1, position - 1 + above);
            }
        }
    }

    /// Moves a piece to another position; those between move by one. The rover stays on its piece.
    fn move_piece(&mut self, from: usize, to: usize) {
        self.may_touch = true;
        let rover = self.rover();
        if to < from {
            self.pieces[to..=from].rotate_right(1);
        } else {
            self.pieces[from..=to].rotate_left(1);
        }
        self.rover = match rover {
            rover if rover == from => narrow(to),
            rover if (to..from).contains(&rover) => self.rover + 1,
            rover if (from + 1..=to).contains(&rover) => self.rover - 1,
            _ => self.rover,
        };
    }

    /// One pass from the front: a piece that starts where the one just before it in the list ends is joined to it.
    fn join_list_neighbours(&mut self) {
        let joins = |pair: &[Piece]| pair[0].end() == pair[1].start;
        let Some(first) = self.pieces.windows(2).position(joins) else { return };
        let mut last = first;
        let rover = self.rover();
        for position in first + 1..self.pieces.len() {
            let piece = self.pieces[position];
            if self.pieces[last].end() == piece.start {
                self.pieces[last].bytes += piece.bytes;
            } else {
                last += 1;
                self.pieces[last] = piece;
            }
            if position == rover {
                self.rover = narrow(last);
            }
        }
        self.pieces.truncate(last + 1);
    }

    /// Takes up to `bytes` bytes, whole `unit`s, off the piece that ends at `end`, when it has at least `at_least` of them.
    pub fn cut_back(&mut self, end: u64, at_least: u64, unit: u64) -> u64 {
        let position = match self.order {
            Order::Address => self.pieces.len().checked_sub(1),
            _ => self.pieces.iter().position(|piece| piece.end() == end),
        };
        let Some(position) = position else { return 0 };
        let piece = &mut self.pieces[position];
        if piece.end() != end || piece.bytes < at_least {
            return 0;
        }
        let cut = piece.bytes / unit * unit;
        piece.bytes -= cut;
        self.bytes -= cut;
        if piece.bytes == 0 {
            self.remove_at(position);
        }
        cut
    }

    fn rover(&self) -> usize {
        crate::index(self.rover.into())
    }

    fn insert_at(&mut self, position: usize, piece: Piece) {
        if !self.pieces.is_empty() && position <= self.rover() {
            self.rover += 1;
        }
        self.pieces.insert(position, piece);
        self.note_neighbours(position);
        self.note_neighbours(position + 1);
    }

    /// Notes whether the piece at `position` starts where the one before it ends.
    fn note_neighbours(&mut self, position: usize) {
        if let Some(&[before, piece]) = self.pieces.get(position.wrapping_sub(1)..=position) {
            self.may_touch |= before.end() == piece.start;
        }
    }

    /// The rover moves on to the piece behind the one removed, from the last to the first.
    fn remove_at(&mut self, position: usize) {
        self.pieces.remove(position);
        self.note_neighbours(position);
        if position < self.rover() {
            self.rover -= 1;
        } else if self.rover() == self.pieces.len() {
            self.rover = 0;
        }
    }
}

fn narrow(position: usize) -> u32 {
    u32::try_from(position).expect("a free list has fewer than 2^32 pieces")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The list as its rules say it, without a thought for speed.
    fn insert_naively(list: &mut Vec<Piece>, piece: Piece, order: Order, coalesce: bool) {
        match order {
            Order::InsertFront => list.insert(0, piece),
            _ => list.push(piece),
        }
        match order {
            Order::Address => list.sort_by_key(|piece| piece.start),
            Order::SizeUp => list.sort_by_key(|piece| piece.bytes),
            Order::SizeDown => list.sort_by_key(|piece| std::cmp::Reverse(piece.bytes)),
            Order::InsertFront | Order::InsertBack => {}
        }
        let mut at = 1;
        while coalesce && at < list.len() {
            if list[at - 1].end() == list[at].start {
                list[at - 1].bytes += list.remove(at).bytes;
            } else {
                at += 1;
            }
        }
    }

    proptest! {
        #[test]
        fn the_list_is_the_one_its_rules_give(
            order in prop::sample::select(vec![
                Order::Address, Order::SizeUp, Order::SizeDown, Order::InsertFront, Order::InsertBack,
            ]),
            coalesce: bool,
            steps in prop::collection::vec((any::<bool>(), 0_usize..64, 1_u64..9), 1..120),
        ) {
            let mut list = PieceList::new(order, coalesce);
            let mut naive = vec![Piece { start: 0, bytes: 400 }];
            list.insert(naive[0]);
            let mut live = Vec::new();
            for (takes, nth, bytes) in steps {
                if takes && !naive.is_empty() {
                    let position = nth % naive.len();
                    let piece = naive[position];
                    let bytes = bytes.min(piece.bytes);
                    list.take(position, 0, bytes);
                    naive[position] = Piece { start: piece.start + bytes, bytes: piece.bytes - bytes };
                    naive.retain(|piece| piece.bytes > 0);
                    live.push(Piece { start: piece.start, bytes });
                } else if !live.is_empty() {
                    let piece = live.swap_remove(nth % live.len());
                    list.insert(piece);
                    insert_naively(&mut naive, piece, order, coalesce);
                }
                prop_assert_eq!(list.pieces(), &naive[..]);
                prop_assert!(list.rover() < naive.len().max(1));
            }
        }

        #[test]
        fn the_rover_stays_on_its_piece(
            order in prop::sample::select(vec![
                Order::Address, Order::SizeUp, Order::SizeDown, Order::InsertFront, Order::InsertBack,
            ]),
            freed in prop::collection::vec(0_u64..40, 2..30),
            rover in 0_usize..30,
        ) {
            let mut list = PieceList::new(order, true);
            let mut seen = std::collections::BTreeSet::new();
            let mut byte_of_rover = None;
            for (step, at) in freed.into_iter().enumerate() {
                if !seen.insert(at) {
                    continue;
                }
                list.insert(Piece { start: at * 8, bytes: 8 });
                if let Some(byte) = byte_of_rover {
                    let piece = list.pieces()[list.rover()];
                    prop_assert!(piece.start <= byte && byte < piece.end(), "{byte} not in {piece:?}");
                } else if step >= 2 {
                    list.rover = u32::try_from(rover % list.pieces().len()).unwrap();
                    byte_of_rover = Some(list.pieces()[list.rover()].start);
                }
            }
        }
    }
}
