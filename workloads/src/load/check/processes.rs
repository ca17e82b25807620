//! Groups of processes: their names, when they start, what they do.

use std::collections::BTreeMap;

use framesim_models::heap::HeapChoice;

use super::{Found, laws, script};
use crate::load::Known;
use crate::load::explain::names_help;
use crate::load::problem::{Path, Problem};
use crate::spec::{Arrive, Does, FreeBy, Group, Mix, Program, Step, THREADS_MOST, Time, Workload, grouped};

const NAME_CHARS_MOST: usize = 64;
/// 4096 of them fit into the address space.
const THREAD_STACK_BYTES_MOST: u64 = 16 << 30;
/// More arrivals a second than this lie less than a nanosecond apart.
const ARRIVALS_A_SECOND_MOST: f64 = 1e9;

pub(super) fn check(workload: &Workload, known: Known<'_>, found: &mut Found) {
    for (name, program) in &workload.programs {
        let stack = Path::default().field("programs").field(name);
        found.within(&stack, "thread_stack", program.thread_stack.0, 1..=THREAD_STACK_BYTES_MOST);
        heap(program, known, &Path::default().field("programs").field(name).field("heap"), found);
    }
    let at = Path::default().field("processes");
    found.unless(!workload.processes.is_empty(), || {
        Problem::new(at.clone(), "there are no processes".to_owned()).label("at least one group is needed")
    });
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, group) in workload.processes.iter().enumerate() {
        let at = at.element(index);
        name(group, &at, found);
        if named.insert(&group.name, index).is_some() {
            let problem = Problem::new(at.field("name"), format!("there are two groups called `{}`", group.name));
            found.problems.push(problem.label("the second one"));
        }
        self::group(group, &at, workload, found);
    }
    spawns(workload, &named, found);
}

fn heap(program: &Program, known: Known<'_>, at: &Path, found: &mut Found) {
    if let HeapChoice::Custom { name, .. } = &program.heap {
        found.unless(known.heaps.find(name).is_some(), || {
            let names: Vec<&str> = known.heaps.iter().map(|entry| entry.name).collect();
            let help = names_help(name, &names, Some("heaps"));
            Problem::new(at.field("name"), format!("unknown heap `{name}`")).label("not a heap").help(help)
        });
    }
}

/// Names are parts of paths and of the names of random streams.
fn name(group: &Group, at: &Path, found: &mut Found) {
    let name = &group.name;
    let is_right = !name.is_empty()
        && name.chars().count() <= NAME_CHARS_MOST
        && name.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '/' && c != '.');
    found.unless(is_right, || {
        Problem::new(at.field("name"), "that is no name of a group".to_owned())
            .label(format!("1 to {NAME_CHARS_MOST} characters, no blank, dot or slash"))
    });
}

fn group(group: &Group, at: &Path, workload: &Workload, found: &mut Found) {
    found.within(at, "count", group.count, 1..=u64::MAX);
    program(group, at, workload, found);
    arrivals(&group.arrive, &at.field("arrive"), workload.until, found);
    if let Some(live) = &group.live {
        laws::above_zero(live, &format!("the life of group `{}`", group.name), &at.field("live"), found);
    }
    let does = at.field("does");
    match &group.does {
        Does::Script(steps) => script::check(steps, &does, workload, found),
        Does::Mix(mix) => {
            self::mix(mix, group, &does, found);
            let ends = mix.calls.is_some() || mix.until.is_some() || group.live.is_some() || workload.until.is_some();
            found.unless(ends, || {
                Problem::new(does.clone(), format!("the mix of group `{}` never ends", group.name))
                    .label("without an end")
                    .help("give it `calls` or `until`, the group `live`, or the workload `until`")
            });
        }
        Does::Trace(recorded) => found.unless(!recorded.file.is_empty(), || {
            Problem::new(does.field("file"), "the name of the trace is empty".to_owned())
        }),
    }
}

fn program(group: &Group, at: &Path, workload: &Workload, found: &mut Found) {
    let Some(name) = &group.program else { return };
    found.unless(workload.programs.contains_key(name), || {
        let names: Vec<&str> = workload.programs.keys().map(String::as_str).collect();
        let help = if names.is_empty() { "there are no `programs`".to_owned() } else { names_help(name, &names, None) };
        Problem::new(at.field("program"), format!("unknown program `{name}`")).label("not a program").help(help)
    });
}

