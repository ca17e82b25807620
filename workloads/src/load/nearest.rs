//! The known name that a wrong one was probably meant to be.

/// Names less alike are no help.
const ALIKE_LEAST: f64 = 0.75;

/// How much alike two names are that one letter, or two letters' order, tells apart, at least.
const SLIP: f64 = 0.76;

/// The name most like `wrong`, when one is like it. Of two alike, the first.
pub(crate) fn nearest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let wrong = wrong.to_lowercase();
    let mut best = (ALIKE_LEAST, None);
    for name in names {
        let name_lower = name.to_lowercase();
        // One slip in a short name leaves little alike: it counts as just enough.
        let slip = if strsim::osa_distance(&wrong, &name_lower) == 1 { SLIP } else { 0.0 };
        let alike = strsim::jaro_winkler(&wrong, &name_lower).max(slip);
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
        assert_eq!(nearest("wbe", ["web"]), Some("web"));
        assert_eq!(nearest("gamma", ["constant", "uniform"]), None);
    }
}
