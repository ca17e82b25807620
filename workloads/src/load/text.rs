//! Where each value of a RON text stands. The parser keeps no places of values it has read; this finds them again.
//!
//! [`scan`] walks over a text once and shows every value with its path. It accepts more than RON does and judges nothing:
//! the parser has done that, or will. Nothing is kept but the path to the current value.
//!
//! **Invariant.** Paths are those that serde sees: a variant's name is no step, and the parentheses of a newtype
//! (`script([..])`) are none either.

use std::collections::BTreeSet;
use std::ops::Range;

/// Deeper texts are not scanned; the parser refuses them long before.
const DEPTH_MOST: usize = 256;

/// One step of a path in a text.
#[derive(Clone, Debug)]
pub(crate) struct Place<'t> {
    pub step: PlaceStep<'t>,
    /// The field's name or the key; empty for an element of a list.
    pub span: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaceStep<'t> {
    /// A field of a struct, or a key of a map without its quotes.
    Name(&'t str),
    /// An element of a list or tuple.
    Index(usize),
}

/// A step of a path, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathStep {
    Name(String),
    Index(usize),
}

impl PathStep {
    fn is(&self, place: PlaceStep<'_>) -> bool {
        match (self, place) {
            (PathStep::Name(name), PlaceStep::Name(there)) => name == there,
            (PathStep::Index(index), PlaceStep::Index(there)) => *index == there,
            _ => false,
        }
    }
}

impl From<&Place<'_>> for PathStep {
    fn from(place: &Place<'_>) -> PathStep {
        match place.step {
            PlaceStep::Name(name) => PathStep::Name(name.to_owned()),
            PlaceStep::Index(index) => PathStep::Index(index),
        }
    }
}

/// Whether `path` is the way to those places.
pub(crate) fn leads_to(path: &[PathStep], places: &[Place<'_>]) -> bool {
    path.len() == places.len() && path.iter().zip(places).all(|(step, place)| step.is(place.step))
}

/// A value of a text.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// All of it.
    pub span: Range<usize>,
    /// The variant's name where there is one, else all of a plain value, else the opening bracket.
    pub head: Range<usize>,
    pub body: Option<Body>,
}

/// What is between the brackets of a value.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub kind: BodyKind,
    /// Just before the closing bracket.
    pub close: usize,
    pub empty: bool,
    pub trailing_comma: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// `(a: 1)`, or `()`.
    Struct,
    /// `(1, 2)`.
    Tuple,
    /// `[1, 2]`.
    List,
    /// `{"a": 1}`.
    Map,
}

/// What a scan shows: the path of a value, and the value.
type Visit<'v, 't> = dyn FnMut(&[Place<'t>], &Found) + 'v;

/// What a scan found out beside the values.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    /// The first key that is there twice in one map: its path and place.
    pub twice: Option<(Vec<PathStep>, Range<usize>)>,
}

/// Shows every value of `text`, inner ones first.
pub(crate) fn scan<'t>(text: &'t str, visit: &mut Visit<'_, 't>) -> Scanned {
    let mut scanner = Scanner::new(text);
    // A text that is too broken or too deep is followed as far as it goes.
    let _ = scanner.attributes().and_then(|()| scanner.value(visit));
    Scanned { twice: scanner.twice }
}

/// Whether `text` is one value and nothing else.
pub(crate) fn is_one_value(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    let is_value =
        scanner.value(&mut |_, _| {}).is_some_and(|found| found.body.is_some() || is_plain(&text[found.span]));
    scanner.blank();
    is_value && scanner.at == text.len()
}

/// Whether a value without brackets is a number, a name or a string, rather than something like `64KiB`.
fn is_plain(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    !digits.starts_with(|c: char| c.is_ascii_digit()) || ron::from_str::<ron::Value>(text).is_ok()
}

struct Scanner<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    path: Vec<Place<'t>>,
    /// Values around the current one.
    depth: usize,
    /// Above 0 while looking ahead: nothing is shown.
    quiet: u32,
    twice: Option<(Vec<PathStep>, Range<usize>)>,
}

