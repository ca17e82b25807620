//! `framesim heap-map`: the heap of one process at one moment, drawn.

use std::io::Write;

use framesim_models::Pid;
use framesim_workloads::spec::Arrive;

use super::args::HeapMap as Given;
use super::exit::{Breakage, Failure};
use super::guard;
use super::run::{command_line, run_failure, start};
use super::subject::Subject;
use crate::Registries;
use crate::report::heap_map::{HeapMap, Size, Whose};
use crate::report::text::nearest;
use crate::simulation::{Happened, ProcessName, Simulation};

/// Draws the map.
pub fn heap_map(registries: &Registries, given: &Given, screen: &mut impl Write) -> Result<(), Failure> {
    let subject = Subject::open(&given.file, &given.memory, given.one_thread)?;
    let mut overrides = subject.overrides(registries, &given.overrides)?;
    if given.at.is_some() {
        overrides.until.clone_from(&given.at);
    }
    let loaded = subject.source.load(registries, &overrides)?;
    let run = || start(registries, &subject.source, &loaded);
    let mut search = Search { simulation: run()?, wanted: Wanted::of(given, &run()?)?, calls: 0 };
    let when = guard::catching(|| search.go(given, run)).map_err(|what| {
        let again = format!("framesim heap-map {}", command_line(&given.file, &overrides));
        Failure::Broken(Breakage { what, seed: loaded.workload.seed, event: Some(search.simulation.events()), again })
    })??;
    let Some((name, pid)) = search.found() else {
        let whose =
            given.process.as_deref().map_or_else(|| "no process".to_owned(), |name| format!("no process of `{name}`"));
        let until = if given.at.is_some() || given.calls.is_some() { "by then" } else { "in this run" };
        return Err(Failure::Input(format!("{whose} has called a heap {until}")));
    };
    let simulation = &search.simulation;
    let map = HeapMap::of(simulation, pid).expect("a process that has called its heap");
    let process = process_text(simulation, name);
    let heap = heap_text(simulation, name);
    let whose = Whose { workload: &subject.source.name, heap: &heap, process: &process, calls: search.calls };
    let text = if given.json {
        let text = serde_json::to_string_pretty(&map.document(whose, simulation));
        text.map_err(|error| Failure::Io(error.to_string()))? + "\n"
    } else {
        let size = if given.full { Size::Full } else { Size::Screen };
        let map = map.text(&whose.text(simulation, &when), size);
        format!("{map}\ndigest {}   of the run up to here\n", simulation.digest())
    };
    Ok(screen.write_all(text.as_bytes())?)
}

/// Which processes are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    group: Option<u32>,
    ordinal: Option<u32>,
}

impl Wanted {
    fn of(given: &Given, simulation: &Simulation) -> Result<Wanted, Failure> {
        let Some(name) = &given.process else { return Ok(Wanted { group: None, ordinal: None }) };
        let (group, ordinal) = match name.rsplit_once('/').map(|(group, number)| (group, number.parse())) {
            Some((group, Ok(ordinal))) => (group, Some(ordinal)),
            _ => (name.as_str(), None),
        };
        let groups = &simulation.setting().workload.processes;
        let found = (0..).zip(groups).find(|(_, known)| known.name == group).map(|(number, _)| number);
        let known = || groups.iter().map(|group| group.name.as_str());
        let found = found.ok_or_else(|| {
            let hint = nearest(group, known()).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let all = known().collect::<Vec<_>>().join(", ");
            Failure::Input(format!(
                "--process {name}: no group of processes is called `{group}`{hint} (there is: {all})"
            ))
        })?;
        Ok(Wanted { group: Some(found), ordinal })
    }

    fn is(self, name: ProcessName) -> bool {
        self.group.is_none_or(|group| group == name.group) && self.ordinal.is_none_or(|ordinal| ordinal == name.ordinal)
    }
}

/// A run on its way to the moment that is asked for.
struct Search {
    simulation: Simulation,
    wanted: Wanted,
    /// Calls of the wanted heaps.
    calls: u64,
}

impl Search {
    /// Goes to the moment; in words, which it is.
    fn go(&mut self, given: &Given, again: impl Fn() -> Result<Simulation, Failure>) -> Result<String, Failure> {
        if let Some(calls) = given.calls {
            self.run(|search, _| search.calls >= calls)?;
            return Ok("as asked".to_owned());
        }
        if given.at.is_some() {
            self.run(|_, _| false)?;
            return Ok("as asked".to_owned());
        }
        let Some((name, held)) = self.most_held()? else { return Ok(String::new()) };
        // The same run again, up to there.
        *self = Search {
            simulation: again()?,
            wanted: Wanted { group: Some(name.group), ordinal: Some(name.ordinal) },
            calls: 0,
        };
        self.run(|search, happened| {
            let pid = happened.process.pid.filter(|_| search.wanted.is(happened.process));
            pid.and_then(|pid| search.simulation.heap_levels(pid)).is_some_and(|levels| levels.held_bytes == held)
        })?;
        Ok("when it held most".to_owned())
    }

    /// Steps until `is_there` says so, or to the end.
    fn run(&mut self, is_there: impl Fn(&Search, &Happened) -> bool) -> Result<(), Failure> {
        loop {
            let Some(happened) = step(&mut self.simulation)? else { return Ok(()) };
            self.calls += u64::from(happened.call.is_on_heap() && self.wanted.is(happened.process));
            if is_there(self, &happened) {
                return Ok(());
            }
        }
    }

    /// Which wanted process ever holds most, and how much; the run is at its end then.
    fn most_held(&mut self) -> Result<Option<(ProcessName, u64)>, Failure> {
        let mut most: Option<(ProcessName, u64)> = None;
        while let Some(happened) = step(&mut self.simulation)? {
            let Some(pid) =
                happened.process.pid.filter(|_| happened.call.is_on_heap() && self.wanted.is(happened.process))
            else {
                continue;
            };
            let held = self.simulation.heap_levels(pid).map_or(0, |levels| levels.held_bytes);
            if held > most.map_or(0, |(_, most)| most) {
                most = Some((happened.process, held));
            }
        }
        Ok(most)
    }

    /// The wanted process that holds most now; of several the one with the lowest pid.
    fn found(&self) -> Option<(ProcessName, Pid)> {
        let named = self.simulation.kernel().pids().filter_map(|pid| Some((self.simulation.process_name(pid)?, pid)));
        let wanted = named.filter(|(name, _)| self.wanted.is(*name));
        let held = wanted.filter_map(|(name, pid)| Some((self.simulation.heap_levels(pid)?.held_bytes, name, pid)));
        let (_, name, pid) = held.max_by_key(|(held, _, pid)| (*held, std::cmp::Reverse(*pid)))?;
        Some((name, pid))
    }
}

/// One event; a run that cannot go on ends as `run` says it.
fn step(simulation: &mut Simulation) -> Result<Option<Happened>, Failure> {
    simulation.step().map_err(run_failure)
}

fn process_text(simulation: &Simulation, name: ProcessName) -> String {
    let group = &simulation.setting().workload.processes[name.group as usize];
    if group.count == 1 && matches!(group.arrive, Arrive::At(_)) {
        group.name.clone()
    } else {
        format!("{}/{}", group.name, name.ordinal)
    }
}

fn heap_text(simulation: &Simulation, name: ProcessName) -> String {
    let workload = &simulation.setting().workload;
    let program = workload.processes[name.group as usize].program.as_ref();
    let program = program.and_then(|program| workload.programs.get(program)).cloned().unwrap_or_default();
    program.heap.name().to_owned()
}
