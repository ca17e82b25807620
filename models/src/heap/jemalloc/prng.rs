//! The linear congruential generator that places large blocks and spreads looks at the clock (`prng.h`).

use serde::{Deserialize, Serialize};

const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
const INCREMENT: u64 = 1_442_695_040_888_963_407;

/// Its state; the real one starts with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Prng(pub u64);

impl Prng {
    /// `bits` random bits, 1 to 64: the upper ones of the next state.
    pub(super) fn bits(&mut self, bits: u32) -> u64 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
        self.0 >> (64 - bits)
    }

    /// A number below `bound`, which is not 0: draws until one is.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let bits = bound.checked_next_power_of_two().map_or(64, |power| power.trailing_zeros()).max(1);
        loop {
            let drawn = self.bits(bits);
            if drawn < bound {
                return drawn;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_the_upper_bits_of_each_new_state() {
        let mut prng = Prng(0);
        assert_eq!(prng.bits(64), INCREMENT);
        assert_eq!(prng.bits(6), INCREMENT.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) >> 58);
    }

    #[test]
    fn a_bound_is_kept() {
        let mut prng = Prng(7);
        for bound in [1, 2, 3, 1_000, 50_000_000] {
            assert!((0..200).all(|_| prng.below(bound) < bound));
        }
    }
}
