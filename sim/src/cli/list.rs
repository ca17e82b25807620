//! `framesim list`.

use std::io::Write;

use framesim_workloads::laws::CATALOG;

use super::args::Listed;
use super::exit::Failure;
use crate::Registries;

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
    }
}

/// A law is chosen by what it looks like, so each comes with an example.
fn laws(screen: &mut impl Write) -> Result<(), Failure> {
    for law in CATALOG {
        writeln!(screen, "{:12} {}\n{:12} {}", law.name, law.summary, "", law.example)?;
    }
    writeln!(screen, "\nValues are whole numbers of bytes, nanoseconds or things, as the place of the law says.")?;
    Ok(())
}

fn table<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>, screen: &mut impl Write) -> Result<(), Failure> {
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, summary) in rows {
        writeln!(screen, "{name:width$}  {summary}")?;
    }
    Ok(())
}

fn hint(command: &str, what: &str, screen: &mut impl Write) -> Result<(), Failure> {
    Ok(writeln!(screen, "\n`{command}` {what}.")?)
}
