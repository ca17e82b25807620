//! Scripts: each name is bound before it is used, to a thing of the right kind, and is not given back twice.
//!
//! A repetition is looked at once: what its first steps need and what its last ones leave is compared, so that nesting
//! costs nothing.

use std::collections::BTreeMap;

use super::Found;
use crate::load::explain::names_help;
use crate::load::problem::{Path, Problem};
use crate::spec::{Arrive, Step, THREADS_MOST, Workload};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Frames,
    Block,
    Mapping,
}

impl Thing {
    const fn word(self) -> &'static str {
        match self {
            Thing::Frames => "frames",
            Thing::Block => "a block",
            Thing::Mapping => "a mapping",
        }
    }

    /// The step that makes one, and the step that ends one.
    const fn steps(self) -> (&'static str, &'static str) {
        match self {
            Thing::Frames => ("take", "give"),
            Thing::Block => ("malloc", "free"),
            Thing::Mapping => ("mmap", "munmap"),
        }
    }
}

/// What is known of a name at a place in the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live(Thing),
    Ended(Thing),
}

/// What a step needs of a name.
#[derive(Clone, Copy)]
struct Need<'s> {
    step: &'static str,
    name: &'s str,
    /// Any of these.
    things: &'static [Thing],
}

struct Checker<'s, 'f> {
    workload: &'s Workload,
    found: &'f mut Found,
    names: BTreeMap<&'s str, State>,
    /// In each repetition around: what is needed before it is bound, and where; `None` for what is bound first.
    rounds: Vec<BTreeMap<&'s str, Option<(Path, Need<'s>)>>>,
}

pub(super) fn check(steps: &[Step], at: &Path, workload: &Workload, found: &mut Found) {
    let mut checker = Checker { workload, found, names: BTreeMap::new(), rounds: Vec::new() };
    checker.steps(steps, at);
}

