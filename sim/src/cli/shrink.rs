//! `framesim shrink`: the smallest script that still shows something.

use std::fmt::Write as _;
use std::io::Write;

use framesim_workloads::load::{self, Known, Loaded, Setting};
use framesim_workloads::trace::TraceReader;

use super::args::{Overrides, Shrink};
use super::exit::Failure;
use super::input::{Source, reported};
use super::output::FileWriter;
use super::progress::Ticker;
use super::run::{Talk, trace_failure};
use super::under::{is_workload, under};
use super::words::joined;
use crate::Registries;
use crate::report::text::{Count, counted};
use crate::search::Measure;
use crate::shrink::{Operations, Property, Shows, Shrunk, Under, shrink as shrink_operations};

/// Shrinks a scripted workload or a trace, and writes what is left.
pub fn shrink(registries: &Registries, given: &Shrink, talk: Talk, screen: &mut impl Write) -> Result<(), Failure> {
    let properties = properties(registries, given)?;
    let (source, loaded, mut operations) = operations(registries, given)?;
    if operations.is_empty() {
        return Err(Failure::Input(format!("{}: there is no script in it to shrink", given.file.display())));
    }
    let folder = source.folder.clone();
    let holds = |operations: &Operations| {
        let candidate = operations.in_workload(&loaded.workload);
        properties.iter().all(|property| property.holds(&candidate, &folder, registries))
    };
    let ticker = Ticker::new(talk.quiet);
    let tick = |left, tried| ticker.say(|| format!("{} operations left, {} tried", Count(left as u64), Count(tried)));
    let shrunk = shrink_operations(&mut operations, holds, tick);
    drop(ticker);
    let Some(shrunk) = shrunk else {
        let file = given.file.display();
        return Err(Failure::Input(format!("{file}: to begin with, it does not hold that {}", said(given))));
    };
    let text = text(registries, given, &source, &operations)?;
    let mut out = FileWriter::create(&given.out)?;
    out.write_all(text.as_bytes()).map_err(|error| out.failure(&error))?;
    out.finish()?;
    Ok(screen.write_all(report(given, &shrunk).as_bytes())?)
}

fn properties(registries: &Registries, given: &Shrink) -> Result<Vec<Property>, Failure> {
    let mut properties = Vec::new();
    for (names, shows) in [(&given.refuses, Shows::Refusal), (&given.serves, Shows::NoRefusal)] {
        for name in names {
            properties.push(Property { under: under(registries, name)?, shows });
        }
    }
    for (measure, least) in &given.at_least {
        properties.push(Property { under: Under::default(), shows: Shows::AtLeast(*measure, *least) });
    }
    if properties.is_empty() {
        return Err(Failure::Input(
            "what is to be kept? `--refuses best_fit`, `--serves first_fit`, `--at-least refused=3`".to_owned(),
        ));
    }
    Ok(properties)
}

/// What is to hold, in words.
fn said(given: &Shrink) -> String {
    let mut parts: Vec<String> = given.refuses.iter().map(|name| format!("{name} refuses a request")).collect();
    parts.extend(given.serves.iter().map(|name| format!("{name} serves all requests")));
    parts.extend(
        given
            .at_least
            .iter()
            .map(|(measure, least)| format!("{} is at least {}", measure.name(), measure.said(*least))),
    );
    parts.join(" and ")
}

fn operations(registries: &Registries, given: &Shrink) -> Result<(Source, Loaded, Operations), Failure> {
    if is_workload(&given.file) {
        let source = Source::open(&given.file)?;
        let loaded = source.load(registries, &Overrides::default())?;
        let operations = Operations::of(&loaded.workload).map_err(|error| Failure::Limit(error.to_string()))?;
        return Ok((source, loaded, operations));
    }
    let source = Source::of_text(&given.file, skeleton(given));
    let loaded = source.load(registries, &Overrides::default())?;
    let mut reader = TraceReader::open(&given.file).map_err(|error| trace_failure(&error))?;
    let operations = Operations::of_trace(&mut reader).map_err(|error| trace_failure(&error))?;
    Ok((source, loaded, operations.map_err(|error| Failure::Limit(error.to_string()))?))
}

