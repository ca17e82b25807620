//! Random numbers by name: every stream's key comes from the seed and from what it is for, never from the order of creation.
//!
//! # Scheme, version 1
//! - `root = blake3.derive_key("framesim rng v1 root", seed as 8 bytes ‖ replica as 4 bytes)`, both little-endian.
//! - `key = blake3.keyed_hash(root, domain ‖ id ‖ purpose)`, before each part its length as 4 bytes little-endian. The
//!   stream is ChaCha8 under that key, from its start.
//! - Operation `k` of a process starts at 32-bit word `16 B k` of its stream: it has `B` blocks of 64 bytes, and how many numbers it
//!   draws from them moves no later operation. An operation that needs more goes on in the stream of purpose
//!   `overflow`, at word `2^20 k`.
//!
//! So two policies under one seed see the same requests, and a new group of processes changes none of another's.
//!
//! # Cost
//! A key 131 ns. An operation reads its whole block in order; going to another place in a stream computes four blocks, so
//! [`Blocks`] keeps the generators of the streams used last, each where it stopped. A process keeps its key and a
//! counter, 40 bytes, rather than a generator of 320.

use framesim_models::Coins;

/// A source of random numbers.
pub trait Draw {
    /// The next 64 bits.
    fn draw(&mut self) -> u64;

    /// A number in `0..bound`, each equally likely, by the method of [`Coins::below`].
    ///
    /// # Panics
    /// When `bound` is 0.
    fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a range of random numbers is not empty");
        loop {
            let product = u128::from(self.draw()) * u128::from(bound);
            let low = low_half(product);
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return low_half(product >> 64);
            }
        }
    }
}

impl Draw for Coins {
    fn draw(&mut self) -> u64 {
        self.next_u64()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low_half(wide: u128) -> u64 {
    wide as u64
}

/// What a stream's numbers are for, at the coarsest: a domain's streams never meet another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// What processes ask for; never depends on a policy or on the memory's size.
    Workload,
    /// A model's own coin flips.
    Policy,
    /// Faults that are put in.
    Fault,
    /// Workloads that are made at random.
    Swarm,
    /// Which part a sampled check looks at; never changes a result.
    Check,
}

impl Domain {
    const fn name(self) -> &'static str {
        match self {
            Domain::Workload => "workload",
            Domain::Policy => "policy",
            Domain::Fault => "fault",
            Domain::Swarm => "swarm",
            Domain::Check => "check",
        }
    }
}

/// The root of all streams of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds {
    root: [u8; 32],
}

impl Seeds {
    /// The root of a seed's replica; the first replica is 0.
    #[must_use]
    pub fn new(seed: u64, replica: u32) -> Seeds {
        let mut material = [0; 12];
        material[..8].copy_from_slice(&seed.to_le_bytes());
        material[8..].copy_from_slice(&replica.to_le_bytes());
        Seeds { root: blake3::derive_key("framesim rng v1 root", &material) }
    }

