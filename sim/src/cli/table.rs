//! `framesim table` and `framesim plot`: what a sweep measured, as text and as pictures.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use super::args;
use super::exit::Failure;
use super::sweep::cells_file;
use crate::experiment::{Table, write_file};
use crate::report::{means, plot};

/// Means with intervals, and what the comparisons say.
pub fn table(given: &args::Table, screen: &mut impl Write) -> Result<(), Failure> {
    let (table, file) = read(&given.file, &given.metric)?;
    screen.write_all(means::text(&table, given.confidence()).as_bytes())?;
    let report = file.with_file_name("report.txt");
    if given.metric.is_empty() && report.exists() {
        let report = std::fs::read_to_string(&report).map_err(|error| Failure::at(&report, "read", &error))?;
        if !report.is_empty() {
            write!(screen, "\n{report}")?;
        }
    }
    Ok(())
}

/// An SVG and a Vega-Lite file.
pub fn plot(given: &args::Plot, screen: &mut impl Write) -> Result<(), Failure> {
    let (table, file) = read(&given.file, &given.metric)?;
    let out = given.out.clone().unwrap_or_else(|| file.with_file_name("plot"));
    let (svg, vega) = (with_ending(&out, "svg"), with_ending(&out, "vl.json"));
    write_file(&svg, &plot::svg(&table, given.confidence()))?;
    write_file(&vega, &plot::vega_lite(&table, given.confidence()))?;
    Ok(writeln!(screen, "{}\n{}", svg.display(), vega.display())?)
}

fn with_ending(path: &Path, ending: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// The table of a file, of all metrics or of those that are named.
fn read(given: &Path, metrics: &[String]) -> Result<(Table, std::path::PathBuf), Failure> {
    let file = cells_file(given);
    let opened = File::open(&file).and_then(|file| Table::read(BufReader::new(file)));
    let mut table = opened
        .map_err(|error| Failure::at(&file, "read", &error))?
        .ok_or_else(|| Failure::Input(format!("{}: not the `cells.csv` of a sweep", file.display())))?;
    let batches = file.with_file_name("batches.csv");
    if batches.exists() {
        let added = File::open(&batches).and_then(|file| table.add_batches(BufReader::new(file)));
        if !added.map_err(|error| Failure::at(&batches, "read", &error))? {
            return Err(Failure::Input(format!("{}: not the `batches.csv` of a sweep", batches.display())));
        }
    }
    for metric in metrics {
        let known = table.metrics();
        if !known.contains(&metric.as_str()) {
            let near = crate::report::text::nearest(metric, known.iter().copied());
            let hint =
                near.map_or_else(|| format!("it has {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
            return Err(Failure::Input(format!("{}: no metric `{metric}`; {hint}", file.display())));
        }
    }
    if !metrics.is_empty() {
        table.rows.retain(|row| metrics.contains(&row.metric));
    }
    if table.rows.is_empty() {
        return Err(Failure::Input(format!("{}: no cell has a result", file.display())));
    }
    Ok((table, file))
}
