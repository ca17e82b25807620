//! Comma-separated values, as RFC 4180 has them, with plain line ends.

use std::io::{self, Write};

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

/// The rows of a text; none where a quote is not closed.
#[must_use]
pub fn rows(text: &str) -> Option<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    let mut letters = text.chars().peekable();
    while letters.peek().is_some() {
        let mut row = Vec::new();
        loop {
            let mut field = String::new();
            if letters.next_if_eq(&'"').is_some() {
                loop {
                    match letters.next()? {
                        '"' if letters.next_if_eq(&'"').is_some() => field.push('"'),
                        '"' => break,
                        letter => field.push(letter),
                    }
                }
            }
            while let Some(letter) = letters.next_if(|letter| !matches!(letter, ',' | '\n')) {
                if letter != '\r' {
                    field.push(letter);
                }
            }
            row.push(field);
            if letters.next_if_eq(&',').is_none() {
                break;
            }
        }
        letters.next_if_eq(&'\n');
        rows.push(row);
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
