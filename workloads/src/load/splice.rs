//! `--set PATH=VALUE`, on the text of a workload, before it is parsed.
//!
//! A path is names joined by dots: fields of structs, keys of maps, places in lists from 0, or the `name` of a list's
//! element (`processes.web.does.gap`). What is between the parentheses of a name with options, as in
//! `buddy(max_order: 10)`, are its fields. A value that is not RON (`64KiB`, `5ms`) is taken as a text.
//!
//! **Invariant.** Nothing but the value at the path changes; a place in the new text is known to be the file's or an
//! override's.

use std::ops::Range;

use super::diagnostic::{Diagnostic, Kind, Source};
use super::nearest::nearest;
use super::text::{Body, BodyKind, Found, PathStep, Place, PlaceStep, is_one_value, leads_to, scan, unquoted};

/// A text with overrides in it, and where each of its bytes is from.
pub(crate) struct Spliced {
    pub text: String,
    /// Source 0 is the file.
    pub sources: Vec<Source>,
    overrides: Vec<Override>,
}

struct Override {
    source: usize,
    /// What was put into the text.
    inserted: Range<usize>,
    /// The value in it.
    value: Range<usize>,
    /// Where the value starts in the source, and where it ends.
    in_source: Range<usize>,
    /// Bytes that were put in the file's place: the file's later text is shifted by `inserted.len() - replaced`.
    replaced: usize,
}

impl Spliced {
    pub(crate) fn of(name: &str, text: &str) -> Spliced {
        let file = Source { name: name.to_owned(), text: text.to_owned() };
        Spliced { text: text.to_owned(), sources: vec![file], overrides: Vec::new() }
    }

    /// Puts `value` where `path` leads; one that `is_text` gets quotes.
    pub(crate) fn set(&mut self, path: &str, value: &str, is_text: bool) -> Result<(), Box<Diagnostic>> {
        let source = self.sources.len();
        self.sources.push(Source { name: format!("--set {path}={value}"), text: format!("{path}={value}") });
        let target = self.target(path).map_err(|wrong| {
            Box::new(Diagnostic {
                kind: Kind::Input,
                message: wrong.message,
                path: path.to_owned(),
                place: Some((source, wrong.span)),
                label: String::new(),
                help: wrong.help,
            })
        })?;
        let quoted = is_text || needs_quotes(value, self.text.get(target.replaced.clone()).unwrap_or(""));
        let quote = if quoted { "\"" } else { "" };
        let new = format!("{}{quote}{value}{quote}{}", target.before, target.after);
        let value_start = target.replaced.start + target.before.len() + quote.len();
        self.replace(
            Override {
                source,
                inserted: target.replaced.start..target.replaced.start + new.len(),
                value: value_start..value_start + value.len(),
                in_source: path.len() + 1..path.len() + 1 + value.len(),
                replaced: target.replaced.len(),
            },
            &new,
        );
        Ok(())
    }

    fn replace(&mut self, change: Override, new: &str) {
        let old = change.inserted.start..change.inserted.start + change.replaced;
        self.text.replace_range(old.clone(), new);
        let moved = |at: usize| if at >= old.end { at - old.len() + new.len() } else { at };
        // An override inside the replaced value is gone with it.
        self.overrides.retain(|earlier| {
            earlier.inserted.is_empty() || earlier.inserted.start < old.start || earlier.inserted.end > old.end
        });
        for earlier in &mut self.overrides {
            for range in [&mut earlier.inserted, &mut earlier.value] {
                *range = moved(range.start)..moved(range.end);
            }
        }
        self.overrides.push(change);
    }

    /// The source and the bytes of it that a place in the text is from.
    pub(crate) fn origin(&self, span: Range<usize>) -> (usize, Range<usize>) {
        // The innermost: a later override may lie in an earlier one's value.
        let inside = |range: &Range<usize>| range.start <= span.start && span.start < range.end;
        let Some(found) = self.overrides.iter().rev().find(|change| inside(&change.inserted)) else {
            return (0, self.in_file(span.start)..self.in_file(span.end).max(self.in_file(span.start)));
        };
        if found.value.start <= span.start && span.start <= found.value.end {
            let start = found.in_source.start + (span.start - found.value.start);
            let end = found.in_source.start + span.end.saturating_sub(found.value.start);
            let start = start.min(found.in_source.end);
            return (found.source, start..end.clamp(start, found.in_source.end));
        }
        (found.source, 0..found.in_source.start - 1)
    }

    /// The file's byte that stands at `at`, which lies in no override.
    fn in_file(&self, at: usize) -> usize {
        let (mut grown, mut shrunk) = (0, 0);
        for change in self.overrides.iter().filter(|change| change.inserted.end <= at) {
            grown += change.inserted.len();
            shrunk += change.replaced;
        }
        (at + shrunk).saturating_sub(grown).min(self.sources[0].text.len())
    }

