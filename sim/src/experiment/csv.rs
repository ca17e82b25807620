//! Comma-separated values, as RFC 4180 has them, with plain line ends.

use std::io::{self, BufRead, Write};

/// Writes one row; a field that needs quotes gets them.
///
/// # Errors
/// Those of `to`.
pub fn write_row<'f>(to: &mut impl Write, fields: impl IntoIterator<Item = &'f str>) -> io::Result<()> {
    for (place, field) in fields.into_iter().enumerate() {
        if place > 0 {
            to.write_all(b",")?;
        }
        write_field(to, field)?;
    }
    to.write_all(b"\n")
}

/// Writes one field.
///
/// # Errors
/// Those of `to`.
pub fn write_field(to: &mut impl Write, field: &str) -> io::Result<()> {
    if field.contains([',', '"', '\n', '\r']) {
        write!(to, "\"{}\"", field.replace('"', "\"\""))
    } else {
        to.write_all(field.as_bytes())
    }
}

/// Rows of a file, one at a time.
pub struct Rows<R> {
    from: R,
    text: String,
}

impl<R: BufRead> Rows<R> {
    /// Of this file.
    pub fn of(from: R) -> Rows<R> {
        Rows { from, text: String::new() }
    }

    /// Puts the next row into `row`, or says that there is none.
    ///
    /// # Errors
    /// Those of the file; [`io::ErrorKind::InvalidData`] where a quote is not closed.
    pub fn next(&mut self, row: &mut Vec<String>) -> io::Result<bool> {
        self.text.clear();
        // Within quotes a row goes on behind the end of its line.
        let (mut quotes, mut seen) = (0_usize, 0);
        while self.from.read_line(&mut self.text)? > 0 {
            quotes += self.text[seen..].bytes().filter(|byte| *byte == b'"').count();
            seen = self.text.len();
            if quotes.is_multiple_of(2) {
                break;
            }
        }
        if !quotes.is_multiple_of(2) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        split(&self.text, row);
        Ok(!self.text.is_empty())
    }
}

/// The fields of one row, in the strings that are there.
fn split(text: &str, row: &mut Vec<String>) {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let (mut fields, mut is_quoted) = (0, false);
    let mut field = |text: &str| {
        if fields == row.len() {
            row.push(String::new());
        }
        row[fields].clear();
        unquote(text, &mut row[fields]);
        fields += 1;
    };
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => {
                field(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    field(&text[start..]);
    row.truncate(fields);
}

fn unquote(text: &str, field: &mut String) {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inner) => inner.split("\"\"").enumerate().for_each(|(place, part)| {
            if place > 0 {
                field.push('"');
            }
            field.push_str(part);
        }),
        None => field.push_str(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Option<Vec<Vec<String>>> {
        let (mut from, mut row, mut list) = (Rows::of(text.as_bytes()), Vec::new(), Vec::new());
        while from.next(&mut row).ok()? {
            list.push(row.clone());
        }
        Some(list)
    }

    #[test]
    fn what_is_written_is_read() {
        let fields = ["", "plain", "a,b", "say \"hi\"", "two\nlines"];
        let mut text = Vec::new();
        write_row(&mut text, fields).expect("memory is not full");
        write_row(&mut text, ["1", "2"]).expect("memory is not full");
        let text = String::from_utf8(text).expect("text");
        assert_eq!(text, ",plain,\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\"\n1,2\n");
        assert_eq!(rows(&text), Some(vec![fields.map(str::to_owned).to_vec(), vec!["1".to_owned(), "2".to_owned()]]));
        assert_eq!(rows("\"open"), None);
        assert_eq!(rows("a,b\r\n"), Some(vec![vec!["a".to_owned(), "b".to_owned()]]));
        assert_eq!(
            rows("a,\n,b"),
            Some(vec![vec!["a".to_owned(), String::new()], vec![String::new(), "b".to_owned()]])
        );
    }
}
