//! What a run will cost, before it runs: nothing is expanded, everything is multiplied.
//!
//! An estimate from means, rounded down where the workload leaves it open. It refuses what is far beyond the limits; the
//! simulator counts what really happens.

use super::Found;
use crate::load::diagnostic::Kind;
use crate::load::problem::{Path, Problem};
use crate::spec::{Arrive, Does, Group, Mix, Step, Workload, grouped};

/// Bytes that the simulator needs at least: a block that is live, a process, eight frames of a bitmap.
const BLOCK_BYTES: u128 = 32;
const PROCESS_BYTES: u128 = 160;
const FRAMES_A_BYTE: u128 = 8;

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
    for (index, group) in workload.processes.iter().enumerate() {
        let cost = group_cost(group, workload);
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
    let bytes = frames / FRAMES_A_BYTE
        + total.live_blocks.saturating_mul(BLOCK_BYTES)
        + total.processes.saturating_mul(PROCESS_BYTES);
    let machine = Path::default().field("machine").field("memory");
    limit(bytes, limits.memory.0, "the simulator would need", "bytes", &machine, found);
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

fn group_cost(group: &Group, workload: &Workload) -> Cost {
    let processes = arrivals(&group.arrive, workload).saturating_mul(group.count.into());
    // Processes that come one after the other need not be there at the same time.
    let at_once = match (&group.arrive, &group.live) {
        (Arrive::At(_), _) => processes,
        (Arrive::AtEach(_), None) => processes,
        _ => u128::from(group.count),
    };
    let (events, live_blocks) = match &group.does {
        Does::Script(steps) => script(steps),
        Does::Mix(mix) => self::mix(mix, group, workload),
        // As many as its file has: unknown here.
        Does::Trace(_) => (1, 0),
    };
    Cost {
        processes: at_once,
        events: processes.saturating_mul(events.saturating_add(2)),
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
    match &mix.life {
        Some(life) => (calls.saturating_mul(2), (u128::from(life.mean()) / gap_ns).min(calls)),
        None => (calls, calls),
    }
}
