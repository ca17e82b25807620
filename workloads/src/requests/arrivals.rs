//! When processes of a group arrive.

use framesim_models::Nanos;
use serde::{Deserialize, Serialize};

use crate::laws::Sampler;
use crate::spec::{Arrive, Group, Time};
use crate::streams::Blocks;

/// How far a group's arrivals are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrivals {
    group: u32,
    key: [u8; 32],
    /// Arrivals so far.
    arrived: u64,
    clock_ns: u64,
}

/// A group's arrivals, ready to draw.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    Listed(Vec<Time>),
    Every { gap_ns: u64, from_ns: u64, count: u64, until_ns: u64 },
    Poisson { gap: Sampler, from_ns: u64, count: u64, until_ns: u64 },
    Spawned,
}

impl Arrivals {
    pub(super) fn of(key: [u8; 32], group: u32) -> Arrivals {
        Arrivals { group, key, arrived: 0, clock_ns: 0 }
    }

    /// The group they are of.
    #[must_use]
    pub fn group(&self) -> u32 {
        self.group
    }

    /// Arrivals so far.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        self.arrived
    }
}

impl Plan {
    pub(super) fn of(group: &Group) -> Plan {
        let most = |until: &Option<Time>| until.map_or(u64::MAX, |until| until.0);
        match &group.arrive {
            Arrive::At(time) => Plan::Listed(vec![*time]),
            Arrive::AtEach(times) => Plan::Listed(times.clone()),
            Arrive::Every { gap, from, count, until } => {
                Plan::Every { gap_ns: gap.0, from_ns: from.0, count: count.unwrap_or(u64::MAX), until_ns: most(until) }
            }
            Arrive::Poisson { per_second, from, count, until } => Plan::Poisson {
                gap: Sampler::gaps(*per_second),
                from_ns: from.0,
                count: count.unwrap_or(u64::MAX),
                until_ns: most(until),
            },
            Arrive::Spawned => Plan::Spawned,
        }
    }

    pub(super) fn next(
        &self,
        arrivals: &mut Arrivals,
        blocks: &mut Blocks,
        overflow: impl FnMut() -> [u8; 32],
    ) -> Option<Nanos> {
        let arrived = arrivals.arrived;
        let time_ns = match self {
            Plan::Listed(times) => times.get(usize::try_from(arrived).ok()?)?.0,
            Plan::Every { gap_ns, from_ns, count, until_ns } => {
                let time_ns = gap_ns.checked_mul(arrived)?.checked_add(*from_ns)?;
                (arrived < *count && time_ns <= *until_ns).then_some(time_ns)?
            }
            Plan::Poisson { gap, from_ns, count, until_ns } => {
                let before_ns = if arrived == 0 { *from_ns } else { arrivals.clock_ns };
                let gap_ns = blocks.operation(&arrivals.key, arrived, 1, overflow, |source| gap.draw(source));
                let time_ns = before_ns.checked_add(gap_ns)?;
                (arrived < *count && time_ns <= *until_ns).then_some(time_ns)?
            }
            Plan::Spawned => return None,
        };
        arrivals.arrived += 1;
        arrivals.clock_ns = time_ns;
        Some(Nanos(time_ns))
    }
}
