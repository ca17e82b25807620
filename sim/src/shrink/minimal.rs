//! Delta debugging: parts that a property needs, of many.

/// The parts, of `count`, that are left when none can be taken out alone, in order. `holds` is true of all of them; it is
/// asked with parts taken out, in rows that get shorter.
///
/// With few parts that matter the asking takes some 20 times the logarithm of `count`, and most of it is with few parts.
pub(super) fn minimal(count: usize, holds: &mut impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..count).collect();
    let mut row = count.div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut is_less = false;
        while at < kept.len() {
            let end = (at + row).min(kept.len());
            let without: Vec<usize> = kept[..at].iter().chain(&kept[end..]).copied().collect();
            if holds(&without) {
                kept = without;
                is_less = true;
            } else {
                at = end;
            }
        }
        // Single parts are tried until a whole round of them finds none.
        match row {
            1 if is_less => {}
            1 => return kept,
            _ => row = row.div_ceil(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_parts_that_matter_are_left() {
        let needed = [3, 77, 78, 50_000, 99_999];
        let mut asked = 0;
        let kept = minimal(100_000, &mut |kept| {
            asked += kept.len();
            needed.iter().all(|part| kept.binary_search(part).is_ok())
        });
        assert_eq!(kept, needed);
        assert!(asked < 40 * 100_000, "{asked} parts were looked at");
    }

    #[test]
    fn nothing_is_left_when_nothing_matters_and_all_when_all_do() {
        assert_eq!(minimal(1000, &mut |_| true), Vec::<usize>::new());
        assert_eq!(minimal(5, &mut |kept| kept.len() == 5), [0, 1, 2, 3, 4]);
        assert_eq!(minimal(0, &mut |_| true), Vec::<usize>::new());
    }

    /// A property that comes and goes: an even number of parts. No single part can be taken out, so none is.
    #[test]
    fn what_is_left_loses_the_property_without_any_one_part() {
        let mut holds = |kept: &[usize]| kept.len() >= 3 && kept.len() % 2 == 1;
        let kept = minimal(99, &mut holds);
        assert!(holds(&kept));
        for without in 0..kept.len() {
            let rest: Vec<usize> =
                kept.iter().enumerate().filter(|(at, _)| *at != without).map(|(_, part)| *part).collect();
            assert!(!holds(&rest));
        }
    }
}