    fn target(&self, path: &str) -> Result<Target, Wrong> {
        let steps: Vec<&str> = path.split('.').collect();
        let mut known: Vec<PathStep> = Vec::new();
        let mut here = find(&self.text, &[]).ok_or_else(|| Wrong::plain(path, "the file is not RON".to_owned()))?;
        let mut span_start = 0;
        for (depth, step) in steps.iter().enumerate() {
            let span = span_start..span_start + step.len();
            span_start = span.end + 1;
            if step.is_empty() {
                return Err(Wrong { span, message: "a path is names joined by dots".to_owned(), help: None });
            }
            let is_list = here.body.as_ref().is_some_and(|body| matches!(body.kind, BodyKind::List | BodyKind::Tuple));
            let next = if is_list { self.element(&known, step) } else { Some(PathStep::Name((*step).to_owned())) };
            let next = next.ok_or_else(|| self.no_element(&known, step, span.clone()))?;
            known.push(next);
            match find(&self.text, &known) {
                Some(found) => here = found,
                None if is_list => return Err(self.no_element(&known[..depth], step, span)),
                None => return insertion(&self.text, &here, &steps[depth..], span),
            }
        }
        Ok(Target { replaced: here.span, before: String::new(), after: String::new() })
    }

    /// The element of the list at `list` that `step` means: its place, or its name.
    fn element(&self, list: &[PathStep], step: &str) -> Option<PathStep> {
        let named = self.element_names(list).into_iter().find(|(_, name)| name == step).map(|(index, _)| index);
        named.or_else(|| step.parse().ok()).map(PathStep::Index)
    }

    fn element_names(&self, list: &[PathStep]) -> Vec<(usize, String)> {
        element_names(&self.text, list)
    }

    fn no_element(&self, list: &[PathStep], step: &str, span: Range<usize>) -> Wrong {
        let names = self.element_names(list);
        let names: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
        let help = match nearest(step, names.iter().copied()) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if names.is_empty() => None,
            None => Some(format!("known here: {}", names.join(", "))),
        };
        Wrong { span, message: format!("no element is called `{step}`"), help }
    }
}

/// Where a new value goes, and what is written around it.
struct Target {
    replaced: Range<usize>,
    before: String,
    after: String,
}

struct Wrong {
    /// In the override.
    span: Range<usize>,
    message: String,
    help: Option<String>,
}

impl Wrong {
    fn plain(path: &str, message: String) -> Wrong {
        Wrong { span: 0..path.len(), message, help: None }
    }
}

/// A new field (and those around it) in the value `parent`.
fn insertion(text: &str, parent: &Found, steps: &[&str], span: Range<usize>) -> Result<Target, Wrong> {
    // What is not there yet is made on the way: a struct, or a map where the schema has one.
    let brackets =
        |step: &str| if step == "programs" || step == "options" { ("{\"", "\": ", "}") } else { ("(", ": ", ")") };
    let pairs = || steps.windows(2).map(|pair| (brackets(pair[0]), pair[1]));
    let nested = |key: &str| {
        let inner: String = pairs().map(|((open, colon, _), step)| format!("{open}{step}{colon}")).collect();
        format!("{key}: {inner}")
    };
    let closing: String = pairs().map(|((.., close), _)| close).rev().collect();
    let at = |at: usize, before: String, after: String| Ok(Target { replaced: at..at, before, after });
    match &parent.body {
        Some(Body { kind, close, empty, trailing_comma }) => {
            let comma = if *empty || *trailing_comma { "" } else { ", " };
            let key = if *kind == BodyKind::Map { format!("\"{}\"", steps[0]) } else { steps[0].to_owned() };
            // Behind a comment that runs to the end of its line a value would be part of it.
            let line = text[..*close].rsplit('\n').next().unwrap_or("");
            if *trailing_comma && line.trim().is_empty() {
                // The bracket has a line of its own: so does the new value.
                return at(*close, format!("    {}", nested(&key)), format!("{closing},\n{line}"));
            }
            let newline = if line.contains("//") { "\n" } else { "" };
            at(*close, format!("{newline}{comma}{}", nested(&key)), closing)
        }
        None if is_name(&text[parent.head.clone()]) => {
            at(parent.head.end, format!("({}", nested(steps[0])), format!("{closing})"))
        }
        None => Err(Wrong { span, message: format!("`{}` has no fields", &text[parent.span.clone()]), help: None }),
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Whether a value of the command line is a text, although it was written without quotes.
fn needs_quotes(value: &str, old: &str) -> bool {
    let was_text = old.starts_with('"');
    !is_one_value(value) || (was_text && is_name(value.trim()) && !value.contains('('))
}

/// The value at `path`.
pub(crate) fn find(text: &str, path: &[PathStep]) -> Option<Found> {
    let mut there = None;
    scan(text, &mut |places, found| {
        if there.is_none() && leads_to(path, places) {
            there = Some(found.clone());
        }
    });
    there
}

/// Elements of the list at `list` that have a `name`.
pub(crate) fn element_names(text: &str, list: &[PathStep]) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    scan(text, &mut |places, found| {
        if let [outer @ .., Place { step: PlaceStep::Index(index), .. }, Place { step: PlaceStep::Name("name"), .. }] =
            places
            && leads_to(list, outer)
        {
            names.push((*index, unquoted(&text[found.span.clone()]).to_owned()));
        }
    });
    names
}
