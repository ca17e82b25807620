//! What a run will cost, before it runs: nothing is expanded, everything is multiplied.
//!
//! An estimate from means, rounded down where the workload leaves it open. It refuses what is far beyond the limits; the
//! simulator counts what really happens.

use super::Found;
use crate::load::diagnostic::Kind;
use crate::load::problem::{Path, Problem};
use crate::spec::{Arrive, Does, Group, Limits, Mix, Step, Workload, grouped};

/// Saturating: what is too large to count is too large to run.
#[derive(Clone, Copy, Default)]
struct Cost {
    processes: u128,
    events: u128,
    live_blocks: u128,
}

pub(super) fn check(workload: &Workload, found: &mut Found) {
    let limits = &workload.limits;
    let mut total = Cost::default();
    let mut started = Started { workload, counts: vec![None; workload.processes.len()] };
    for (index, group) in workload.processes.iter().enumerate() {
        let cost = group_cost(group, started.of(index), workload);
        let at = Path::default().field("processes").element(index);
        let of = |what: &str| format!("group `{}` {what}", group.name);
        limit(cost.events, limits.events, &of("makes"), "events", &at.field("does"), found);
        limit(cost.live_blocks, limits.live_blocks, &of("keeps"), "blocks live", &at.field("does"), found);
        limit(cost.processes, limits.processes, &of("starts"), "processes at once", &at.field("name"), found);
        total = total.and(cost);
    }
    if !found.problems.is_empty() {
        return;
    }
    let whole = Path::default().field("processes");
    limit(total.events, limits.events, "all groups make", "events", &whole, found);
    limit(total.live_blocks, limits.live_blocks, "all groups keep", "blocks live", &whole, found);
    limit(total.processes, limits.processes, "all groups start", "processes at once", &whole, found);
    let frames = u128::from(workload.machine.frames_total());
    let bytes = Limits::simulator_bytes(frames, total.live_blocks, total.processes);
    let machine = Path::default().field("machine").field("memory");
    limit(bytes, limits.memory.0, "the simulator would need", "bytes", &machine, found);
}

/// Events of all groups.
pub(super) fn events(workload: &Workload) -> u64 {
    let mut started = Started { workload, counts: vec![None; workload.processes.len()] };
    let groups = workload.processes.iter().enumerate();
    let costs = groups.map(|(index, group)| group_cost(group, started.of(index), workload));
    let events = costs.fold(0_u128, |sum, cost| sum.saturating_add(cost.events));
    u64::try_from(events).unwrap_or(u64::MAX)
}

fn limit(cost: u128, most: u64, who: &str, what: &str, at: &Path, found: &mut Found) {
    found.unless(cost <= u128::from(most), || {
        let field = match what {
            "bytes" => "memory",
            "events" => "events",
            "blocks live" => "live_blocks",
            _ => "processes",
        };
        let shown = u64::try_from(cost)
            .map_or_else(|_| format!("more than {}", grouped(u64::MAX)), |cost| format!("about {}", grouped(cost)));
        let mut problem = Problem::new(at.clone(), format!("{who} {shown} {what}"))
            .label(format!("the limit is {}", grouped(most)))
            .help(format!("`limits: ({field}: ..)` raises it"));
        problem.kind = Kind::Limit;
        problem
    });
}

impl Cost {
    fn and(self, other: Cost) -> Cost {
        Cost {
            processes: self.processes.saturating_add(other.processes),
            events: self.events.saturating_add(other.events),
            live_blocks: self.live_blocks.saturating_add(other.live_blocks),
        }
    }
}

/// How many processes of each group start, those that scripts spawn among them.
struct Started<'w> {
    workload: &'w Workload,
    /// Known ones; 0 for one that is being counted: what spawns itself is not counted again and again.
    counts: Vec<Option<u128>>,
}

impl Started<'_> {
    fn of(&mut self, index: usize) -> u128 {
        if let Some(count) = self.counts[index] {
            return count;
        }
        self.counts[index] = Some(0);
        let group = &self.workload.processes[index];
        let mut count = arrivals(&group.arrive, self.workload).saturating_mul(group.count.into());
        if group.arrive == Arrive::Spawned {
            for (parent, spawner) in self.workload.processes.iter().enumerate() {
                if let Does::Script(steps) = &spawner.does {
                    let each = spawns(steps, &group.name);
                    if each > 0 {
                        count = count.saturating_add(self.of(parent).saturating_mul(each));
                    }
                }
            }
        }
        self.counts[index] = Some(count);
        count
    }
}

