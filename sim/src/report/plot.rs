//! Means with intervals, as a picture: a small SVG of our own, and a Vega-Lite file for notebooks.
//!
//! One panel for each metric. Along the x axis stands what was varied last, from left to right in the order of the cells; each other
//! combination of coordinates has a colour and a shape.

use std::fmt::Write as _;

use serde::Serialize;

use crate::experiment::{Row, Table};
use crate::statistics::Moments;

const WIDTH: f64 = 720.0;
const PANEL: f64 = 240.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
const LEGEND_LINE: f64 = 18.0;

/// Okabe and Ito's colours, which people with any kind of colour vision can tell apart.
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c8c00"];

/// A mean with its interval at one place.
struct Mark {
    x: usize,
    series: usize,
    mean: f64,
    low: f64,
    high: f64,
}

/// How coordinates become places and colours.
struct Layout {
    /// The column along the x axis, and its labels.
    along: Option<usize>,
    places: Vec<String>,
    /// Combinations of the other columns that vary.
    series: Vec<String>,
}

impl Layout {
    fn of(table: &Table) -> Layout {
        let varied = table.varied();
        let axes = table.columns.len() - 2;
        // The last axis, or what else differs.
        let along = varied.iter().rev().find(|column| **column < axes).or(varied.first()).copied();
        let mut layout = Layout { along, places: Vec::new(), series: Vec::new() };
        for row in &table.rows {
            let (place, series) = layout.labels(row, &varied);
            for (list, label) in [(&mut layout.places, place), (&mut layout.series, series)] {
                if !list.contains(&label) {
                    list.push(label);
                }
            }
        }
        layout
    }

    fn labels(&self, row: &Row, varied: &[usize]) -> (String, String) {
        let place = self.along.map_or_else(String::new, |along| row.labels[along].clone());
        let others = varied.iter().filter(|column| Some(**column) != self.along);
        let others: Vec<&str> = others.map(|column| row.labels[*column].as_str()).collect();
        (place, others.join(", "))
    }

    fn marks(&self, table: &Table, metric: &str, confidence: f64) -> Vec<Mark> {
        let varied = table.varied();
        let rows = table.rows.iter().filter(|row| row.metric == metric && !row.values.is_empty());
        let mark = |row: &Row| {
            let (place, series) = self.labels(row, &varied);
            let (mean, interval) = (Moments::of(&row.values).mean(), row.interval(confidence));
            let at = |list: &[String], label: &String| list.iter().position(|known| known == label).unwrap_or(0);
            Mark {
                x: at(&self.places, &place),
                series: at(&self.series, &series),
                mean,
                low: interval.map_or(mean, |interval| interval.low),
                high: interval.map_or(mean, |interval| interval.high),
            }
        };
        rows.map(mark).collect()
    }
}

/// The picture.
#[must_use]
pub fn svg(table: &Table, confidence: f64) -> String {
    let layout = Layout::of(table);
    let metrics = table.metrics();
    let legend = if layout.series.len() > 1 { LEGEND_LINE * count(layout.series.len()) + 10.0 } else { 0.0 };
    let height = PANEL * count(metrics.len()) + legend;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, metric) in metrics.iter().enumerate() {
        let unit = table.rows.iter().find(|row| row.metric == *metric).map_or("", |row| row.unit.as_str());
        let marks = layout.marks(table, metric, confidence);
        let title = if unit.is_empty() { (*metric).to_owned() } else { format!("{metric} ({unit})") };
        let along = layout.along.map_or("", |along| table.columns[along].as_str());
        panel(&mut svg, &title, along, &layout, &marks, PANEL * count(number));
    }
    for (number, series) in layout.series.iter().enumerate().filter(|_| layout.series.len() > 1) {
        let y = PANEL * count(metrics.len()) + LEGEND_LINE * (count(number) + 0.5);
        shape(&mut svg, number, LEFT, y);
        text(&mut svg, LEFT + 12.0, y + 4.0, "start", series);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, title: &str, along: &str, layout: &Layout, marks: &[Mark], top: f64) {
    let (bottom, right) = (top + PANEL - BOTTOM, WIDTH - RIGHT);
    let low = marks.iter().map(|mark| mark.low).fold(f64::INFINITY, f64::min);
    let high = marks.iter().map(|mark| mark.high).fold(f64::NEG_INFINITY, f64::max);
    let ticks = ticks(low, high);
    let (low, high) = (ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0));
    let y_of = |value: f64| bottom - (value - low) / (high - low) * (bottom - top - TOP);
    let step = (right - LEFT) / count(layout.places.len().max(1));
    text(svg, LEFT, top + 18.0, "start", title);
    for tick in &ticks {
        let y = y_of(*tick);
        writeln!(svg, "<line x1=\"{LEFT:.1}\" y1=\"{y:.1}\" x2=\"{right:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>")
            .expect("a string grows");
        text(svg, LEFT - 6.0, y + 4.0, "end", &tick_label(*tick, (high - low).abs()));
    }
    for (place, label) in layout.places.iter().enumerate() {
        text(svg, LEFT + step * (count(place) + 0.5), bottom + 16.0, "middle", label);
    }
    text(svg, (LEFT + right) / 2.0, bottom + 34.0, "middle", along);
    for mark in marks {
        let beside = (count(mark.series) + 1.0) / (count(layout.series.len()) + 1.0);
        let x = LEFT + step * (count(mark.x) + 0.15 + 0.7 * beside);
        let colour = COLOURS[mark.series % COLOURS.len()];
        let (y_low, y_high) = (y_of(mark.low), y_of(mark.high));
        writeln!(
            svg,
            "<path d=\"M{x:.1} {y_low:.1}V{y_high:.1}M{:.1} {y_low:.1}H{:.1}M{:.1} {y_high:.1}H{:.1}\" stroke=\"{colour}\" fill=\"none\"/>",
            x - 4.0,
            x + 4.0,
            x - 4.0,
            x + 4.0,
        )
        .expect("a string grows");
        shape(svg, mark.series, x, y_of(mark.mean));
    }
}