    /// The key of a stream: `id` is what draws (`web/3`), `purpose` what for (`requests`).
    #[must_use]
    pub fn key(&self, domain: Domain, id: &str, purpose: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.root);
        for part in [domain.name(), id, purpose] {
            let length = u32::try_from(part.len()).expect("names of streams are short");
            hasher.update(&length.to_le_bytes());
            hasher.update(part.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// The stream itself.
    #[must_use]
    pub fn coins(&self, domain: Domain, id: &str, purpose: &str) -> Coins {
        Coins::from_key(self.key(domain, id, purpose))
    }
}

/// Words of 32 bits in a block of ChaCha.
const BLOCK_WORDS: u128 = 16;
/// Numbers of 64 bits in a block.
const BLOCK_DRAWS: u32 = 8;
/// Words between two operations in an overflow stream.
const OVERFLOW_WORDS: u128 = 1 << 20;

/// Generators of the streams used last, so that the next operation of one need not start from its key.
///
/// Only a memory of what was computed: without it, or with a smaller one, the numbers are the same.
#[derive(Clone, Debug)]
pub struct Blocks {
    kept: Vec<Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    key: [u8; 32],
    /// The operation whose block the generator is at the start of.
    operation: u64,
    blocks: u32,
    coins: Coins,
}

impl Default for Blocks {
    fn default() -> Blocks {
        Blocks::of(1 << 10)
    }
}

impl Blocks {
    /// Room for `streams`, a power of two; more streams than that share it.
    ///
    /// # Panics
    /// When `streams` is no power of two.
    #[must_use]
    pub fn of(streams: usize) -> Blocks {
        assert!(streams.is_power_of_two(), "streams find their place by the low bits of their key");
        let nobody = Kept { key: [0; 32], operation: 0, blocks: 1, coins: Coins::from_key([0; 32]) };
        Blocks { kept: vec![nobody; streams] }
    }

    /// Lets `draws` draw for operation `operation` of the stream of `key`, which has `blocks` blocks for each; `overflow` is
    /// asked for the key of the overflow stream when they do not suffice.
    pub fn operation<T>(
        &mut self,
        key: &[u8; 32],
        operation: u64,
        blocks: u32,
        overflow: impl FnMut() -> [u8; 32],
        draws: impl FnOnce(&mut Draws<'_>) -> T,
    ) -> T {
        let place = usize::from(u16::from_le_bytes([key[0], key[1]])) & (self.kept.len() - 1);
        let kept = &mut self.kept[place];
        if kept.key != *key || kept.operation != operation || kept.blocks != blocks {
            kept.coins = Coins::from_key(*key);
            kept.coins.seek(BLOCK_WORDS * u128::from(blocks) * u128::from(operation));
            (kept.key, kept.blocks) = (*key, blocks);
        }
        let mut overflow = overflow;
        let mut source = Draws {
            coins: &mut kept.coins,
            left: BLOCK_DRAWS * blocks,
            operation,
            overflow_key: &mut overflow,
            overflow: None,
        };
        let result = draws(&mut source);
        source.skip_rest();
        kept.operation = operation + 1;
        result
    }
}

/// The random numbers of one operation.
pub struct Draws<'b> {
    coins: &'b mut Coins,
    /// Numbers left in the operation's own blocks.
    left: u32,
    operation: u64,
    overflow_key: &'b mut dyn FnMut() -> [u8; 32],
    overflow: Option<Coins>,
}

impl Draws<'_> {
    /// The generator stands at the next operation's block afterwards.
    fn skip_rest(&mut self) {
        for _ in 0..self.left {
            self.coins.next_u64();
        }
    }

    #[cold]
    fn beyond(&mut self) -> u64 {
        let coins = self.overflow.get_or_insert_with(|| {
            let mut coins = Coins::from_key((self.overflow_key)());
            coins.seek(OVERFLOW_WORDS * u128::from(self.operation));
            coins
        });
        coins.next_u64()
    }
}

impl Draw for Draws<'_> {
    #[inline]
    fn draw(&mut self) -> u64 {
        if self.left == 0 {
            return self.beyond();
        }
        self.left -= 1;
        self.coins.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Operation `operation` of a stream: its first `count` numbers.
    fn drawn(blocks: &mut Blocks, key: [u8; 32], operation: u64, count: u32) -> Vec<u64> {
        blocks.operation(&key, operation, 1, || [9; 32], |draws| (0..count).map(|_| draws.draw()).collect())
    }

    #[test]
    fn keys_are_those_of_version_1() {
        insta::assert_snapshot!(hex(&Seeds::new(1, 0).root), @"f024c8de77b8df6462f6c6acf4919208d04b6f726c2d2b0f28e6266e0ffcfa64");
        insta::assert_snapshot!(hex(&Seeds::new(42, 7).key(Domain::Workload, "web/3", "requests")), @"173fcae6fe5a161f7a3f6430f3787c4a3f7439fa8ee58b63f18bbd7fa33512ee");
        insta::assert_snapshot!(format!("{:016x}", Seeds::new(1, 0).coins(Domain::Policy, "frames", "").next_u64()), @"c3d5f36f9722afff");
    }

    #[test]
    fn names_that_run_together_have_different_keys() {
        let seeds = Seeds::new(1, 0);
        assert_ne!(seeds.key(Domain::Workload, "ab", "c"), seeds.key(Domain::Workload, "a", "bc"));
        assert_ne!(Seeds::new(1, 2), Seeds::new(2, 1));
        assert_ne!(seeds.key(Domain::Workload, "a", "b"), seeds.key(Domain::Policy, "a", "b"));
    }

    #[test]
    fn an_operation_starts_at_its_own_block() {
        let key = [3; 32];
        let mut coins = Coins::from_key(key);
        coins.seek(16 * 5);
        let fifth: Vec<u64> = (0..8).map(|_| coins.next_u64()).collect();
        let mut blocks = Blocks::of(4);
        assert_eq!(drawn(&mut blocks, key, 5, 8), fifth);
        assert_eq!(drawn(&mut blocks, key, 5, 3), fifth[..3]);
    }

    #[test]
    fn how_much_is_drawn_moves_no_later_operation() {
        let key = [3; 32];
        let mut little = Blocks::of(1);
        let mut much = Blocks::of(1);
        for operation in 0..20 {
            let two = drawn(&mut little, key, operation, 2);
            // Twelve are more than the block has: the rest is from the overflow stream.
            assert_eq!(drawn(&mut much, key, operation, 12)[..2], two);
        }
    }

    #[test]
    fn streams_that_share_a_place_do_not_mix() {
        let (a, b) = ([1; 32], [2; 32]);
        let mut alone = Blocks::of(64);
        let mut shared = Blocks::of(1);
        for operation in 0..10 {
            for key in [a, b] {
                assert_eq!(drawn(&mut shared, key, operation, 4), drawn(&mut alone, key, operation, 4));
            }
        }
    }

    #[test]
    fn what_a_block_does_not_hold_comes_from_the_overflow_stream() {
        let mut overflow = Coins::from_key([9; 32]);
        overflow.seek(2 << 20);
        let drawn = drawn(&mut Blocks::of(1), [3; 32], 2, 10);
        assert_eq!(drawn[8..], [overflow.next_u64(), overflow.next_u64()]);
    }

    #[test]
    fn below_is_that_of_the_models() {
        let mut coins = Coins::from_key([5; 32]);
        let mut again = Coins::from_key([5; 32]);
        for bound in [1, 2, 3, 1000, u64::MAX, (1 << 63) + 1] {
            for _ in 0..50 {
                assert_eq!(Draw::below(&mut coins, bound), again.below(bound));
            }
        }
    }
}
