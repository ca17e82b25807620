//! From the text of a workload file to a checked [`Workload`], or to everything that is wrong with it.
//!
//! The text is changed in two ways before it is parsed: values of `--set` are put in (`splice`), and a bare name of
//! something that has options gets its parentheses, `first_fit` to `first_fit()`. Both keep every place known.
//!
//! **Invariant.** Every error in a text has a place in it; nothing that passes here is refused later for what it says.

mod check;
mod diagnostic;
mod explain;
pub(crate) mod nearest;
pub(crate) mod problem;
pub(crate) mod splice;
mod text;

#[cfg(test)]
mod tests;

use std::ops::Range;

use framesim_models::frames::PolicyRegistry;
use framesim_models::heap::HeapRegistry;
use ron::extensions::Extensions;

pub use diagnostic::{Diagnostic, Diagnostics, Kind, Source};

use crate::spec::Workload;
use splice::Spliced;
use text::{Found, PathStep, Place, PlaceStep, scan};

/// Longer files are refused.
pub const FILE_BYTES_MOST: usize = 16 << 20;

/// A value for a path, as in `--set machine.memory=64KiB`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `machine.memory`, `processes.web.count`.
    pub path: String,
    /// `64KiB`, `buddy(max_order: 4)`.
    pub value: String,
}

/// Models that a workload can name.
#[derive(Clone, Copy)]
pub struct Known<'r> {
    /// Frame policies.
    pub frames: &'r PolicyRegistry,
    /// Heaps.
    pub heaps: &'r HeapRegistry,
}

/// A workload that has passed all checks, with its text for errors that come later.
pub struct Loaded {
    /// What it says.
    pub workload: Workload,
    spliced: Spliced,
}

/// Reads the workload `text`, called `name`, with `settings` put into it.
///
/// # Errors
/// Everything that is wrong with it: one error when it cannot be parsed, else all that the checks find.
pub fn load(name: &str, text: &str, settings: &[Setting], known: Known<'_>) -> Result<Loaded, Diagnostics> {
    let mut is_text = vec![false; settings.len()];
    let (spliced, parsed) = loop {
        let spliced = put_in(name, text, settings, &is_text)?;
        match parse(&spliced, known) {
            // `--set processes.web.program=worker`: the shell has eaten the quotes.
            Err(Refused { setting_wants_text: Some(setting), .. }) if !is_text[setting] => is_text[setting] = true,
            parsed => break (spliced, parsed),
        }
    };
    let fail = |spliced: Spliced, list| Err(Diagnostics { sources: spliced.sources, list });
    let workload = match parsed {
        Ok(workload) => workload,
        Err(refused) => return fail(spliced, vec![*refused.diagnostic]),
    };
    let mut list = Vec::new();
    for problem in check::problems(&workload, known) {
        list.push(problem.at(&spliced));
    }
    if list.is_empty() { Ok(Loaded { workload, spliced }) } else { fail(spliced, list) }
}

/// The text with all settings in it; those that are texts without quotes get them.
fn put_in(name: &str, text: &str, settings: &[Setting], is_text: &[bool]) -> Result<Spliced, Diagnostics> {
    let mut spliced = Spliced::of(name, text);
    let mut wrong = unreadable(text);
    for (setting, is_text) in settings.iter().zip(is_text) {
        if wrong.is_none() {
            wrong = spliced.set(&setting.path, &setting.value, *is_text).err().map(|wrong| *wrong);
        }
    }
    match wrong {
        Some(wrong) => Err(Diagnostics { sources: spliced.sources, list: vec![wrong] }),
        None => Ok(spliced),
    }
}

impl Loaded {
    /// The text of the workload, with all settings in it: as a file of its own it is the same workload.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.spliced.text
    }

    /// An error that was found later, at a path such as `machine.frames.max_order`; where the path is not in the text, it
    /// points to the nearest value around it.
    #[must_use]
    pub fn error_at(&self, path: &str, message: &str, label: &str, help: Option<&str>) -> Diagnostics {
        let mut problem = problem::Problem::new(problem::Path::parse(path), message.to_owned());
        problem.label = label.to_owned();
        problem.help = help.map(str::to_owned);
        Diagnostics { sources: self.spliced.sources.clone(), list: vec![problem.at(&self.spliced)] }
    }
}

/// What no parser should see.
pub(crate) fn unreadable(text: &str) -> Option<Diagnostic> {
    let wrong = |message: &str, label: &str, help: &str, span| Diagnostic {
        kind: Kind::Input,
        message: message.to_owned(),
        path: String::new(),
        place: Some((0, span)),
        label: label.to_owned(),
        help: Some(help.to_owned()),
    };
    if text.starts_with('\u{feff}') {
        let help = "save it as UTF-8 without a byte order mark";
        return Some(wrong("the file starts with a byte order mark (BOM)", "here, invisible", help, 0..3));
    }
    if text.len() > FILE_BYTES_MOST {
        let message =
            format!("the file has {} bytes; a workload has at most 16 MiB", crate::spec::grouped(text.len() as u64));
        let help = "`repeat(n, [..])` says a thing many times; long recordings are traces";
        return Some(Diagnostic { kind: Kind::Limit, ..wrong(&message, "", help, 0..0) });
    }
    None
}