/// How often a script spawns a process of that group.
fn spawns(steps: &[Step], group: &str) -> u128 {
    let of_step = |step: &Step| match step {
        Step::Spawn(name) => u128::from(name == group),
        Step::Repeat(times, steps) => spawns(steps, group).saturating_mul(times.0.into()),
        _ => 0,
    };
    steps.iter().fold(0, |sum: u128, step| sum.saturating_add(of_step(step)))
}

fn group_cost(group: &Group, processes: u128, workload: &Workload) -> Cost {
    // Processes that come one after the other need not be there at the same time.
    let at_once = match (&group.arrive, &group.live) {
        (Arrive::At(_), _) => processes,
        (Arrive::AtEach(_), None) => processes,
        _ => u128::from(group.count).min(processes),
    };
    // A thread has requests of its own, a start and an end.
    let (threads, (events, live_blocks)) = match &group.does {
        Does::Script(steps) => (1, script(steps)),
        Does::Mix(mix) => (u128::from(mix.threads), self::mix(mix, group, workload)),
        // As many as its file has: they are counted as they come.
        Does::Trace(_) => (1, (1, 0)),
    };
    Cost {
        processes: at_once.saturating_mul(threads),
        events: processes.saturating_mul(events.saturating_add(threads.saturating_mul(2))),
        live_blocks: at_once.saturating_mul(live_blocks),
    }
}

fn arrivals(arrive: &Arrive, workload: &Workload) -> u128 {
    let run_until = workload.until.map_or(u64::MAX, |until| until.0);
    let span =
        |from: u64, until: Option<u64>| u128::from(until.unwrap_or(u64::MAX).min(run_until).saturating_sub(from));
    match arrive {
        Arrive::At(_) => 1,
        Arrive::AtEach(times) => times.len() as u128,
        Arrive::Every { gap, from, count, until } => {
            let by_time = span(from.0, until.map(|until| until.0)) / u128::from(gap.0) + 1;
            by_time.min(count.map_or(u128::MAX, u128::from))
        }
        Arrive::Poisson { per_second, from, count, until } => {
            let gap_ns = crate::laws::mean_gap_ns(*per_second);
            let by_time = span(from.0, until.map(|until| until.0)) / u128::from(gap_ns);
            by_time.min(count.map_or(u128::MAX, u128::from))
        }
        Arrive::Spawned => 0,
    }
}

/// Events, and blocks that stay when a name is bound again and again.
fn script(steps: &[Step]) -> (u128, u128) {
    let (mut events, mut blocks) = (0_u128, 0_u128);
    for step in steps {
        match step {
            Step::Repeat(times, steps) => {
                let (inner_events, inner_blocks) = script(steps);
                events = events.saturating_add(inner_events.saturating_mul(times.0.into()));
                blocks = blocks.saturating_add(inner_blocks.saturating_mul(times.0.into()));
            }
            Step::Malloc(..) | Step::Calloc(..) | Step::Aligned(..) => {
                events = events.saturating_add(1);
                blocks = blocks.saturating_add(1);
            }
            Step::Free(_) => {
                events = events.saturating_add(1);
                blocks = blocks.saturating_sub(1);
            }
            _ => events = events.saturating_add(1),
        }
    }
    (events, blocks)
}

fn mix(mix: &Mix, group: &Group, workload: &Workload) -> (u128, u128) {
    let gaps = std::iter::once(mix.gap.mean())
        .chain(mix.phases.iter().filter_map(|phase| phase.gap.as_ref().map(|gap| gap.mean())));
    let gap_ns = u128::from(gaps.max().unwrap_or(1).max(1));
    let ends = [mix.until, workload.until, group.live.as_ref().map(|live| crate::spec::Time(live.mean()))];
    let lasts_ns = ends.into_iter().flatten().map(|end| u128::from(end.0)).min().unwrap_or(u128::MAX);
    let calls = (lasts_ns / gap_ns).min(mix.calls.map_or(u128::MAX, u128::from));
    let (events, blocks) = match &mix.life {
        Some(life) => (calls.saturating_mul(2), (u128::from(life.mean()) / gap_ns).min(calls)),
        None => (calls, calls),
    };
    let producers = u128::from(mix.threads).saturating_sub(mix.free_by.consumers().into());
    (events.saturating_mul(producers), blocks.saturating_mul(producers))
}
