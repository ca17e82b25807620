//! Command lines as text: written so that a shell reads the same words again.

/// The words as one line; those a shell would change are quoted.
#[must_use]
pub fn joined<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(quoted).collect();
    quoted.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_./=:,+%@".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The words of a line that [`joined`] wrote; `None` when a quote is not closed.
#[must_use]
pub fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut letters = line.chars().peekable();
    while letters.peek().is_some() {
        if letters.next_if(|letter| letter.is_whitespace()).is_some() {
            continue;
        }
        let mut word = String::new();
        while let Some(letter) = letters.next_if(|letter| !letter.is_whitespace()) {
            match letter {
                '\'' => loop {
                    match letters.next()? {
                        '\'' => break,
                        inside => word.push(inside),
                    }
                },
                '\\' => word.push(letters.next()?),
                _ => word.push(letter),
            }
        }
        words.push(word);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were() {
        let words = ["web.ron", "--set", "machine.frames=buddy(max_order: 3)", "it's", "", "a  b", "\\"];
        let line = joined(words);
        assert_eq!(line, r"web.ron --set 'machine.frames=buddy(max_order: 3)' 'it'\''s' '' 'a  b' '\'");
        assert_eq!(split(&line).expect("closed quotes"), words);
        assert_eq!(split("a 'b"), None);
        assert_eq!(split("  ").expect("nothing"), Vec::<String>::new());
    }
}