impl<'s> Checker<'s, '_> {
    fn steps(&mut self, steps: &'s [Step], at: &Path) {
        for (index, step) in steps.iter().enumerate() {
            self.step(step, &at.element(index));
        }
    }

    fn step(&mut self, step: &'s Step, at: &Path) {
        const BLOCK: &[Thing] = &[Thing::Block];
        const MAPPING: &[Thing] = &[Thing::Mapping];
        const TOUCHED: &[Thing] = &[Thing::Block, Thing::Mapping];
        match step {
            Step::Take(name, frames) => {
                self.at_least_1(frames.0, "frames", at);
                self.bind(name, Thing::Frames, at);
            }
            Step::Give(name) => self.end(Need { step: "give", name, things: &[Thing::Frames] }, at),
            Step::Malloc(name, _) | Step::Calloc(name, ..) => self.bind(name, Thing::Block, at),
            Step::Aligned(name, align, _) => {
                self.at_least_1(align.0, "bytes of alignment", at);
                self.bind(name, Thing::Block, at);
            }
            Step::Realloc(name, _) => self.bind_or_keep(name, at),
            Step::Free(name) => self.end(Need { step: "free", name, things: BLOCK }, at),
            Step::Touch(name) => self.need(Need { step: "touch", name, things: TOUCHED }, at),
            Step::Mmap(name, bytes) => {
                self.at_least_1(bytes.0, "bytes", at);
                self.bind(name, Thing::Mapping, at);
            }
            Step::Munmap(name) => self.end(Need { step: "munmap", name, things: MAPPING }, at),
            Step::Dontneed(name) => self.need(Need { step: "dontneed", name, things: MAPPING }, at),
            Step::Spawn(name) => self.spawn(name, at),
            Step::Thread(thread) => self.thread(thread.0, 0, at),
            Step::EndThread(thread) => self.thread(thread.0, 1, at),
            Step::Repeat(times, steps) => {
                self.at_least_1(times.0, "times", &at.element(0));
                self.repeat(steps, &at.element(1));
            }
            Step::Sleep(_) | Step::Exit => {}
        }
    }

    /// Thread 0 ends with the process.
    fn thread(&mut self, thread: u64, least: u64, at: &Path) {
        let most = u64::from(THREADS_MOST - 1);
        self.found.unless((least..=most).contains(&thread), || {
            Problem::new(at.clone(), format!("thread {thread}")).label(format!("{least} to {most} is allowed"))
        });
    }

    fn at_least_1(&mut self, amount: u64, what: &str, at: &Path) {
        self.found.unless(amount > 0, || Problem::new(at.clone(), format!("0 {what}")).label("at least 1 is allowed"));
    }

    /// Binding a name again leaves the old thing behind, which is allowed: so programs leak.
    fn bind(&mut self, name: &'s str, thing: Thing, at: &Path) {
        self.found.unless(!name.is_empty(), || Problem::new(at.clone(), "an empty name".to_owned()));
        for round in &mut self.rounds {
            round.entry(name).or_insert(None);
        }
        self.names.insert(name, State::Live(thing));
    }

    /// `realloc` of a name without a block makes one.
    fn bind_or_keep(&mut self, name: &'s str, at: &Path) {
        if let Some(State::Live(thing)) = self.names.get(name)
            && *thing != Thing::Block
        {
            return self.need(Need { step: "realloc", name, things: &[Thing::Block] }, at);
        }
        self.bind(name, Thing::Block, at);
    }

    fn end(&mut self, need: Need<'s>, at: &Path) {
        self.need(need, at);
        let thing = need.things[0];
        self.names.insert(need.name, State::Ended(thing));
    }

    fn need(&mut self, need: Need<'s>, at: &Path) {
        // What the first round needs and an earlier step gave, the second one needs again.
        for round in &mut self.rounds {
            round.entry(need.name).or_insert_with(|| Some((at.clone(), need)));
        }
        let state = self.names.get(need.name).copied();
        if let Some(problem) = self.unmet(need, state, at, "") {
            self.found.problems.push(problem);
        }
    }

    /// What is wrong with a use of a name in that state.
    fn unmet(&self, need: Need<'_>, state: Option<State>, at: &Path, round: &str) -> Option<Problem> {
        let Need { step, name, things } = need;
        let problem = |message: String| Problem::new(at.clone(), message);
        match state {
            Some(State::Live(thing)) if things.contains(&thing) => None,
            Some(State::Live(thing)) => {
                let (_, ends) = thing.steps();
                let way = format!("`{ends}` is for {}", thing.word());
                Some(
                    problem(format!("{step} of `{name}`, which is {}", thing.word()))
                        .label("not what this step is for")
                        .help(way),
                )
            }
            Some(State::Ended(thing)) => {
                let (_, ends) = thing.steps();
                Some(problem(format!("{step} of `{name}`{round}, which an earlier {ends} has ended")).label("not live"))
            }
            None => {
                let names: Vec<&str> = self.names.keys().copied().collect();
                let (makes, _) = things[0].steps();
                let help =
                    if names.is_empty() { format!("`{makes}` makes one") } else { names_help(name, &names, None) };
                Some(problem(format!("{step} of `{name}`, which nothing has made")).label("not made before").help(help))
            }
        }
    }

    fn repeat(&mut self, steps: &'s [Step], at: &Path) {
        let before = self.found.problems.len();
        self.rounds.push(BTreeMap::new());
        self.steps(steps, at);
        let needs = self.rounds.pop().expect("pushed above");
        if self.found.problems.len() > before {
            return;
        }
        for (name, (at, need)) in needs.into_iter().filter_map(|(name, first)| Some((name, first?))) {
            let state = self.names.get(name).copied();
            if let Some(problem) = self.unmet(need, state, &at, " in the second round") {
                self.found.problems.push(problem);
            }
        }
    }

    fn spawn(&mut self, name: &str, at: &Path) {
        let groups = &self.workload.processes;
        match groups.iter().find(|group| group.name == name) {
            Some(group) if group.arrive == Arrive::Spawned => {}
            Some(_) => self.found.problems.push(
                Problem::new(at.clone(), format!("spawn of `{name}`, whose processes arrive by themselves"))
                    .label("not a group that is spawned")
                    .help(format!("give group `{name}` the field `arrive: spawned`")),
            ),
            None => {
                let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
                let problem = Problem::new(at.clone(), format!("unknown process group `{name}`"));
                self.found.problems.push(problem.label("not a group").help(names_help(name, &names, None)));
            }
        }
    }
}
