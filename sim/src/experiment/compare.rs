//! Comparisons, pair by pair under the same seed; and tables of means, from the rows of `cells.csv`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead};

use framesim_models::index;

use super::cell::Key;
use super::csv::{Rows, write_row};
use super::measure::{Fixed, Metric};
use super::prepare::Prepared;
use super::results::BATCH;
use crate::cli::exit::Failure;
use crate::cli::output::FileWriter;
use crate::statistics::{
    Bootstrap, Interval, Measure, Moments, Paired, Scale, Sentence, count, opposite_order, two_sided_quantile,
};

/// Values of a metric by replica; none where the run has none.
type Values = Vec<Option<f64>>;

/// The values of two sides by metric, of those that are there.
type Sides = [Option<Vec<Values>>; 2];

/// Compares cells as they come, in order.
pub(super) struct Comparer<'p> {
    prepared: &'p Prepared,
    /// `("policy", "first_fit", "best_fit")`.
    wanted: Vec<(String, String, String)>,
    to: FileWriter,
    report: String,
    bootstrap: Bootstrap,
    point: Option<u64>,
    /// Of the current point: by policy and heap, then metric.
    at_point: BTreeMap<(u32, u32), Vec<Values>>,
    /// Of points that are compared with other points: by the comparison and all other coordinates, one side's values and the other's.
    across: BTreeMap<(usize, Vec<String>), Sides>,
}

/// All comparisons.
pub(super) struct Compared {
    /// `comparisons.csv`, without its name.
    pub file: FileWriter,
    /// In words.
    pub report: String,
}

/// Two sides under the same seeds.
struct Pair<'a> {
    on: &'a str,
    one: &'a str,
    other: &'a str,
    /// Labels of the coordinates; what is compared is empty.
    place: Vec<String>,
}

const NUMBERS: [&str; 17] = [
    "on",
    "one",
    "other",
    "metric",
    "pairs",
    "one_mean",
    "other_mean",
    "difference",
    "low",
    "high",
    "bootstrap_low",
    "bootstrap_high",
    "above",
    "below",
    "ties",
    "sign_chance",
    "effect",
];

impl<'p> Comparer<'p> {
    pub(super) fn new(prepared: &'p Prepared, mut to: FileWriter) -> Result<Comparer<'p>, Failure> {
        let columns = prepared.columns();
        let head = columns.iter().map(String::as_str).chain(NUMBERS);
        write_row(&mut to, head).map_err(|error| to.failure(&error))?;
        let wanted = prepared.grid.comparisons(&prepared.experiment);
        let (at_point, across) = (BTreeMap::new(), BTreeMap::new());
        let bootstrap = Bootstrap::new(prepared.seed);
        Ok(Comparer { prepared, wanted, to, report: String::new(), bootstrap, point: None, at_point, across })
    }

    pub(super) fn add(&mut self, key: Key, values: &[Option<Fixed>]) -> Result<(), Failure> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        if self.point != Some(key.point) {
            self.end_point()?;
            self.point = Some(key.point);
        }
        let metrics = self.prepared.metrics.len();
        let of_cell = self.at_point.entry((key.policy, key.heap)).or_insert_with(|| vec![Vec::new(); metrics]);
        for (of_metric, value) in of_cell.iter_mut().zip(values) {
            of_metric.resize(index(key.replica), None);
            of_metric.push(value.map(Fixed::to_f64));
        }
        Ok(())
    }

    fn end_point(&mut self) -> Result<(), Failure> {
        let at_point = std::mem::take(&mut self.at_point);
        let Some(point) = self.point else { return Ok(()) };
        let columns = self.prepared.columns();
        let wanted = self.wanted.clone();
        for (number, (on, one, other)) in wanted.iter().enumerate() {
            let column = columns.iter().position(|name| name == on).expect("comparisons are of a column");
            let mut sides: BTreeMap<Vec<String>, Sides> = BTreeMap::new();
            for ((policy, heap), values) in &at_point {
                let mut place = self.prepared.labels(Key { point, replica: 0, policy: *policy, heap: *heap });
                let label = std::mem::take(&mut place[column]);
                let side = [one, other].iter().position(|side| **side == label);
                let Some(side) = side else { continue };
                if on == "policy" || on == "heap" {
                    sides.entry(place).or_default()[side] = Some(values.clone());
                } else {
                    self.across.entry((number, place)).or_default()[side] = Some(values.clone());
                }
            }
            for (place, sides) in sides {
                self.pair(on, one, other, place, &sides)?;
            }
        }
        self.across_points(&wanted)
    }

    /// Those of which both sides are there.
    fn across_points(&mut self, wanted: &[(String, String, String)]) -> Result<(), Failure> {
        let is_whole = |sides: &Sides| sides.iter().all(Option::is_some);
        let whole: Vec<_> = self.across.iter().filter(|(_, sides)| is_whole(sides)).map(|(at, _)| at.clone()).collect();
        for at in whole {
            let Some(sides) = self.across.remove(&at) else { continue };
            let (on, one, other) = &wanted[at.0];
            self.pair(on, one, other, at.1, &sides)?;
        }
        Ok(())
    }

