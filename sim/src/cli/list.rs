//! `framesim list`.

use std::io::Write;

use std::path::Path;

use framesim_workloads::laws::CATALOG;
use framesim_workloads::library::{EXPERIMENTS, LIBRARY};

use super::args::{Listed, Overrides};
use super::exit::Failure;
use super::explain;
use super::input::Source;
use super::sweep::prepare;
use crate::Registries;
use crate::experiment::{METRICS, Purpose};
use crate::report::text::{COLUMNS, wrapped};

/// Names with a line each.
pub fn list(registries: &Registries, what: Listed, screen: &mut impl Write) -> Result<(), Failure> {
    match what {
        Listed::Policies => {
            let models = registries.frames.iter().map(|model| (model.name, model.summary));
            table(models, screen)?;
            hint("framesim explain NAME", "gives the rules of one and an example", screen)
        }
        Listed::Heaps => {
            let models = registries.heaps.iter().map(|model| (model.name, model.summary));
            table(models, screen)?;
            hint("framesim explain NAME", "gives the rules of one and an example", screen)
        }
        Listed::Laws => laws(screen),
        Listed::Fields => {
            explain::list_fields(screen)?;
            hint("framesim explain NAME", "says what one is, a part or a field", screen)
        }
        Listed::Workloads => workloads(registries, screen),
        Listed::Experiments => experiments(registries, screen),
        Listed::Metrics => {
            table(METRICS.iter().map(|metric| (metric.name, metric.about)), screen)?;
            hint("metrics: [..]", "in an experiment chooses some; see `framesim sweep --help`", screen)
        }
    }
}

/// What each file of the library says it is about.
fn workloads(registries: &Registries, screen: &mut impl Write) -> Result<(), Failure> {
    let mut about = Vec::new();
    for shipped in LIBRARY {
        let source = Source::open(Path::new(shipped.path))?;
        about.push(source.load(registries, &Overrides::default())?.workload.about);
    }
    table(LIBRARY.iter().zip(&about).map(|(shipped, about)| (shipped.name(), about.as_str())), screen)?;
    hint("framesim run NAME", "runs one; their files are in the folder `workloads`", screen)
}

/// What each experiment asks.
fn experiments(registries: &Registries, screen: &mut impl Write) -> Result<(), Failure> {
    let mut about = Vec::new();
    for shipped in EXPERIMENTS {
        about.push(prepare(registries, Path::new(shipped.path), Purpose::Read)?.experiment.about);
    }
    table(EXPERIMENTS.iter().zip(&about).map(|(shipped, about)| (shipped.name(), about.as_str())), screen)?;
    hint("framesim sweep NAME", "says how much work one is; `--out DIR` runs it", screen)
}

/// A law is chosen by what it looks like, so each comes with an example.
fn laws(screen: &mut impl Write) -> Result<(), Failure> {
    for law in CATALOG {
        writeln!(screen, "{:12} {}\n{:12} {}", law.name, law.summary, "", law.example)?;
    }
    writeln!(screen, "\nValues are whole numbers: of bytes, of nanoseconds, or of things, by place.")?;
    Ok(())
}

fn table<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>, screen: &mut impl Write) -> Result<(), Failure> {
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, summary) in rows {
        for (place, line) in wrapped(summary, COLUMNS - width - 2).lines().enumerate() {
            let name = if place == 0 { name } else { "" };
            writeln!(screen, "{name:width$}  {line}")?;
        }
    }
    Ok(())
}

fn hint(command: &str, what: &str, screen: &mut impl Write) -> Result<(), Failure> {
    Ok(writeln!(screen, "\n`{command}` {what}.")?)
}