/// Extensions of RON that are always on, so that `note: "x"` is an option and `buddy(max_order: 3)` a struct in a variant.
const EXTENSIONS: Extensions =
    Extensions::IMPLICIT_SOME.union(Extensions::UNWRAP_NEWTYPES).union(Extensions::UNWRAP_VARIANT_NEWTYPES);

/// A workload or an experiment as RON, with every default written out; it reads back as the same.
///
/// # Errors
/// When a number cannot be written; none can be read that cannot.
pub fn written(value: &impl serde::Serialize) -> Result<String, ron::Error> {
    let config = ron::ser::PrettyConfig::new().indentor("    ").new_line("\n").extensions(Extensions::empty());
    let options = ron::Options::default().with_default_extension(EXTENSIONS);
    Ok(options.to_string_pretty(value, config)? + "\n")
}

/// Events that a run of `workload` will have, about; a recording counts as none.
#[must_use]
pub fn events_estimated(workload: &Workload) -> u64 {
    check::events(workload)
}

/// Why the parser refused a text.
pub(crate) struct Refused {
    pub(crate) diagnostic: Box<Diagnostic>,
    /// A text was expected where this setting has a name.
    setting_wants_text: Option<usize>,
}

/// Reads a `T`: a workload, or an experiment.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(spliced: &Spliced, known: Known<'_>) -> Result<T, Refused> {
    let prepared = Prepared::of(&spliced.text);
    if let Some((path, span)) = prepared.twice {
        let message = format!("`{}` is there twice", text::unquoted(&spliced.text[span.clone()]));
        let diagnostic = Box::new(Diagnostic {
            kind: Kind::Input,
            message,
            path: problem::Path(path).shown(&spliced.text),
            place: Some(spliced.origin(span)),
            label: "the second one".to_owned(),
            help: None,
        });
        return Err(Refused { diagnostic, setting_wants_text: None });
    }
    let options = ron::Options::default().with_default_extension(EXTENSIONS);
    let mut track = serde_path_to_error::Track::new();
    let spanned = |error: ron::error::SpannedError| (error.code, error.span);
    let parsed =
        ron::Deserializer::from_str_with_options(&prepared.text, &options).map_err(spanned).and_then(|mut ron| {
            let read = T::deserialize(serde_path_to_error::Deserializer::new(&mut ron, &mut track));
            let read = read.map_err(|error| spanned(ron.span_error(error)))?;
            ron.end().map_err(|error| spanned(ron.span_error(error)))?;
            Ok(read)
        });
    parsed.map_err(|(code, span)| {
        let path = problem::Path::tracked(&track.path());
        let span = prepared.span(&span);
        let (source, _) = spliced.origin(span.clone());
        let setting_wants_text = (code == ron::Error::ExpectedString).then_some(source).and_then(|s| s.checked_sub(1));
        Refused { diagnostic: Box::new(explain::explain(&code, span, path, spliced, known)), setting_wants_text }
    })
}

/// A text with parentheses behind bare names, for the parser.
struct Prepared {
    text: String,
    /// Where `()` was put in, by place in the original text.
    added: Vec<usize>,
    /// The first key that is there twice in one map: its path and place.
    twice: Option<(Vec<PathStep>, Range<usize>)>,
}

impl Prepared {
    fn of(text: &str) -> Prepared {
        let mut added = Vec::new();
        let scanned = scan(text, &mut |places, found| {
            if takes_parentheses(text, places, found) {
                added.push(found.span.end);
            }
        });
        added.sort_unstable();
        let mut prepared = String::with_capacity(text.len() + 2 * added.len());
        let mut from = 0;
        for &at in &added {
            prepared.push_str(&text[from..at]);
            prepared.push_str("()");
            from = at;
        }
        prepared.push_str(&text[from..]);
        Prepared { text: prepared, added, twice: scanned.twice }
    }

    /// The parser's place as bytes of the original text.
    fn span(&self, span: &ron::error::Span) -> Range<usize> {
        let start = self.original(byte_at(&self.text, span.start.line, span.start.col));
        let end = self.original(byte_at(&self.text, span.end.line, span.end.col));
        start..end.max(start)
    }

    fn original(&self, at: usize) -> usize {
        let mut shift = 0;
        for &place in &self.added {
            if place + shift >= at {
                break;
            }
            // A place inside the parentheses is the end of the name.
            shift += (at - (place + shift)).min(2);
        }
        at - shift
    }
}

/// Whether the value is a bare name of something that has options, in its place.
fn takes_parentheses(text: &str, places: &[Place<'_>], found: &Found) -> bool {
    use PlaceStep::Name;
    if found.body.is_some() || !text[found.head.clone()].starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return false;
    }
    let steps = |place: &Place<'_>| matches!(place.step, Name("frames" | "heap"));
    match places {
        [Place { step: Name("machine"), .. }, Place { step: Name("kernel"), .. }] => {
            &text[found.head.clone()] == "charged"
        }
        [Place { step: Name("machine"), .. }, last] | [Place { step: Name("programs"), .. }, _, last] => steps(last),
        _ => false,
    }
}

/// The byte at a line and column, both from 1, the column in characters.
fn byte_at(text: &str, line: usize, column: usize) -> usize {
    let mut line_start = 0;
    for _ in 1..line {
        let Some(newline) = text[line_start..].find('\n') else { break };
        line_start += newline + 1;
    }
    let rest = &text[line_start..];
    let within = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
    line_start + within
}