    fn pair(&mut self, on: &str, one: &str, other: &str, place: Vec<String>, sides: &Sides) -> Result<(), Failure> {
        let [Some(first), Some(second)] = sides else { return Ok(()) };
        let pair = Pair { on, one, other, place };
        let mut heading = self.heading(&pair);
        let mut resolved: Vec<(&Metric, Paired)> = Vec::new();
        let measures: Vec<_> = first.iter().zip(second).map(|(one, other)| in_pairs(one, other)).collect();
        let confidence = self.prepared.experiment.confidence.get();
        let paired = Paired::of_each(&measures, confidence, &mut self.bootstrap);
        for ((&metric, (one, other)), paired) in self.prepared.metrics.iter().zip(&measures).zip(paired) {
            let Some(paired) = paired else { continue };
            self.row(&pair, metric, [one, other], &paired)?;
            self.report.push_str(&std::mem::take(&mut heading));
            let name = metric.name.replace('_', " ");
            let measure = Measure { name: &name, scale: scale(metric) };
            let sentence = Sentence { one: pair.one, other: pair.other, measure, paired: &paired };
            writeln!(self.report, "{}.", crate::report::text::wrapped(&sentence.to_string(), 79))
                .expect("a string grows");
            if metric.is_fragmentation && paired.is_resolved() {
                resolved.push((metric, paired));
            }
        }
        self.flag(&pair, &resolved);
        Ok(())
    }

    /// Where all this holds: the coordinates that have several values.
    fn heading(&self, pair: &Pair<'_>) -> String {
        let grid = &self.prepared.grid;
        let several = grid.axes.iter().map(|axis| axis.values.len()).chain([grid.policies.len(), grid.heaps.len()]);
        let named = self.prepared.columns().into_iter().zip(&pair.place).zip(several);
        let named = named.filter(|((_, label), several)| !label.is_empty() && *several > 1);
        let named: Vec<String> = named.map(|((name, label), _)| format!("{name} {label}")).collect();
        let gap = if self.report.is_empty() { "" } else { "\n" };
        if named.is_empty() { gap.to_owned() } else { format!("{gap}{}:\n", named.join(", ")) }
    }

    fn flag(&mut self, pair: &Pair<'_>, resolved: &[(&Metric, Paired)]) {
        for (number, (metric, paired)) in resolved.iter().enumerate() {
            for (another, of_another) in &resolved[number + 1..] {
                let (difference, of_other) = (paired.moments.mean(), of_another.moments.mean());
                if opposite_order((difference, 0.0), (of_other, 0.0)) {
                    let text = format!(
                        "NOTE: which of {} and {} fragments less depends on the measure: {} and {} rank them in opposite order.",
                        pair.one, pair.other, metric.name, another.name
                    );
                    writeln!(self.report, "{}", crate::report::text::wrapped(&text, 80)).expect("a string grows");
                }
            }
        }
    }

    fn row(&mut self, pair: &Pair<'_>, metric: &Metric, values: [&[f64]; 2], paired: &Paired) -> Result<(), Failure> {
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.9}"));
        let (student, bootstrap, signs) = (paired.student, paired.bootstrap, paired.signs);
        let numbers = [
            paired.moments.values().to_string(),
            number(Some(Moments::of(values[0]).mean())),
            number(Some(Moments::of(values[1]).mean())),
            number(Some(paired.moments.mean())),
            number(student.map(|interval| interval.low)),
            number(student.map(|interval| interval.high)),
            number(bootstrap.map(|interval| interval.low)),
            number(bootstrap.map(|interval| interval.high)),
            signs.above.to_string(),
            signs.below.to_string(),
            signs.ties.to_string(),
            number(Some(signs.chance)),
            number(paired.effect),
        ];
        let place = pair.place.iter().map(String::as_str);
        let fields =
            place.chain([pair.on, pair.one, pair.other, metric.name]).chain(numbers.iter().map(String::as_str));
        write_row(&mut self.to, fields).map_err(|error| self.to.failure(&error))
    }

    pub(super) fn finish(mut self) -> Result<Compared, Failure> {
        self.end_point()?;
        Ok(Compared { file: self.to, report: self.report })
    }
}

/// The values of seeds that both have.
fn in_pairs(one: &Values, other: &Values) -> (Vec<f64>, Vec<f64>) {
    one.iter().zip(other).filter_map(|(one, other)| Some(((*one)?, (*other)?))).unzip()
}

fn scale(metric: &Metric) -> Scale {
    if metric.unit == "share" { Scale::Share } else { Scale::Number(metric.unit) }
}

/// Means by metric and coordinates.
#[derive(Clone, Debug)]
pub struct Table {
    /// Columns of the coordinates: the axes, `policy`, `heap`.
    pub columns: Vec<String>,
    /// A row for each metric and place, in the order of the cells.
    pub rows: Vec<Row>,
}

/// The values of one metric at one place, over seeds.
#[derive(Clone, Debug)]
pub struct Row {
    /// The metric.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Labels of the coordinates.
    pub labels: Vec<String>,
    /// A value for each seed that has one.
    pub values: Vec<f64>,
    /// Of a single run: what its batches say.
    pub batches: Option<Batches>,
}

