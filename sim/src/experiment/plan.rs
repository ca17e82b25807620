//! Which cell comes next.

use std::collections::BTreeSet;

use framesim_models::index;
use framesim_workloads::experiment::Replicas;

use super::cell::Key;
use crate::statistics::Moments;

/// Cells that may be started beyond the first one that is not done.
pub const WINDOW: u64 = 1_024;

/// A part of an experiment's cells: the `number`-th of `of`, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Shard {
    /// Which one, from 1.
    pub number: u64,
    /// Of how many.
    pub of: u64,
}

impl Shard {
    /// All of an experiment.
    pub const WHOLE: Shard = Shard { number: 1, of: 1 };

    fn has(self, index: u64) -> bool {
        index % self.of == self.number - 1
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This cell.
    Cell(Key),
    /// Something, once a cell that was started is done.
    Wait,
    /// Nothing.
    Done,
}

/// The cells of an experiment or of a shard of it, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    points: u64,
    policies: u32,
    heaps: u32,
    replicas: Replicas,
    confidence: f64,
    shard: Shard,
    /// The next cell, whether or not it is the shard's.
    at: Key,
    /// Replicas of the current point that are decided on.
    decided: u64,
    /// Cells handed out so far, and those of them that are not done.
    handed_out: u64,
    open: BTreeSet<(u64, Key)>,
    /// Values of the current point that decide about more replicas: by policy and heap, then replica.
    values: Vec<Vec<Option<f64>>>,
}

impl Plan {
    /// Of `points` points.
    #[must_use]
    pub fn new(points: u64, models: (u32, u32), replicas: &Replicas, confidence: f64, shard: Shard) -> Plan {
        let (policies, heaps) = models;
        let combinations = policies as usize * heaps as usize;
        Plan {
            points,
            policies,
            heaps,
            replicas: replicas.clone(),
            confidence,
            shard,
            at: Key { point: 0, replica: 0, policy: 0, heap: 0 },
            decided: replicas.bounds().0,
            handed_out: 0,
            open: BTreeSet::new(),
            values: vec![Vec::new(); combinations],
        }
    }

    /// Cells there are at most.
    #[must_use]
    pub fn cells_most(&self) -> u64 {
        let (per_replica, most) = (u64::from(self.policies) * u64::from(self.heaps), self.replicas.bounds().1);
        let of_shard = |all: u64| all / self.shard.of + u64::from(all % self.shard.of >= self.shard.number);
        match self.replicas {
            Replicas::Count(_) => of_shard(self.points.saturating_mul(per_replica).saturating_mul(most)),
            Replicas::Until { .. } => of_shard(self.points).saturating_mul(per_replica).saturating_mul(most),
        }
    }

    /// The next cell of the shard.
    pub fn next_cell(&mut self) -> Next {
        loop {
            if self.at.point == self.points {
                return if self.open.is_empty() { Next::Done } else { Next::Wait };
            }
            if self.at.replica == self.decided {
                match self.decide() {
                    Decision::Wait => return Next::Wait,
                    Decision::More(replicas) => self.decided = replicas,
                    Decision::Enough => self.next_point(),
                }
                continue;
            }
            if !self.shard_has(self.at) {
                self.advance();
                continue;
            }
            if self.open.first().is_some_and(|(first, _)| self.handed_out >= first + WINDOW) {
                return Next::Wait;
            }
            let key = self.at;
            self.open.insert((self.handed_out, key));
            self.handed_out += 1;
            self.advance();
            return Next::Cell(key);
        }
    }

    /// A cell that was handed out is done; `value` is that of the metric that decides about more replicas.
    pub fn done(&mut self, key: Key, value: Option<f64>) {
        // Few are open, and the oldest are done first.
        let place = self.open.iter().find(|(_, open)| *open == key).copied();
        let place = place.expect("a cell that is done was handed out");
        self.open.remove(&place);
        if let Replicas::Until { .. } = self.replicas {
            let values = &mut self.values[key.policy as usize * self.heaps as usize + key.heap as usize];
            if values.len() <= index(key.replica) {
                values.resize(index(key.replica) + 1, None);
            }
            values[index(key.replica)] = value;
        }
    }

    /// Gives up what is left of the current point: a shard that would decide about it is not there.
    pub fn skip_point(&mut self) {
        self.open.clear();
        self.next_point();
    }

    /// Which shard has a cell.
    #[must_use]
    pub fn shard_of(&self, key: Key, shards: u64) -> u64 {
        self.index(key) % shards + 1
    }

    fn shard_has(&self, key: Key) -> bool {
        self.shard.has(self.index(key))
    }

    /// What shards are made by: the cell's number, or the point's where results decide how many cells it has.
    fn index(&self, key: Key) -> u64 {
        match self.replicas {
            Replicas::Until { .. } => key.point,
            Replicas::Count(replicas) => {
                let combination = u64::from(key.policy) * u64::from(self.heaps) + u64::from(key.heap);
                let per_replica = u64::from(self.policies) * u64::from(self.heaps);
                (key.point * replicas + key.replica) * per_replica + combination
            }
        }
    }

