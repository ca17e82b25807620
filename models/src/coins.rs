//! The one generator of random numbers, for models and for samplers alike.
//!
//! ChaCha8 with a key per stream and never a second stream of the same key. Only `next_u64` of the crate is used:
//! ranges are ours, so a new version of rand changes no result.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// A stream of random numbers: its whole state is the key and the position.
///
/// ```
/// use framesim_models::Coins;
/// let mut coins = Coins::from_key([0; 32]);
/// let first = coins.next_u64();
/// assert_eq!(Coins::from_key([0; 32]).next_u64(), first);
/// assert!(coins.below(6) < 6);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Position", into = "Position")]
pub struct Coins(ChaCha8Rng);

#[derive(Serialize, Deserialize)]
struct Position {
    key: [u8; 32],
    /// In words of 32 bits, as two halves: the low one first.
    word: (u64, u64),
}

impl Coins {
    /// The stream of `key`, from its start.
    #[must_use]
    pub fn from_key(key: [u8; 32]) -> Coins {
        Coins(ChaCha8Rng::from_seed(key))
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`, each equally likely (Lemire 2019, "Fast random integer generation in an interval").
    ///
    /// # Panics
    /// When `bound` is 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a range of random numbers is not empty");
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            let low = low_half(product);
            // Only the lowest `2^64 mod bound` values of the low half are one draw too many.
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return high_half(product);
            }
        }
    }

    /// Goes to a place in the stream, counted in words of 32 bits.
    pub fn seek(&mut self, word: u128) {
        self.0.set_word_pos(word);
    }

    /// The place in the stream, counted in words of 32 bits.
    #[must_use]
    pub fn position(&self) -> u128 {
        self.0.get_word_pos()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low_half(wide: u128) -> u64 {
    wide as u64
}

const fn high_half(wide: u128) -> u64 {
    low_half(wide >> 64)
}

impl From<Position> for Coins {
    fn from(at: Position) -> Coins {
        let mut coins = Coins::from_key(at.key);
        coins.seek(u128::from(at.word.0) | (u128::from(at.word.1) << 64));
        coins
    }
}

impl From<Coins> for Position {
    fn from(coins: Coins) -> Position {
        let word = coins.position();
        Position { key: coins.0.get_seed(), word: (low_half(word), high_half(word)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zero_key_starts_with_the_published_words() {
        let mut coins = Coins::from_key([0; 32]);
        assert_eq!(coins.next_u64(), 0xd640_5f89_2fef_003e);
        assert_eq!(coins.next_u64(), 0xa1a5_091f_e8b8_5b7f);
    }

    #[test]
    fn a_stream_read_back_goes_on_where_it_was() {
        let mut coins = Coins::from_key([7; 32]);
        for _ in 0..5 {
            coins.next_u64();
        }
        let bytes = postcard::to_stdvec(&coins).expect("coins can be written");
        let mut again: Coins = postcard::from_bytes(&bytes).expect("coins can be read");
        assert_eq!(again.next_u64(), coins.next_u64());
    }

    #[test]
    fn below_is_even_over_a_small_range() {
        let mut coins = Coins::from_key([1; 32]);
        let mut seen = [0_u32; 6];
        for _ in 0..60_000 {
            seen[usize::try_from(coins.below(6)).expect("small")] += 1;
        }
        // Each count is binomial with mean 10,000 and standard deviation 91.
        assert!(seen.iter().all(|count| count.abs_diff(10_000) < 400), "{seen:?}");
    }
}