/// Colour and shape of a series: told apart without colour too.
fn shape(svg: &mut String, series: usize, x: f64, y: f64) {
    let colour = COLOURS[series % COLOURS.len()];
    let drawn = match series % 4 {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>"),
        1 => format!("<rect x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\" fill=\"{colour}\"/>", x - 3.5, y - 3.5),
        2 => format!("<path d=\"M{x:.1} {:.1}l5 9h-10z\" fill=\"{colour}\"/>", y - 5.0),
        _ => format!("<path d=\"M{x:.1} {:.1}l5 5l-5 5l-5 -5z\" fill=\"{colour}\"/>", y - 5.0),
    };
    writeln!(svg, "{drawn}").expect("a string grows");
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>").expect("a string grows");
}

/// Round numbers around `low..high`: multiples of 1, 2 or 5 times a power of ten.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    if !low.is_finite() || !high.is_finite() {
        return vec![0.0, 1.0];
    }
    let span = if high > low { high - low } else { high.abs().max(1.0) };
    let mut unit = 1.0;
    while unit > span {
        unit /= 10.0;
    }
    while unit * 10.0 <= span {
        unit *= 10.0;
    }
    // Between one and ten units lie in the span: about five steps.
    let step = [0.2, 0.5, 1.0, 2.0].iter().map(|part| part * unit).find(|step| span / step <= 6.0).unwrap_or(unit);
    let first = (low / step).floor();
    let steps = ((high / step).ceil() - first).max(1.0);
    let mut list = vec![];
    let mut place = 0.0;
    while place <= steps {
        list.push((first + place) * step);
        place += 1.0;
    }
    list
}

fn tick_label(value: f64, span: f64) -> String {
    let digits = match span {
        span if span >= 10.0 => 0,
        span if span >= 1.0 => 1,
        span if span >= 0.1 => 2,
        span if span >= 0.01 => 3,
        _ => 6,
    };
    crate::statistics::with_commas(&format!("{value:.digits$}"))
}

use crate::statistics::count;

/// A Vega-Lite view of the same, its data inside.
#[derive(Serialize)]
struct Vega<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    data: Data<'a>,
    facet: Facet,
    spec: Spec,
    resolve: Resolve,
}

#[derive(Serialize)]
struct Data<'a> {
    values: Vec<Datum<'a>>,
}

#[derive(Serialize)]
struct Datum<'a> {
    metric: &'a str,
    place: String,
    series: String,
    mean: f64,
    low: f64,
    high: f64,
}

#[derive(Serialize)]
struct Facet {
    row: Field,
}

#[derive(Serialize)]
struct Field {
    field: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort: Option<Unsorted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scale: Option<Scale>,
}

/// `null`: as the data come.
struct Unsorted;

impl Serialize for Unsorted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

#[derive(Serialize)]
struct Scale {
    zero: bool,
}

#[derive(Serialize)]
struct Spec {
    layer: [Layer; 2],
}

#[derive(Serialize)]
struct Layer {
    mark: MarkOf,
    encoding: Encoding,
}

#[derive(Serialize)]
struct MarkOf {
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Encoding {
    x: Field,
    x_offset: Field,
    y: Field,
    #[serde(skip_serializing_if = "Option::is_none")]
    y2: Option<Second>,
    color: Field,
}

#[derive(Serialize)]
struct Second {
    field: &'static str,
}

#[derive(Serialize)]
struct Resolve {
    scale: ResolveScale,
}

#[derive(Serialize)]
struct ResolveScale {
    y: &'static str,
}

/// The same as a Vega-Lite specification.
#[must_use]
pub fn vega_lite(table: &Table, confidence: f64) -> String {
    let layout = Layout::of(table);
    let along = layout.along.map(|along| table.columns[along].clone());
    let plain = |field, kind| Field { field, kind, title: None, sort: None, scale: None };
    let nominal = |field| Field { sort: Some(Unsorted), ..plain(field, "nominal") };
    let layer = |kind, y, second: Option<&'static str>| Layer {
        mark: MarkOf { kind },
        encoding: Encoding {
            x: Field { title: along.clone(), ..nominal("place") },
            x_offset: nominal("series"),
            y: Field { scale: Some(Scale { zero: false }), title: Some(String::new()), ..plain(y, "quantitative") },
            y2: second.map(|field| Second { field }),
            color: nominal("series"),
        },
    };
    let mut values = Vec::new();
    for metric in table.metrics() {
        for Mark { x, series, mean, low, high } in layout.marks(table, metric, confidence) {
            let (place, series) = (layout.places[x].clone(), layout.series[series].clone());
            values.push(Datum { metric, place, series, mean, low, high });
        }
    }
    let vega = Vega {
        schema: "https://vega.github.io/schema/vega-lite/v5.json",
        data: Data { values },
        facet: Facet { row: nominal("metric") },
        spec: Spec { layer: [layer("rule", "low", Some("high")), layer("point", "mean", None)] },
        resolve: Resolve { scale: ResolveScale { y: "independent" } },
    };
    serde_json::to_string_pretty(&vega).unwrap_or_default() + "\n"
}
