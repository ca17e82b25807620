//! Parts of a workload file and their fields, as `workloads/README.md` says them.

use std::io::Write;

use framesim_workloads::guide::{Part, Row, parts};

use crate::cli::exit::Failure;
use crate::report::text::{COLUMNS, wrapped};

/// Names of all parts and fields.
pub fn names() -> impl Iterator<Item = &'static str> {
    parts().into_iter().flat_map(|part| std::iter::once(part.name).chain(part.rows.into_iter().map(|row| row.name)))
}

/// The part called `name`, or else every field and form of that name; whether there was any.
pub fn explain(name: &str, screen: &mut impl Write) -> Result<bool, Failure> {
    let parts = parts();
    if let Some(part) = parts.iter().find(|part| part.name == name) {
        table(part, screen)?;
        return Ok(true);
    }
    let mut found = false;
    for part in &parts {
        for row in part.rows.iter().filter(|row| row.name == name) {
            if found {
                writeln!(screen)?;
            }
            field(part, row, screen)?;
            found = true;
        }
    }
    Ok(found)
}

/// The parts, each with its fields.
pub fn list(screen: &mut impl Write) -> Result<(), Failure> {
    const INDENT: usize = 11;
    for part in parts() {
        let names: Vec<_> = part.rows.iter().map(|row| row.name).collect();
        for (place, line) in wrapped(&names.join(", "), COLUMNS - INDENT).lines().enumerate() {
            let name = if place == 0 { part.name } else { "" };
            writeln!(screen, "{name:INDENT$}{line}")?;
        }
    }
    Ok(())
}

fn field(part: &Part, row: &Row, screen: &mut impl Write) -> Result<(), Failure> {
    writeln!(screen, "{}, a {} of {}\n", row.name, part.headings.name, part.name)?;
    for line in wrapped(row.says, COLUMNS - 2).lines() {
        writeln!(screen, "  {line}")?;
    }
    Ok(writeln!(screen, "  {}: {}", part.headings.given, row.given)?)
}

/// Columns as wide as what is in them; long examples have a line of their own.
fn table(part: &Part, screen: &mut impl Write) -> Result<(), Failure> {
    const GIVEN_MOST: usize = 22;
    let rows = || std::iter::once(&part.headings).chain(&part.rows);
    let name = rows().map(|row| row.name.len()).max().unwrap_or(0);
    let given = rows().map(|row| row.given.len()).filter(|width| *width <= GIVEN_MOST).max().unwrap_or(0);
    let says = COLUMNS - name - given - 4;
    writeln!(screen, "{}\n", wrapped(&format!("{}, a part of a workload file: {}", part.name, part.about), COLUMNS))?;
    for row in rows() {
        if row.given.len() > given {
            writeln!(screen, "{:name$}  {}", row.name, row.given)?;
        }
        for (place, line) in wrapped(row.says, says).lines().enumerate() {
            let first = place == 0 && row.given.len() <= given;
            let (named, shown) = if first { (row.name, row.given) } else { ("", "") };
            writeln!(screen, "{named:name$}  {shown:given$}  {line}")?;
        }
    }
    Ok(())
}