impl<'t> Scanner<'t> {
    fn new(text: &'t str) -> Scanner<'t> {
        Scanner { text, bytes: text.as_bytes(), at: 0, path: Vec::new(), depth: 0, quiet: 0, twice: None }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Skips white space and comments.
    fn blank(&mut self) {
        while let Some(byte) = self.peek() {
            if byte.is_ascii_whitespace() || byte == 0x0b {
                self.at += 1;
            } else if self.bytes[self.at..].starts_with(b"//") {
                self.at = self.find("\n").unwrap_or(self.bytes.len());
            } else if self.bytes[self.at..].starts_with(b"/*") {
                self.block_comment();
            } else if !byte.is_ascii()
                && self.text.get(self.at..).is_some_and(|rest| rest.starts_with(char::is_whitespace))
            {
                self.at += self.text[self.at..].chars().next().map_or(1, char::len_utf8);
            } else {
                return;
            }
        }
    }

    fn find(&self, what: &str) -> Option<usize> {
        self.text.get(self.at..)?.find(what).map(|offset| self.at + offset)
    }

    /// Block comments nest.
    fn block_comment(&mut self) {
        let mut depth = 0_u32;
        while self.at < self.bytes.len() {
            let rest = &self.bytes[self.at..];
            if rest.starts_with(b"/*") {
                depth += 1;
                self.at += 2;
            } else if rest.starts_with(b"*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return;
                }
            } else {
                self.at += 1;
            }
        }
    }

    /// Skips `#![enable(..)]`.
    fn attributes(&mut self) -> Option<()> {
        self.blank();
        while self.bytes[self.at..].starts_with(b"#!") {
            self.at = self.find("]")? + 1;
            self.blank();
        }
        Some(())
    }

    fn value(&mut self, visit: &mut Visit<'_, 't>) -> Option<Found> {
        self.blank();
        if self.depth > DEPTH_MOST {
            return None;
        }
        self.depth += 1;
        let found = self.value_at(self.at, visit);
        self.depth -= 1;
        let found = found?;
        if self.quiet == 0 {
            visit(&self.path, &found);
        }
        Some(found)
    }

    fn value_at(&mut self, start: usize, visit: &mut Visit<'_, 't>) -> Option<Found> {
        Some(match self.peek()? {
            b'(' | b'[' | b'{' => {
                let head = start..start + 1;
                let body = self.body(visit)?;
                Found { span: start..self.at, head, body: Some(body) }
            }
            b'"' | b'\'' => self.leaf(start, Scanner::quoted)?,
            _ if self.is_raw_string() => self.leaf(start, Scanner::raw_string)?,
            _ => self.named(start, visit)?,
        })
    }

    fn leaf(&mut self, start: usize, skip: fn(&mut Self) -> Option<()>) -> Option<Found> {
        skip(self)?;
        Some(Found { span: start..self.at, head: start..self.at, body: None })
    }

    /// A number or a name, and what is in parentheses behind a name.
    fn named(&mut self, start: usize, visit: &mut Visit<'_, 't>) -> Option<Found> {
        self.word()?;
        let head = start..self.at;
        self.blank();
        if self.peek() == Some(b'(') {
            let body = self.body(visit)?;
            return Some(Found { span: start..self.at, head, body: Some(body) });
        }
        self.at = head.end;
        Some(Found { span: head.clone(), head, body: None })
    }

    /// Skips the letters of a name or a number.
    fn word(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b"_#+-.".contains(&b) || !b.is_ascii()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn is_raw_string(&self) -> bool {
        let rest = &self.bytes[self.at..];
        let rest = rest.strip_prefix(b"b").unwrap_or(rest);
        let Some(hashes) = rest.strip_prefix(b"r") else {
            return rest.first() == Some(&b'"');
        };
        hashes.iter().find(|byte| **byte != b'#') == Some(&b'"')
    }

    fn raw_string(&mut self) -> Option<()> {
        self.eat(b'b');
        if !self.eat(b'r') {
            return self.quoted();
        }
        let hashes_start = self.at;
        while self.eat(b'#') {}
        let close = format!("\"{}", &self.text[hashes_start..self.at]);
        self.at += 1;
        self.at = self.find(&close)? + close.len();
        Some(())
    }

    fn quoted(&mut self) -> Option<()> {
        let quote = self.peek()?;
        self.at += 1;
        loop {
            match self.peek()? {
                b'\\' => self.at += 2,
                byte => {
                    self.at += 1;
                    if byte == quote {
                        return Some(());
                    }
                }
            }
        }
    }

    /// From the opening bracket past the closing one.
    fn body(&mut self, visit: &mut Visit<'_, 't>) -> Option<Body> {
        let open = self.peek()?;
        self.at += 1;
        let (close, mut kind) = match open {
            b'(' => (b')', BodyKind::Struct),
            b'[' => (b']', BodyKind::List),
            _ => (b'}', BodyKind::Map),
        };
        if open == b'(' && !self.at_field() {
            kind = BodyKind::Tuple;
        }
        // Looking ahead inside a look ahead would double the work at each level.
        let is_newtype = kind == BodyKind::Tuple && self.quiet == 0 && self.holds_one_value();
        let (mut index, mut trailing_comma) = (0, false);
        let mut keys = BTreeSet::new();
        loop {
            self.blank();
            let before_close = self.at;
            if self.eat(close) {
                let empty = index == 0;
                let kind = if empty && kind == BodyKind::Tuple { BodyKind::Struct } else { kind };
                return Some(Body { kind, close: before_close, empty, trailing_comma });
            }
            if index > 0 && !trailing_comma {
                return None;
            }
            self.element(kind, is_newtype, index, &mut keys, visit)?;
            index += 1;
            self.blank();
            trailing_comma = self.eat(b',');
        }
    }

    fn element(
        &mut self,
        kind: BodyKind,
        is_newtype: bool,
        index: usize,
        keys: &mut BTreeSet<&'t str>,
        visit: &mut Visit<'_, 't>,
    ) -> Option<()> {
        let place = match kind {
            BodyKind::Struct => self.field()?,
            BodyKind::Map => {
                let key = self.key()?;
                self.note_key(&key, keys);
                key
            }
            BodyKind::Tuple if is_newtype => {
                // The newtype's own value has the path of the newtype: shown once, from outside.
                self.quiet_unless_deeper(visit)?;
                return Some(());
            }
            BodyKind::Tuple | BodyKind::List => Place { step: PlaceStep::Index(index), span: self.at..self.at },
        };
        self.path.push(place);
        let found = self.value(visit);
        self.path.pop();
        found.map(|_| ())
    }

    fn note_key(&mut self, key: &Place<'t>, seen: &mut BTreeSet<&'t str>) {
        let PlaceStep::Name(name) = key.step else { return };
        if !seen.insert(name) && self.twice.is_none() {
            let path = self.path.iter().chain([key]).map(PathStep::from).collect();
            self.twice = Some((path, key.span.clone()));
        }
    }

    /// The value inside a newtype: its parts are shown, it itself is not.
    fn quiet_unless_deeper(&mut self, visit: &mut Visit<'_, 't>) -> Option<()> {
        let depth = self.path.len();
        self.value(&mut |path, found| {
            if path.len() > depth {
                visit(path, found);
            }
        })
        .map(|_| ())
    }

    /// Whether a field's name and a colon come next.
    fn at_field(&mut self) -> bool {
        let start = self.at;
        let is_field = self.field().is_some();
        self.at = start;
        is_field
    }

    fn field(&mut self) -> Option<Place<'t>> {
        self.blank();
        let start = self.at;
        if self.is_raw_string() {
            return None;
        }
        self.word()?;
        let span = start..self.at;
        self.blank();
        let name = self.text.get(span.clone())?;
        self.eat(b':').then_some(Place { step: PlaceStep::Name(name.trim_start_matches("r#")), span })
    }

    fn key(&mut self) -> Option<Place<'t>> {
        self.quiet += 1;
        let key = self.value(&mut |_, _| {});
        self.quiet -= 1;
        let span = key?.span;
        self.blank();
        let name = self.text.get(span.clone())?;
        self.eat(b':').then_some(Place { step: PlaceStep::Name(unquoted(name)), span })
    }