/// The workload around the calls of a trace.
fn skeleton(given: &Shrink) -> String {
    let file = given.file.file_name().unwrap_or(given.file.as_os_str()).to_string_lossy();
    format!(
        "(
    about: {:?},
    machine: (memory: {:?}, frames: buddy),
    programs: {{\"program\": (heap: glibc)}},
    processes: [
        (name: \"program\", program: \"program\", does: script([])),
    ],
)
",
        format!("calls of {file}"),
        given.memory,
    )
}

/// The file as it was with the scripts that are left, and what it is at its top. It is checked as any other file.
fn text(registries: &Registries, given: &Shrink, source: &Source, left: &Operations) -> Result<String, Failure> {
    let loaded = source.load(registries, &Overrides::default())?;
    let scripted = loaded.workload.processes.iter().enumerate();
    let scripted = scripted.filter(|(_, group)| matches!(group.does, framesim_workloads::spec::Does::Script(_)));
    let settings: Vec<Setting> = scripted
        .map(|(group, _)| Setting { path: format!("processes.{group}.does"), value: left.script(group) })
        .collect();
    let known = Known { frames: &registries.frames, heaps: &registries.heaps };
    let shrunk = load::load(&source.path, source.text(), &settings, known).map_err(|wrong| reported(&wrong))?;
    let mut text = String::new();
    for line in wrapped(&format!("Shrunk from {}: {}.", given.file.display(), said(given))) {
        writeln!(text, "// {line}").expect("a string grows");
    }
    text.push_str(shrunk.text());
    Ok(text)
}

fn wrapped(text: &str) -> Vec<String> {
    let wrapped = crate::report::text::wrapped(text, 100);
    wrapped.lines().map(str::to_owned).collect()
}

fn report(given: &Shrink, shrunk: &Shrunk) -> String {
    let out = given.out.display().to_string();
    let run = joined(["framesim", "run", &out]);
    format!(
        "{out}: {} of {}, {} tried\n{}\nNo single one can be taken out. To see it: {run}\n",
        counted(shrunk.after as u64, "operation", "operations"),
        Count(shrunk.before as u64),
        counted(shrunk.tried, "script", "scripts"),
        crate::report::text::wrapped(&format!("Kept: {}.", said(given)), 80),
    )
}

/// `MEASURE=VALUE`; a part of one is a decimal: `fragmentation=0.75`.
pub fn at_least(text: &str) -> Result<(Measure, u64), String> {
    let names: Vec<&str> = Measure::ALL.iter().map(|measure| measure.name()).collect();
    let usage = || format!("write it as MEASURE=VALUE; measures are {}", names.join(", "));
    let (name, value) = text.split_once('=').ok_or_else(usage)?;
    let measure = Measure::ALL.into_iter().find(|measure| measure.name() == name.trim()).ok_or_else(usage)?;
    let value = value.trim();
    if measure != Measure::Fragmentation {
        return value.parse().map(|value| (measure, value)).map_err(|_| format!("`{value}` is no whole number"));
    }
    let (whole, part) = value.split_once('.').unwrap_or((value, ""));
    let part = format!("{part:0<3}");
    let thousandths = whole.parse::<u64>().ok().zip(part.get(..3).and_then(|part| part.parse::<u64>().ok()));
    match thousandths {
        Some((whole @ 0..=1, part)) => Ok((measure, whole * 1000 + part)),
        _ => Err(format!("`{value}` is no part of one: 0.75")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragmentation_is_read_in_thousandths() {
        assert_eq!(at_least("fragmentation=0.5"), Ok((Measure::Fragmentation, 500)));
        assert_eq!(at_least("fragmentation=1"), Ok((Measure::Fragmentation, 1000)));
        assert_eq!(at_least("refused=3"), Ok((Measure::Refused, 3)));
        for wrong in ["fragmentation=7.5", "fragmentation=x", "refused=-1", "refused", "nothing=1"] {
            assert!(at_least(wrong).is_err(), "{wrong}");
        }
    }
}
