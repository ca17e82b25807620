//! Fingerprints of a run: of its trajectory as it goes, and of the state it ends in.
//!
//! # Models
//! What OMNeT++ calls a fingerprint and madsim checks by running twice: two runs that do the same have the same digest, and a
//! log of digests says at which event two runs parted.
//!
//! # Rules
//! 1. [`Trajectory`] takes in words of 128 bits, one after the other: `s = (s ^ word) * MULTIPLIER; s ^= s >> 64`. Each step is
//!    a bijection of the state, so two runs that differ in one word differ from there on until another word makes up for it.
//! 2. What is printed is sealed: BLAKE3 in key derivation mode, of the state and the number of words.
//! 3. The mixing is frozen; its test vectors say so. A change of it is a change of every recorded digest.
//!
//! # Invariants
//! A digest depends on the words and their order only: not on the platform, the build, or on who looks on.
//!
//! # Cost
//! Three multiplications of 64 bits for a word; sealing once a run, or once a line of a digest log.
//!
//! # Left out
//! Protection against somebody who makes two runs collide on purpose.

mod log;

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

pub use log::{Difference, LogError, LogHead, LogReader, LogWriter};

/// The 128-bit multiplier of PCG (O'Neill 2014), chosen there by the spectral test.
const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;
/// Any state but 0 would do; these are the first 32 digits of the fraction of pi, in hexadecimal.
const START: u128 = 0x243f_6a88_85a3_08d3_1319_8a2e_0370_7344;

/// The rolling digest of what happened so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trajectory {
    state: u128,
    words: u64,
}

impl Default for Trajectory {
    fn default() -> Trajectory {
        Trajectory { state: START, words: 0 }
    }
}

impl Trajectory {
    /// Takes in one word.
    #[inline]
    pub fn absorb(&mut self, word: u128) {
        let mixed = (self.state ^ word).wrapping_mul(MULTIPLIER);
        self.state = mixed ^ (mixed >> 64);
        self.words += 1;
    }

    /// Takes in two halves of a word.
    #[inline]
    pub fn absorb_pair(&mut self, high: u64, low: u64) {
        self.absorb((u128::from(high) << 64) | u128::from(low));
    }

    /// Sixteen bits of the state: what a digest log keeps of each event.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "sixteen bits are what is asked for")]
    pub fn check(&self) -> u16 {
        self.state as u16
    }

    /// The digest of all words so far.
    #[must_use]
    pub fn seal(&self) -> Digest {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.state.to_le_bytes());
        bytes[16..].copy_from_slice(&self.words.to_le_bytes());
        Digest::of("framesim trajectory v1", &bytes)
    }
}

/// A sealed fingerprint of 128 bits. Shown with 16 hexadecimal digits, with all 32 as `{:#}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest of `bytes`, apart from the same bytes in another use.
    #[must_use]
    pub fn of(usage: &str, bytes: &[u8]) -> Digest {
        Sealer::new(usage).with(bytes).seal()
    }

    /// Its bytes, to be kept.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The digest that was kept as these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Digest {
        Digest(bytes)
    }
}

/// A digest of many bytes, given piece by piece.
pub struct Sealer(blake3::Hasher);

impl Sealer {
    /// Of nothing so far. What is digested for another `usage` has another digest.
    #[must_use]
    pub fn new(usage: &str) -> Sealer {
        Sealer(blake3::Hasher::new_derive_key(usage))
    }

    /// Takes in more bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The same with more bytes.
    #[must_use]
    pub fn with(mut self, bytes: &[u8]) -> Sealer {
        self.add(bytes);
        self
    }

    /// The digest of all bytes so far.
    #[must_use]
    pub fn seal(&self) -> Digest {
        let mut digest = [0; 16];
        self.0.finalize_xof().fill(&mut digest);
        Digest(digest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if f.alternate() { 16 } else { 8 };
        self.0[..shown].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:#}"))
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn after(words: &[u128]) -> Trajectory {
        let mut trajectory = Trajectory::default();
        words.iter().for_each(|&word| trajectory.absorb(word));
        trajectory
    }

    #[test]
    fn the_mixing_is_frozen() {
        assert_snapshot!(format!("{:032x}", after(&[0]).state), @"18424b1ecb241c8a44630666d96675de");
        assert_snapshot!(format!("{:032x}", after(&[1]).state), @"3ba33823eaea7a2ea40414ff58e525b7");
        assert_snapshot!(format!("{:032x}", after(&[u128::MAX, 0, 7]).state), @"38e8e67044b0988bf6c49369c3450b94");
        let many: Vec<u128> = (0..1000).map(|n: u128| n << (n % 120)).collect();
        assert_snapshot!(format!("{:032x}", after(&many).state), @"e0ac62da5b6e105ab68df1f303b701d5");
        assert_snapshot!(format!("{:#}", after(&[]).seal()), @"74e1d046a756b49d1859e19066ea03b1");
        assert_snapshot!(format!("{:#}", after(&many).seal()), @"6186f709aeafffeb348259fbc21f1629");
        assert_snapshot!(after(&many).seal(), @"6186f709aeafffeb");
    }

    #[test]
    fn each_bit_of_a_word_reaches_the_check_within_two_words() {
        for bit in 0..128 {
            let (here, there) = (after(&[0, 5, 9]), after(&[1 << bit, 5, 9]));
            assert_ne!(here.state, there.state, "bit {bit}");
            assert_ne!(here.check(), there.check(), "bit {bit}");
        }
    }

    #[test]
    fn order_and_number_of_words_count() {
        assert_ne!(after(&[1, 2]).seal(), after(&[2, 1]).seal());
        // The word that brings the start state back to itself would be invisible without the count.
        let undo = START ^ after(&[]).state;
        assert_ne!(after(&[undo]).seal(), after(&[]).seal());
    }

    #[test]
    fn one_use_is_not_another() {
        assert_ne!(Digest::of("a", b"x"), Digest::of("b", b"x"));
    }
}
