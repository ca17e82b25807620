//! What a parser's error means to the person who wrote the file.

use std::ops::Range;

use ron::error::Error;

use super::Known;
use super::diagnostic::{Diagnostic, Kind};
use super::nearest::nearest;
use super::problem::Path;
use super::splice::Spliced;
use super::text::PathStep;

/// The parser's error `code` at `span` of the text.
pub(super) fn explain(code: &Error, span: Range<usize>, path: Path, spliced: &Spliced, known: Known<'_>) -> Diagnostic {
    let text = &spliced.text;
    let span = widened(text, span);
    let mut told = tell(code, text, &span, known);
    let shown = place_of(code, path).shown(text);
    if told.names_path && !shown.is_empty() {
        told.message.push_str(&format!(" at {shown}"));
    }
    let span = told.span.unwrap_or(span);
    Diagnostic {
        kind: Kind::Input,
        message: told.message,
        path: shown,
        place: Some(spliced.origin(span)),
        label: told.label,
        help: told.help,
    }
}

/// A field that is not known, missing or there twice is a matter of the value around it.
fn place_of(code: &Error, mut path: Path) -> Path {
    if let Error::NoSuchStructField { found: field, .. } = code
        && path.0.last() == Some(&PathStep::Name(field.clone()))
    {
        path.0.pop();
    }
    path
}

struct Told {
    message: String,
    label: String,
    help: Option<String>,
    names_path: bool,
    span: Option<Range<usize>>,
}

impl Told {
    fn new(message: impl Into<String>) -> Told {
        Told { message: message.into(), label: String::new(), help: None, names_path: true, span: None }
    }

    fn label(self, label: impl Into<String>) -> Told {
        Told { label: label.into(), ..self }
    }

    fn help(self, help: Option<String>) -> Told {
        Told { help, ..self }
    }

    fn span(self, span: Range<usize>) -> Told {
        Told { span: Some(span), ..self }
    }
}

