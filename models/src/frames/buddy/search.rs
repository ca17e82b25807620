//! Which free block of a buddy system serves a request.

use super::block_map::WORD_ORDER;
use super::{Block, Buddy};
use crate::frames::{AllocError, Explanation, FrameRequest, FrameRun};
use crate::index;

/// A free block, and the frame in it that a request would get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) block: Block,
    pub(super) at: u64,
}

/// What a request means to a buddy system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) order: u32,
    align: u64,
    /// A block ends here at the latest.
    limit: u64,
    /// Any block of the order or above will do, from its start.
    pub(super) plain: bool,
}

impl Buddy {
    #[inline]
    pub(super) fn need(&self, request: &FrameRequest) -> Result<Need, AllocError> {
        if request.frames == 0 || request.align == 0 {
            return Err(AllocError::Empty);
        }
        let order = u64::BITS - (request.frames - 1).leading_zeros();
        if order > self.max_order {
            return Err(AllocError::TooLarge { asked: request.frames, limit: 1 << self.max_order });
        }
        let own_alignment = request.align == 1 || (1_u64 << order).is_multiple_of(request.align);
        let limit = request.below.map_or(u64::MAX, |below| below.0);
        Ok(Need { order, align: request.align, limit, plain: own_alignment && request.below.is_none() })
    }

    /// Rule 2.
    #[inline]
    pub(super) fn find(&self, need: Need) -> Option<Candidate> {
        if !need.plain {
            return self.orders_from(need.order).find_map(|order| self.candidate_from(need, order, 0));
        }
        let large_enough = self.orders_with_free & (u64::MAX << need.order);
        if large_enough == 0 {
            return None;
        }
        let block = self.lowest_of(large_enough.trailing_zeros());
        Some(Candidate { block, at: block.start })
    }

    fn orders_from(&self, order: u32) -> impl Iterator<Item = u32> {
        let with_free = self.orders_with_free;
        (order..self.top_order + 1).filter(move |order| with_free >> order & 1 == 1)
    }

    /// The lowest free block of an order that has one.
    #[inline]
    fn lowest_of(&self, order: u32) -> Block {
        let place = self.sets[index(u64::from(order))].places.lowest();
        Block { start: self.lowest_in_place(order, place), order }
    }

    #[inline]
    fn lowest_in_place(&self, order: u32, place: u64) -> u64 {
        if order < WORD_ORDER {
            place * 64 + u64::from(self.map.load(place).free_of_order(order).trailing_zeros())
        } else {
            place << order
        }
    }

    /// The lowest free block of `order` that starts at `from` or above.
    pub(super) fn first_of(&self, order: u32, from: u64) -> Option<Block> {
        let places = &self.sets[index(u64::from(order))].places;
        if order >= WORD_ORDER {
            let place = places.first_from(from.div_ceil(1 << order))?;
            return Some(Block { start: place << order, order });
        }
        if from / 64 < self.map.words() {
            let here = self.map.load(from / 64).free_of_order(order) & (u64::MAX << (from % 64));
            if here != 0 {
                return Some(Block { start: from / 64 * 64 + u64::from(here.trailing_zeros()), order });
            }
        }
        let place = places.first_from(from / 64 + 1)?;
        Some(Block { start: self.lowest_in_place(order, place), order })
    }

    /// The lowest free block of `order`, from `from` on, with room for the need.
    fn candidate_from(&self, need: Need, order: u32, from: u64) -> Option<Candidate> {
        let step = common_multiple(need.align, need.order);
        let mut from = from;
        loop {
            let block = self.first_of(order, from)?;
            let at = block.start.div_ceil(step).saturating_mul(step);
            let end = at.saturating_add(1 << need.order);
            if end > need.limit {
                return None;
            }
            if end <= block.end() {
                return Some(Candidate { block, at });
            }
            // The next frame that will do is above this block: so is the block that holds it.
            from = at >> order << order;
        }
    }

    /// The first free blocks that would do, in the order they are looked at, and how many there are.
    fn candidates(&self, need: Need) -> (Vec<FrameRun>, u64) {
        let mut all = self.orders_from(need.order).flat_map(move |order| {
            let after = move |last: &Candidate| self.candidate_from(need, order, last.block.end());
            std::iter::successors(self.candidate_from(need, order, 0), after)
        });
        let shown: Vec<FrameRun> = all.by_ref().take(Explanation::SHOWN).map(|found| found.block.run()).collect();
        let total = if need.plain {
            self.orders_from(need.order).map(|order| self.sets[index(u64::from(order))].blocks).sum()
        } else {
            (shown.len() + all.count()) as u64
        };
        (shown, total)
    }

    /// [`FrameAllocator::explain`](crate::frames::FrameAllocator::explain).
    pub(super) fn explain_search(&self, request: &FrameRequest) -> Explanation {
        let need = self.need(request);
        let (candidates, candidates_total) = need.map_or_else(|_| (Vec::new(), 0), |need| self.candidates(need));
        let found = need.map(|need| (need, self.find(need)));
        let chosen = found.and_then(|(need, found)| {
            found.map(|found| FrameRun::new(found.at, 1 << need.order)).ok_or_else(|| self.refusal(request))
        });
        let rule = match found {
            Ok((need, Some(candidate))) => rule_of(request, need, candidate),
            _ => "no order from the request's own up has a free block that will do".to_owned(),
        };
        Explanation { candidates, candidates_total, rule, chosen }
    }
}

fn rule_of(request: &FrameRequest, need: Need, candidate: Candidate) -> String {
    let halvings = candidate.block.order - need.order;
    let size = 1_u64 << need.order;
    let mut rule = if size == request.frames {
        "the smallest free block that will do, the lowest of that size".to_owned()
    } else {
        format!(
            "{} frames are rounded up to {size}; the smallest free block that will do, the lowest of that size",
            request.frames
        )
    };
    match halvings {
        0 => rule.push_str(": an exact fit"),
        1 => rule.push_str(": halved once"),
        times => rule.push_str(&format!(": halved {times} times")),
    }
    rule
}

/// The least common multiple of `align` and `2^order`; the largest number where it does not fit, of which only 0 is a
/// multiple in any memory.
fn common_multiple(align: u64, order: u32) -> u64 {
    let twos = align.trailing_zeros();
    let wide = u128::from(align >> twos) << twos.max(order);
    u64::try_from(wide).unwrap_or(u64::MAX)
}