    fn advance(&mut self) {
        self.at.heap += 1;
        if self.at.heap == self.heaps {
            self.at.heap = 0;
            self.at.policy += 1;
        }
        if self.at.policy == self.policies {
            self.at.policy = 0;
            self.at.replica += 1;
        }
    }

    fn next_point(&mut self) {
        self.at = Key { point: self.at.point + 1, replica: 0, policy: 0, heap: 0 };
        self.decided = self.replicas.bounds().0;
        self.values.iter_mut().for_each(Vec::clear);
    }

    fn decide(&self) -> Decision {
        let Replicas::Until { width, step, most, .. } = &self.replicas else { return Decision::Enough };
        if !self.shard_has(self.at) || self.decided >= *most {
            return Decision::Enough;
        }
        if !self.open.is_empty() {
            return Decision::Wait;
        }
        let is_narrow = |values: &Vec<Option<f64>>| {
            let values: Option<Vec<f64>> = values.iter().copied().collect();
            let interval = values.and_then(|values| Moments::of(&values).interval(self.confidence));
            interval.is_some_and(|interval| interval.width() <= width.get())
        };
        if self.values.iter().all(is_narrow) {
            return Decision::Enough;
        }
        Decision::More(self.decided.saturating_add(*step).min(*most))
    }
}

enum Decision {
    Wait,
    More(u64),
    Enough,
}

#[cfg(test)]
mod tests {
    use framesim_workloads::spec::Positive;

    use super::*;

    fn plan(replicas: &Replicas, shard: Shard) -> Plan {
        Plan::new(2, (2, 1), replicas, 0.95, shard)
    }

    /// All cells, each done at once with this value.
    fn cells(mut plan: Plan, value: impl Fn(Key) -> f64) -> Vec<String> {
        let mut list = Vec::new();
        loop {
            match plan.next_cell() {
                Next::Cell(key) => {
                    list.push(format!("{}{}{}", key.point, key.replica, key.policy));
                    plan.done(key, Some(value(key)));
                }
                Next::Wait => panic!("nothing is open"),
                Next::Done => return list,
            }
        }
    }

    const COUNT: Replicas = Replicas::Count(3);

    fn until(width: f64) -> Replicas {
        let width = Positive::new(width).expect("above 0");
        Replicas::Until { metric: "holes".to_owned(), width, least: 2, step: 1, most: 5 }
    }

    #[test]
    fn cells_are_in_order_by_point_replica_and_policy() {
        let all = cells(plan(&COUNT, Shard::WHOLE), |_| 0.0);
        assert_eq!(all.join(" "), "000 001 010 011 020 021 100 101 110 111 120 121");
        assert_eq!(plan(&COUNT, Shard::WHOLE).cells_most(), 12);
    }

    #[test]
    fn shards_have_every_cell_once() {
        for replicas in [COUNT, until(0.5)] {
            let value = |key: Key| f64::from(u32::try_from(key.replica % 2).expect("small"));
            let mut of_shards: Vec<String> = (1..=3)
                .flat_map(|number| {
                    let shard = Shard { number, of: 3 };
                    let cells = cells(plan(&replicas, shard), value);
                    assert!(cells.len() as u64 <= plan(&replicas, shard).cells_most());
                    cells
                })
                .collect();
            of_shards.sort();
            assert_eq!(of_shards, cells(plan(&replicas, Shard::WHOLE), value));
        }
    }

    #[test]
    fn replicas_go_on_until_the_interval_is_narrow_for_all_policies() {
        // The first policy has no spread; the second has one of 0.1 at point 0, and of 10 at point 1.
        let value = |key: Key| match (key.policy, key.point, key.replica % 2) {
            (0, ..) | (_, _, 0) => 1.0,
            (_, 0, _) => 1.1,
            _ => 11.0,
        };
        let all = cells(plan(&until(0.3), Shard::WHOLE), value);
        let of = |point: char| all.iter().filter(|cell| cell.starts_with(point)).count();
        // Interval of 1, 1.1, 1: 1.033 +- 0.143. The other goes on to the most there may be.
        assert_eq!((of('0'), of('1')), (3 * 2, 5 * 2));
    }

    #[test]
    fn nothing_is_decided_before_all_that_decides_is_there() {
        let mut plan = plan(&until(0.3), Shard::WHOLE);
        let first: Vec<Next> = (0..4).map(|_| plan.next_cell()).collect();
        assert_eq!(plan.next_cell(), Next::Wait);
        let Next::Cell(key) = first[0] else { panic!("a cell") };
        plan.done(key, Some(1.0));
        assert_eq!(plan.next_cell(), Next::Wait);
    }

    #[test]
    fn no_cell_is_started_far_beyond_one_that_is_not_done() {
        let mut plan = Plan::new(1, (1, 1), &Replicas::Count(10_000), 0.95, Shard::WHOLE);
        let Next::Cell(slow) = plan.next_cell() else { panic!("a cell") };
        let mut started = 1;
        while let Next::Cell(key) = plan.next_cell() {
            plan.done(key, None);
            started += 1;
        }
        assert_eq!(started, WINDOW);
        plan.done(slow, None);
        assert!(matches!(plan.next_cell(), Next::Cell(_)));
    }
}