fn arrivals(arrive: &Arrive, at: &Path, run_until: Option<Time>, found: &mut Found) {
    let repeated = |from: Time, count: Option<u64>, until: Option<Time>, found: &mut Found| {
        if let Some(count) = count {
            found.within(at, "count", count, 1..=u64::MAX);
        }
        let is_ordered = until.is_none_or(|until| from <= until);
        found.unless(is_ordered, || {
            Problem::new(at.field("until"), "the last arrival is before the first".to_owned())
                .label(format!("at least {} ns is allowed", grouped(from.0)))
        });
        found.unless(count.is_some() || until.is_some() || run_until.is_some(), || {
            Problem::new(at.clone(), "the arrivals never end".to_owned())
                .label("without an end")
                .help("give it `count` or `until`, or the workload `until`")
        });
    };
    match arrive {
        Arrive::At(_) | Arrive::Spawned => {}
        Arrive::AtEach(times) => {
            found.unless(!times.is_empty(), || Problem::new(at.clone(), "the list of arrivals is empty".to_owned()));
            for (index, pair) in times.windows(2).enumerate() {
                found.unless(pair[0] <= pair[1], || {
                    Problem::new(at.element(index + 1), "an arrival before the one in front of it".to_owned())
                        .label(format!("at least {} ns is allowed", grouped(pair[0].0)))
                });
            }
        }
        Arrive::Every { gap, from, count, until } => {
            found.within(at, "gap", gap.0, 1..=u64::MAX);
            repeated(*from, *count, *until, found);
        }
        Arrive::Poisson { per_second, from, count, until } => {
            found.unless(per_second.get() <= ARRIVALS_A_SECOND_MOST, || {
                Problem::new(at.field("per_second"), format!("{} arrivals a second", per_second.get()))
                    .label(format!("at most {ARRIVALS_A_SECOND_MOST} is allowed"))
            });
            repeated(*from, *count, *until, found);
        }
    }
}

fn mix(mix: &Mix, group: &Group, at: &Path, found: &mut Found) {
    let life = |name: &str| format!("the {name} of group `{}`", group.name);
    laws::above_zero(&mix.gap, &life("gap"), &at.field("gap"), found);
    laws::check(&mix.size, &at.field("size"), found);
    if let Some(law) = &mix.life {
        laws::above_zero(law, &life("life"), &at.field("life"), found);
    }
    found.within(at, "threads", mix.threads.into(), 1..=THREADS_MOST.into());
    threads(mix, &life("thread life"), at, found);
    if let Some(calls) = mix.calls {
        found.within(at, "calls", calls, 1..=u64::MAX);
    }
    for (index, phase) in mix.phases.iter().enumerate() {
        let at = at.field("phases").element(index);
        found.within(&at, "lasts", phase.lasts.0, 1..=u64::MAX);
        if let Some(law) = &phase.gap {
            laws::above_zero(law, &life("gap"), &at.field("gap"), found);
        }
        if let Some(law) = &phase.size {
            laws::check(law, &at.field("size"), found);
        }
        if let Some(law) = &phase.life {
            laws::above_zero(law, &life("life"), &at.field("life"), found);
        }
    }
}

fn threads(mix: &Mix, whose_life: &str, at: &Path, found: &mut Found) {
    let (threads, consumers) = (u64::from(mix.threads), mix.free_by.consumers());
    if let FreeBy::Consumers(_) = mix.free_by {
        found.unless(consumers > 0 && consumers < threads, || {
            let allowed = match threads {
                0 | 1 => "at least 2 `threads` are needed".to_owned(),
                _ => format!("1 to {} is allowed: one at least gets blocks", grouped(threads - 1)),
            };
            let message = format!("`consumers({consumers})` with `threads: {threads}`");
            Problem::new(at.field("free_by"), message).label(allowed)
        });
    }
    if let Some(law) = &mix.thread_life {
        laws::above_zero(law, whose_life, &at.field("thread_life"), found);
    }
}

/// Groups that spawn each other: each `spawned` group is spawned by someone, and circles end with the run.
fn spawns(workload: &Workload, named: &BTreeMap<&str, usize>, found: &mut Found) {
    let edges: Vec<Vec<usize>> = workload.processes.iter().map(|group| spawned_by(group, named)).collect();
    let mut is_spawned = vec![false; edges.len()];
    for &child in edges.iter().flatten() {
        is_spawned[child] = true;
    }
    for (index, group) in workload.processes.iter().enumerate() {
        let at = Path::default().field("processes").element(index);
        found.unless(group.arrive != Arrive::Spawned || is_spawned[index], || {
            Problem::new(at.field("arrive"), format!("nothing spawns a process of group `{}`", group.name))
                .label("it never starts")
                .help(format!("a script does, with `spawn(\"{}\")`", group.name))
        });
        found.unless(workload.until.is_some() || !reaches(index, index, &edges), || {
            Problem::new(at.field("does"), format!("group `{}` spawns itself without an end", group.name))
                .label("each process starts another")
                .help("give the workload an `until`")
        });
    }
}

fn spawned_by(group: &Group, named: &BTreeMap<&str, usize>) -> Vec<usize> {
    fn collect(steps: &[Step], named: &BTreeMap<&str, usize>, children: &mut Vec<usize>) {
        for step in steps {
            match step {
                Step::Spawn(name) => children.extend(named.get(name.as_str())),
                Step::Repeat(_, steps) => collect(steps, named, children),
                _ => {}
            }
        }
    }
    let mut children = Vec::new();
    if let Does::Script(steps) = &group.does {
        collect(steps, named, &mut children);
    }
    children.sort_unstable();
    children.dedup();
    children
}

/// Whether `from` spawns, at first or later hand, a process of `to`.
fn reaches(from: usize, to: usize, edges: &[Vec<usize>]) -> bool {
    let mut seen = vec![false; edges.len()];
    let mut waiting = edges[from].clone();
    while let Some(group) = waiting.pop() {
        if group == to {
            return true;
        }
        if !std::mem::replace(&mut seen[group], true) {
            waiting.extend(&edges[group]);
        }
    }
    false
}
