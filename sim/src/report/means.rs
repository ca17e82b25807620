//! Means with intervals, as a table.

use std::fmt::Write as _;

use crate::experiment::{Row, Table};
use crate::report::text::wrapped;
use crate::statistics::{CORRELATION_MOST, Moments};

/// One block for each metric, one line for each place.
#[must_use]
pub fn text(table: &Table, confidence: f64) -> String {
    let varied = table.varied();
    let mut text = fixed(table, &varied);
    let width = |column: usize| {
        let labels = table.rows.iter().map(|row| row.labels[column].chars().count());
        labels.max().unwrap_or(0).max(table.columns[column].len())
    };
    let widths: Vec<usize> = varied.iter().map(|&column| width(column)).collect();
    for metric in table.metrics() {
        let rows: Vec<&Row> = table.rows.iter().filter(|row| row.metric == metric).collect();
        if !text.is_empty() {
            text.push('\n');
        }
        let unit = rows.first().map(|row| row.unit.as_str()).filter(|unit| !unit.is_empty());
        let unit = unit.map_or_else(String::new, |unit| format!(" ({unit})"));
        let percent = crate::statistics::percent(confidence);
        writeln!(text, "{metric}{unit}").expect("a string grows");
        for (&column, width) in varied.iter().zip(&widths) {
            write!(text, "  {:width$}", table.columns[column]).expect("a string grows");
        }
        writeln!(text, "  {:>15}  {:>31}  {:>5}", "mean", format!("{percent} % interval"), "seeds")
            .expect("a string grows");
        for row in rows {
            line(&mut text, row, &varied, &widths, confidence);
        }
    }
    text.push_str(&of_batches(table, &varied));
    text
}

/// Which intervals are by batches, and which of them are not to be trusted.
fn of_batches(table: &Table, varied: &[usize]) -> String {
    let rows = table.rows.iter().filter_map(|row| Some((row, row.batches.filter(|_| row.values.len() == 1)?)));
    let Some((_, first)) = rows.clone().next() else { return String::new() };
    let mut text = format!(
        "\nOf a single run the interval is by {} batch means, which follow each other behind the warm-up.",
        first.batches
    );
    let mut close: Vec<String> = Vec::new();
    for (row, batches) in rows.filter(|(_, batches)| batches.correlation > CORRELATION_MOST) {
        let labels: Vec<&str> = varied.iter().map(|&column| row.labels[column].as_str()).collect();
        close.push(format!("{} ({} {:.2})", row.metric, labels.join(" "), batches.correlation).replace("( ", "("));
    }
    if !close.is_empty() {
        write!(
            text,
            " NOTE: batches of {} depend on each other (correlation with the next): the interval is too narrow, and a longer run or several seeds would tell.",
            close.join(", ")
        )
        .expect("a string grows");
    }
    format!("\n{}\n", wrapped(text.trim_start(), 80))
}

/// What is the same everywhere, said once.
fn fixed(table: &Table, varied: &[usize]) -> String {
    let Some(first) = table.rows.first() else { return String::new() };
    let same = (0..table.columns.len()).filter(|column| !varied.contains(column) && !first.labels[*column].is_empty());
    let same: Vec<String> = same.map(|column| format!("{} {}", table.columns[column], first.labels[column])).collect();
    if same.is_empty() { String::new() } else { same.join(", ") + "\n" }
}

fn line(text: &mut String, row: &Row, varied: &[usize], widths: &[usize], confidence: f64) {
    for (&column, width) in varied.iter().zip(widths) {
        write!(text, "  {:width$}", row.labels[column]).expect("a string grows");
    }
    let moments = Moments::of(&row.values);
    let digits = digits(&row.unit, moments.mean());
    let mean = if row.values.is_empty() { "-".to_owned() } else { shown(moments.mean(), digits) };
    let interval = row.interval(confidence).map_or_else(String::new, |interval| {
        format!("{} to {}", shown(interval.low, digits), shown(interval.high, digits))
    });
    writeln!(text, "  {mean:>15}  {interval:>31}  {:>5}", row.values.len()).expect("a string grows");
}

/// Digits behind the point that are worth reading.
fn digits(unit: &str, mean: f64) -> usize {
    match mean.abs() {
        _ if unit == "share" => 4,
        size if size >= 1_000.0 => 0,
        size if size >= 10.0 => 1,
        _ => 3,
    }
}

fn shown(value: f64, digits: usize) -> String {
    crate::statistics::with_commas(&format!("{value:.digits$}"))
}
