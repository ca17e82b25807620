//! What is wrong with an input, where, and what would do; and how a person sees it.

use std::fmt;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// Errors shown one by one; more are only counted.
const SHOWN_MOST: usize = 20;

/// A text that has places: a file, or the value of a `--set`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As the user named it: `web.ron`, `--set machine.memory=0`.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// Whether an input is wrong or only too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not what the schema allows: exit code 2.
    Input,
    /// It cannot be read: exit code 5.
    Unreadable,
    /// It would cost more than the limits allow: exit code 6.
    Limit,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What sort of error.
    pub kind: Kind,
    /// The sentence.
    pub message: String,
    /// The path of the value: `processes.web.does.size`; empty for the whole file.
    pub path: String,
    /// Index of the source in [`Diagnostics::sources`], and bytes in it. `None` when the input has no text.
    pub place: Option<(usize, Range<usize>)>,
    /// What stands below the caret.
    pub label: String,
    /// A way out.
    pub help: Option<String>,
}

/// Everything that is wrong with one input; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    /// The file and the overrides.
    pub sources: Vec<Source>,
    /// What is wrong, in the order of the file.
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// What decides about the exit code: wrong input before a limit.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let has = |kind| self.list.iter().any(|diagnostic| diagnostic.kind == kind);
        if has(Kind::Unreadable) {
            Kind::Unreadable
        } else if has(Kind::Input) {
            Kind::Input
        } else {
            Kind::Limit
        }
    }

    /// All of it as a person reads it, with the lines and carets; escape codes only when `coloured`.
    #[must_use]
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut text = String::new();
        for diagnostic in self.list.iter().take(SHOWN_MOST) {
            text.push_str(&renderer.render(&[self.group(diagnostic)]));
            text.push('\n');
        }
        let hidden = self.list.len().saturating_sub(SHOWN_MOST);
        if hidden > 0 {
            text.push_str(&format!("({hidden} more)\n"));
        }
        let errors = if self.list.len() == 1 { "1 error".to_owned() } else { format!("{} errors", self.list.len()) };
        text.push_str(&format!("{errors} in {}\n", self.sources[0].name));
        text
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let group = Group::with_title(Level::ERROR.primary_title(&diagnostic.message));
        let group = match &diagnostic.place {
            Some((source, span)) => group.element(snippet(&self.sources[*source], span.clone(), &diagnostic.label)),
            None => group,
        };
        match &diagnostic.help {
            Some(help) => group.element(Level::HELP.message(help)),
            None => group,
        }
    }

    /// Line and column of a diagnostic, both from 1, the column in characters.
    #[must_use]
    pub fn line_and_column(&self, diagnostic: &Diagnostic) -> Option<(usize, usize)> {
        let (source, span) = diagnostic.place.as_ref()?;
        let before = self.sources[*source].text.get(..span.start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }
}

/// The line of the place: a value that goes on over several is pointed at where it starts.
fn snippet<'a>(
    source: &'a Source,
    span: Range<usize>,
    label: &'a str,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let text = source.text.as_str();
    let line_start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[span.start..].find('\n').map_or(text.len(), |offset| span.start + offset);
    let end = span.end.min(line_end).max(span.start);
    let annotation = AnnotationKind::Primary.span(span.start - line_start..end - line_start);
    Snippet::source(&text[line_start..line_end])
        .line_start(text[..line_start].matches('\n').count() + 1)
        .path(source.name.as_str())
        .annotation(annotation.label((!label.is_empty()).then_some(label)))
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}
