//! External and internal fragmentation: what cannot be used, of what is free and of what was granted.

use super::Ratio;
use crate::frames::{FrameAllocator, FrameRun};

/// External fragmentation: the share of the free frames outside the largest piece, 1 - largest / free; 0 when none is free.
///
/// Two readings, told apart by `largest`: by free *run* ([`longest_free_run`]), which compares all policies, and by free
/// *block* ([`FrameAllocator::largest_request`]), which is what a buddy system can hand out at once.
#[must_use]
pub fn external_fragmentation(largest: u64, free: u64) -> Ratio {
    Ratio::share(free - largest.min(free), free)
}

/// Internal fragmentation: the share of what was granted that nobody asked for, 1 - asked / granted; 0 when nothing was
/// granted.
#[must_use]
pub fn internal_fragmentation(asked: u64, granted: u64) -> Ratio {
    Ratio::share(granted - asked.min(granted), granted)
}

/// Frames of the longest run of free frames, whatever pieces the policy keeps it in. A walk over all free runs.
#[must_use]
pub fn longest_free_run(frames: &(impl FrameAllocator + ?Sized)) -> u64 {
    let (mut longest, mut current) = (0, FrameRun::default());
    frames.for_each_free(&mut |piece| {
        current = if piece.start == current.end() && !current.is_empty() {
            FrameRun::between(current.start, piece.end())
        } else {
            piece
        };
        longest = longest.max(current.frames);
    });
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_free_frames_outside_the_largest_run_is_one_half() {
        assert_eq!(format!("{:.1}", external_fragmentation(2, 4)), "0.5");
        assert_eq!(external_fragmentation(4, 4).permille(), 0);
        assert_eq!(external_fragmentation(0, 0), Ratio::ZERO);
    }

    #[test]
    fn waste_is_a_share_of_what_was_granted_not_of_what_was_asked() {
        assert_eq!(internal_fragmentation(3, 4).permille(), 250);
        assert_eq!(internal_fragmentation(0, 0), Ratio::ZERO);
    }
}
