//! `framesim diff`: where two runs part.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use super::args::{Diff, Overrides};
use super::exit::Failure;
use super::input::Source;
use super::run::{command_line, run_failure, start};
use super::verify::{opened, recorded};
use crate::Registries;
use crate::diff::{Parting, Side, parting};
use crate::report::events::name_of;
use crate::report::frame_map;
use crate::report::text::{Count, Seconds, counted};
use crate::simulation::{Happened, Outcome, Simulation};

/// Runs both until they part, and shows both maps around that event.
pub fn diff(registries: &Registries, given: &Diff, screen: &mut impl Write) -> Result<(), Failure> {
    let second = given.second.as_ref().unwrap_or(&given.first);
    let changed = changed(given);
    let (first_said, first) = operand(registries, &given.first, &given.overrides)?;
    let (second_said, second_run) = operand(registries, second, &changed)?;
    writeln!(screen, "A  framesim run {first_said}\nB  framesim run {second_said}")?;
    if let Some(event) = logs_part(&given.first, second)? {
        writeln!(screen, "The logs part at event {}.", Count(event))?;
    }
    let found = parting(first, second_run).map_err(run_failure)?;
    let Some(found) = found else {
        writeln!(screen, "After every event both have the same frame map.")?;
        return Ok(());
    };
    show(&found, screen)?;
    Err(Failure::Mismatch)
}

/// The overrides of the second run: those of the first, but for what is said of it alone.
fn changed(given: &Diff) -> Overrides {
    let Overrides { seed, set, policy, heap, until } = given.overrides.clone();
    Overrides {
        seed: given.b_seed.or(seed),
        set: set.into_iter().chain(given.b_set.clone()).collect(),
        policy: given.b_policy.clone().or(policy),
        heap: given.b_heap.clone().or(heap),
        until,
    }
}

/// A workload, or the run that a digest log is of.
fn operand(registries: &Registries, file: &Path, overrides: &Overrides) -> Result<(String, Simulation), Failure> {
    let (source, overrides, said) = match log_head(file)? {
        Some(line) => {
            let run = recorded(&line, file)?;
            (opened(&run, file)?, run.overrides, line)
        }
        None => (Source::open(file)?, overrides.clone(), command_line(file, overrides)),
    };
    let loaded = source.load(registries, &overrides)?;
    Ok((said, start(registries, &source, &loaded)?))
}

/// The arguments of the run that a digest log is of; `None` when the file is none.
fn log_head(file: &Path) -> Result<Option<String>, Failure> {
    let Ok(log) = File::open(file) else { return Ok(None) };
    let mut lines = BufReader::new(log).lines();
    match lines.next() {
        Some(Ok(first)) if first.starts_with("framesim digest log ") => {}
        _ => return Ok(None),
    }
    let second = lines.next().transpose().map_err(|error| Failure::at(file, "read", &error))?;
    Ok(second.and_then(|line| line.strip_prefix("run ").map(str::to_owned)))
}

/// The first event at which two digest logs differ.
fn logs_part(first: &Path, second: &Path) -> Result<Option<u64>, Failure> {
    if log_head(first)?.is_none() || log_head(second)?.is_none() {
        return Ok(None);
    }
    let (first, second) = (checks(first)?, checks(second)?);
    let same = first.iter().zip(&second).take_while(|(one, other)| one == other).count();
    Ok((first != second).then_some(same as u64 + 1))
}

/// What a log has of each event: four hexadecimal digits.
fn checks(file: &Path) -> Result<Vec<[u8; 4]>, Failure> {
    let log = File::open(file).map_err(|error| Failure::at(file, "read", &error))?;
    let mut checks = Vec::new();
    for line in BufReader::new(log).lines().skip(2) {
        let line = line.map_err(|error| Failure::at(file, "read", &error))?;
        // The last line of a log may end behind the digest, with no event of its own.
        let words = line.strip_prefix("end ").unwrap_or(&line).split(' ').nth(2).unwrap_or("");
        checks.extend(words.as_bytes().as_chunks().0);
    }
    Ok(checks)
}

fn show(found: &Parting, screen: &mut impl Write) -> Result<(), Failure> {
    let Parting { event, first, second } = found;
    if *event == 0 {
        writeln!(screen, "They differ before the first event.\n")?;
    } else {
        let before = counted(event - 1, "event", "events");
        writeln!(screen, "The same frame maps through {before}; event {} parts them:\n", Count(*event))?;
        for (name, side) in [("A", first), ("B", second)] {
            writeln!(screen, "{name}  {}", said(side))?;
        }
        writeln!(screen, "\nbefore it, both: {}", frame_map::draw(&first.before, frame_map::SCREEN).trim_end())?;
    }
    for (name, side) in [("A", first), ("B", second)] {
        writeln!(screen, "\n{name} after it: {}", frame_map::draw(&side.after, frame_map::SCREEN).trim_end())?;
    }
    Ok(())
}

fn said(side: &Side) -> String {
    let Some(happened) = &side.happened else { return "had ended".to_owned() };
    let mut process = String::new();
    name_of(&side.after, happened, &mut process);
    let bytes = happened.call.bytes().map_or_else(String::new, |bytes| format!(" of {} bytes", Count(bytes)));
    let came = came_of(&side.after, happened);
    format!("{process}: {}{bytes}, at {}{came}", happened.call.name(), Seconds(happened.time))
}

/// What came of an event: where it was placed, or which frames changed hands.
fn came_of(simulation: &Simulation, happened: &Happened) -> String {
    match &happened.outcome {
        Outcome::Refused(refusal) => return format!(": refused, {}", refusal.cause.name()),
        Outcome::Waits(_) => return ": waits".to_owned(),
        _ => {}
    }
    const SHOWN: usize = 3;
    let changes = simulation.kernel().frame_changes();
    let frames: Vec<String> = changes.iter().take(SHOWN).map(|change| change.run.to_string()).collect();
    let more = if changes.len() > SHOWN { format!(" and {} more", changes.len() - SHOWN) } else { String::new() };
    if frames.is_empty() { String::new() } else { format!(": frames {}{more}", frames.join(", ")) }
}