fn tell(code: &Error, text: &str, span: &Range<usize>, known: Known<'_>) -> Told {
    match code {
        Error::NoSuchEnumVariant { expected, found, outer } => {
            unknown_variant(expected, found, outer.as_deref(), known)
        }
        Error::NoSuchStructField { expected, found, outer } => {
            let of = outer.as_deref().map(noun).filter(|noun| noun.word != "value");
            let within = of.map_or(String::new(), |noun| format!(" of {} {}", article(noun.word), noun.word));
            Told::new(format!("unknown field `{found}`{within}"))
                .label("not a field")
                .help(Some(names_help(found, expected, None)))
        }
        Error::MissingStructField { field, .. } => {
            Told::new(format!("`{field}` is missing")).label(format!("a `{field}` is needed before this"))
        }
        Error::DuplicateStructField { field, .. } => {
            Told::new(format!("`{field}` is there twice")).label("the second one")
        }
        Error::InvalidValueForType { expected, found } => {
            let written = &text[span.clone()];
            let found =
                if written.is_empty() || written.contains('\n') { lower(found) } else { format!("`{written}`") };
            Told::new(format!("expected {}, found {found}", lower(expected)))
        }
        Error::ExpectedDifferentLength { expected, found } => {
            // "tuple variant Step::Take with 2 elements"
            let needed = expected.rsplit(' ').nth(1).unwrap_or("more");
            Told::new(format!("{needed} values are needed here, found {found}"))
        }
        Error::Message(message) => match message.split_once("; did you mean") {
            Some((what, near)) => Told::new(what).help(Some(format!("did you mean{near}"))),
            None => Told::new(message.clone()),
        },
        Error::ExceededRecursionLimit => Told::new("brackets are nested too deep")
            .help(Some("at most 64 lists, or 31 steps, inside each other".to_owned())),
        Error::TrailingCharacters => Told::new("something follows the end of the workload").label("not expected here"),
        Error::NoSuchExtension(name) => Told::new(format!("RON has no extension `{name}`")),
        Error::ExpectedComma | Error::InvalidIntegerDigit { .. } if number_at(text, span.start).is_some() => {
            not_whole(text, span.start)
        }
        Error::IntegerOutOfBounds | Error::ExpectedInteger => match number_at(text, span.start) {
            Some(number) => {
                let message = format!("{} is not in the range of whole numbers allowed here", &text[number.clone()]);
                Told::new(message).span(number).help(Some("0 to 18,446,744,073,709,551,615 at most".to_owned()))
            }
            None => Told::new("expected a whole number"),
        },
        Error::ExpectedStructLike | Error::ExpectedNamedStructLike(_) => {
            Told::new("expected `(`").label("an opening parenthesis is missing")
        }
        other => Told::new(lower(&other.to_string())),
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// What a type is called, and the command that lists its names.
struct Noun {
    word: &'static str,
    list: Option<&'static str>,
}

fn noun(outer: &str) -> Noun {
    let (word, list) = match outer {
        "PolicyChoice" => ("policy", Some("policies")),
        "HeapChoice" => ("heap", Some("heaps")),
        "Law" => ("law", Some("laws")),
        "Step" => ("step", None),
        "Workload" => ("workload", None),
        "Machine" => ("machine", None),
        "Program" => ("program", None),
        "Group" => ("process group", None),
        "Mix" => ("mix", None),
        "Phase" => ("phase", None),
        "Recorded" => ("trace", None),
        "Experiment" => ("experiment", None),
        "Axis" => ("axis", None),
        "Values" => ("kind of values", None),
        "Case" => ("case", None),
        "Replicas" => ("stop rule", None),
        "Comparison" => ("comparison", None),
        "WarmUp" => ("warm-up", None),
        "Series" => ("series", None),
        _ => ("value", None),
    };
    Noun { word, list }
}

fn unknown_variant(expected: &[&str], found: &str, outer: Option<&str>, known: Known<'_>) -> Told {
    let noun = noun(outer.unwrap_or(""));
    let mut names: Vec<&str> = expected.to_vec();
    let own: Vec<&str> = match noun.word {
        "policy" => known.frames.iter().map(|entry| entry.name).collect(),
        "heap" => known.heaps.iter().map(|entry| entry.name).collect(),
        _ => Vec::new(),
    };
    let is_added = own.contains(&found);
    names.extend(own);
    let help = if is_added {
        format!("a {} of another crate is written `custom(name: \"{found}\")`", noun.word)
    } else {
        names_help(found, &names, noun.list)
    };
    let label =
        if noun.word == "value" { "not known".to_owned() } else { format!("not {} {}", article(noun.word), noun.word) };
    Told::new(format!("unknown {} `{found}`", noun.word)).label(label).help(Some(help))
}

/// The nearest of the names, and where to find all.
pub(super) fn names_help(wrong: &str, names: &[&str], list: Option<&str>) -> String {
    let all = match list {
        Some(list) => format!("`framesim list {list}` names all"),
        None => format!("known here: {}", names.join(", ")),
    };
    match nearest(wrong, names.iter().copied()) {
        Some(near) if list.is_some() => format!("did you mean `{near}`? {all}"),
        Some(near) => format!("did you mean `{near}`?"),
        None => all,
    }
}

/// A number where a whole one belongs: `1.5`, `1e12`.
fn not_whole(text: &str, at: usize) -> Told {
    let Some(number) = number_at(text, at) else {
        return Told::new("expected a comma");
    };
    let written = &text[number.clone()];
    if !written.contains(['.', 'e', 'E']) {
        return Told::new("expected a comma").label("something is missing before this");
    }
    Told::new(format!("{written} is not a whole number"))
        .span(number)
        .help(Some("write 1_000_000 for 1e6; sizes and times may be texts such as \"1.5MiB\", \"1.5ms\"".to_owned()))
}

/// The number that has a byte at or just before `at`.
fn number_at(text: &str, at: usize) -> Option<Range<usize>> {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"_.+-".contains(&b);
    let bytes = text.as_bytes();
    let blanks = bytes.get(at..)?.iter().take_while(|b| b.is_ascii_whitespace()).count();
    let touches = |at: usize| bytes.get(at).is_some_and(|b| is_part(*b));
    let inside = if touches(at) || (at > 0 && touches(at - 1)) { at } else { at + blanks };
    let before = bytes[..inside].iter().rev().take_while(|b| is_part(**b)).count();
    let after = bytes[inside..].iter().take_while(|b| is_part(**b)).count();
    let range = inside - before..inside + after;
    let is_number = text[range.clone()].trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit());
    is_number.then_some(range)
}

/// The parser's span starts inside a string's quote and behind a minus; a person sees the whole value. One that is blank goes
/// to the next value.
fn widened(text: &str, span: Range<usize>) -> Range<usize> {
    let blanks = |at: usize| text[at..].len() - text[at..].trim_start().len();
    let start = if span.start >= text.trim_end().len() { span.start } else { span.start + blanks(span.start) };
    let quoted =
        start > 0 && text.as_bytes()[start - 1] == b'"' && text.get(start..span.end).is_some_and(|s| s.ends_with('"'));
    let signed = start > 0 && text.as_bytes()[start - 1] == b'-';
    let start = if quoted || signed { start - 1 } else { start };
    start..span.end.max(start)
}

/// The parser's sentences start with a capital; ours do not.
fn lower(sentence: &str) -> String {
    let mut letters = sentence.chars();
    match letters.next() {
        Some(first) if letters.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => sentence.to_owned(),
    }
}