    fn holds_one_value(&mut self) -> bool {
        let start = self.at;
        self.quiet += 1;
        let one = self.value(&mut |_, _| {}).is_some();
        self.quiet -= 1;
        self.blank();
        self.eat(b',');
        self.blank();
        let closes = self.peek() == Some(b')');
        self.at = start;
        one && closes
    }
}

/// A string's content as written; escapes stay as they are.
pub(crate) fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> String {
        let mut lines = Vec::new();
        scan(text, &mut |path, found| {
            let steps: Vec<String> = path
                .iter()
                .map(|place| match place.step {
                    PlaceStep::Name(name) => name.to_owned(),
                    PlaceStep::Index(index) => index.to_string(),
                })
                .collect();
            lines.push(format!("{} = {}", steps.join("."), &text[found.span.clone()]));
        });
        lines.join("\n")
    }

    /// Whether the scan reaches the end: the whole is shown last.
    fn is_followed(text: &str) -> bool {
        let mut whole = false;
        scan(text, &mut |path, _| whole = path.is_empty());
        whole
    }

    #[test]
    fn every_value_has_the_path_serde_sees() {
        insta::assert_snapshot!(paths(r#"#![enable(implicit_some)]
            // a comment (with: brackets)
            (a: 1, /* b: 2, /* nested */ */ c: script([take("A", 2), exit]),
             d: {"k": r#type, "l": "x\")"}, e: mixture([(90, constant("5ms"))]), f: r"\", g: Pair(1, 2,),)"#), @r#"
        a = 1
        c.0.0 = "A"
        c.0.1 = 2
        c.0 = take("A", 2)
        c.1 = exit
        c = script([take("A", 2), exit])
        d.k = r#type
        d.l = "x\")"
        d = {"k": r#type, "l": "x\")"}
        e.0.0 = 90
        e.0.1 = constant("5ms")
        e.0 = (90, constant("5ms"))
        e = mixture([(90, constant("5ms"))])
        f = r"\"
        g.0 = 1
        g.1 = 2
        g = Pair(1, 2,)
         = (a: 1, /* b: 2, /* nested */ */ c: script([take("A", 2), exit]),
                     d: {"k": r#type, "l": "x\")"}, e: mixture([(90, constant("5ms"))]), f: r"\", g: Pair(1, 2,),)
        "#);
    }

    #[test]
    fn a_broken_text_ends_the_scan_and_nothing_else() {
        for text in [
            "",
            "(",
            "(a:",
            "[[[",
            "(a: \"",
            "(a: 1 b: 2)",
            "/*",
            "{1 2}",
            "r#\"",
            "'",
            "\u{fe0f}",
            "(a: \\",
            "(é: 1, b: ☃)",
        ] {
            scan(text, &mut |_, found| assert!(text.get(found.span.clone()).is_some()));
        }
        assert!(!is_followed(&"[".repeat(100_000)));
        assert!(!is_followed(&"a(".repeat(100_000)));
        assert!(is_followed(&format!("{}1{}", "a(".repeat(100), ")".repeat(100))));
    }

    #[test]
    fn one_value_is_told_from_something_to_be_quoted() {
        assert!(is_one_value("first_fit") && is_one_value(" buddy(max_order: 3) ") && is_one_value("\"5ms\""));
        assert!(is_one_value("-12") && is_one_value("0x10") && is_one_value("1_000") && is_one_value("1.5"));
        assert!(!is_one_value("64KiB") && !is_one_value("5ms") && !is_one_value("a b") && !is_one_value(""));
    }
}
