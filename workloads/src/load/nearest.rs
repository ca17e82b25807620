//! The known name that a wrong one was probably meant to be.

/// Names less alike are no help.
const ALIKE_LEAST: f64 = 0.75;

/// The name most like `wrong`, when one is like it. Of two alike, the first.
pub(crate) fn nearest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let wrong = wrong.to_lowercase();
    let mut best = (ALIKE_LEAST, None);
    for name in names {
        let alike = strsim::jaro_winkler(&wrong, &name.to_lowercase());
        if alike > best.0 {
            best = (alike, Some(name));
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_seen_and_another_word_is_not() {
        assert_eq!(nearest("Unifrom", ["constant", "uniform", "normal"]), Some("uniform"));
        assert_eq!(nearest("fist_fit", ["best_fit", "first_fit"]), Some("first_fit"));
        assert_eq!(nearest("gamma", ["constant", "uniform"]), None);
    }
}