/// What the batches of a run say about the mean of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batches {
    /// How many.
    pub batches: usize,
    /// The standard error of the mean.
    pub standard_error: f64,
    /// Of each batch with the next.
    pub correlation: f64,
}

impl Row {
    /// The interval of the mean: over seeds, or over the batches of a single run; none where there is too little.
    ///
    /// # Panics
    /// When `confidence` is not between 0 and 1.
    #[must_use]
    #[expect(clippy::float_arithmetic, reason = "statistics of results")]
    pub fn interval(&self, confidence: f64) -> Option<Interval> {
        let moments = Moments::of(&self.values);
        if moments.values() != 1 {
            return moments.interval(confidence);
        }
        let Batches { batches, standard_error, .. } = self.batches?;
        let half = standard_error * two_sided_quantile(1.0 - confidence, count(batches) - 1.0);
        Some(Interval { low: moments.mean() - half, high: moments.mean() + half })
    }
}

impl Table {
    /// From `cells.csv`; none when it is something else. Of each value it keeps eight bytes.
    ///
    /// # Errors
    /// Those of the file.
    pub fn read(from: impl BufRead) -> io::Result<Option<Table>> {
        let (mut rows, mut row) = (Rows::of(from), Vec::new());
        let read = |rows: &mut Rows<_>, row: &mut Vec<String>| match rows.next(row) {
            // Neither text nor quotes that are closed: no table.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            read => read.map(Some),
        };
        if read(&mut rows, &mut row)? != Some(true) {
            return Ok(None);
        }
        let Some(places) = row.len().checked_sub(5).filter(|_| row[0] == "cell") else { return Ok(None) };
        if row[places + 1..] != ["seed", "metric", "value", "unit"] {
            return Ok(None);
        }
        let mut table = Table { columns: row[1..=places].to_vec(), rows: Vec::new() };
        let (mut known, mut last) = (BTreeMap::new(), 0);
        loop {
            match read(&mut rows, &mut row)? {
                Some(true) if row.len() == places + 5 => {}
                Some(false) => return Ok(Some(table)),
                _ => return Ok(None),
            }
            last = table.row_of(&row, last + 1, &mut known);
            let value = &row[places + 3];
            if !value.is_empty() {
                let Ok(value) = value.parse() else { return Ok(None) };
                table.rows[last].values.push(value);
            }
        }
    }

    /// The row that a line of `cells.csv` belongs to, perhaps `likely`; a new one when there is none yet.
    fn row_of(&mut self, line: &[String], likely: usize, known: &mut BTreeMap<Vec<String>, usize>) -> usize {
        let places = self.columns.len();
        let (labels, metric) = (&line[1..=places], &line[places + 2]);
        if self.rows.get(likely).is_some_and(|row| row.metric == *metric && row.labels == labels) {
            return likely;
        }
        let name: Vec<String> = labels.iter().chain([metric]).cloned().collect();
        let at = *known.entry(name).or_insert(self.rows.len());
        if at == self.rows.len() {
            let (metric, unit) = (metric.clone(), line[places + 4].clone());
            self.rows.push(Row { metric, unit, labels: labels.to_vec(), values: Vec::new(), batches: None });
        }
        at
    }

    /// Takes in `batches.csv` of the same sweep; false when it is something else.
    ///
    /// # Errors
    /// Those of the file.
    pub fn add_batches(&mut self, from: impl BufRead) -> io::Result<bool> {
        let (mut rows, mut row, places) = (Rows::of(from), Vec::new(), self.columns.len());
        if !rows.next(&mut row)? || row.len() != places + 2 + BATCH.len() || row[places + 2..] != BATCH {
            return Ok(false);
        }
        let mut at = 0;
        while rows.next(&mut row)? {
            if row.len() != places + 2 + BATCH.len() {
                return Ok(false);
            }
            let (labels, numbers) = (&row[1..=places], &row[places + 2..]);
            let (Ok(batches), Ok(standard_error), Ok(correlation)) =
                (numbers[1].parse(), numbers[3].parse(), numbers[6].parse())
            else {
                return Ok(false);
            };
            // Both files have the order of the cells.
            let found = self.rows[at..].iter().position(|row| row.metric == numbers[0] && row.labels == labels);
            let Some(found) = found.filter(|_| batches > 1) else { return Ok(false) };
            at += found;
            self.rows[at].batches = Some(Batches { batches, standard_error, correlation });
        }
        Ok(true)
    }

    /// The metrics, in order.
    #[must_use]
    pub fn metrics(&self) -> Vec<&str> {
        let mut metrics: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !metrics.contains(&row.metric.as_str()) {
                metrics.push(&row.metric);
            }
        }
        metrics
    }

    /// Columns with more than one label.
    #[must_use]
    pub fn varied(&self) -> Vec<usize> {
        let differs = |column: &usize| self.rows.iter().any(|row| row.labels[*column] != self.rows[0].labels[*column]);
        (0..self.columns.len()).filter(differs).collect()
    }
}
