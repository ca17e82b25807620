//! Student's law and the incomplete beta function below it.

/// Terms of the continued fraction; it needs about the square root of the larger parameter.
const TERMS_MOST: u32 = 100_000;
/// Steps of the bisection at most: each gives a bit of the place, and smaller places have finer bits.
const HALVINGS: u32 = 200;

/// The chance that Student's t with `degrees` of freedom lies outside `-t..t`.
///
/// # Panics
/// When `degrees` is not above 0.
#[must_use]
pub fn two_sided_tail(t: f64, degrees: f64) -> f64 {
    assert!(degrees > 0.0, "a law of t has degrees of freedom, found {degrees}");
    incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t))
}

/// The t that Student's t with `degrees` of freedom exceeds on either side with the chance `tail`.
///
/// # Panics
/// When `tail` is not between 0 and 1, or `degrees` not above 0.
#[must_use]
pub fn two_sided_quantile(tail: f64, degrees: f64) -> f64 {
    assert!(tail > 0.0 && tail < 1.0, "a tail is a chance between 0 and 1, found {tail}");
    assert!(degrees > 0.0, "a law of t has degrees of freedom, found {degrees}");
    // The tail grows with x = degrees / (degrees + t^2).
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..HALVINGS {
        let middle = low + (high - low) / 2.0;
        // No float lies between them: further steps change nothing.
        if middle == low || middle == high {
            break;
        }
        if incomplete_beta(degrees / 2.0, 0.5, middle) < tail {
            low = middle;
        } else {
            high = middle;
        }
    }
    (degrees * (1.0 - high) / high).sqrt()
}

/// The regularised incomplete beta function: the chance that a beta variate of parameters `a` and `b` is below `x`.
///
/// By the continued fraction of DLMF 8.17.22, evaluated by Lentz's method; on the far side of the mean by the symmetry
/// `1 - I(b, a, 1 - x)`, where the fraction converges quickly.
pub(super) fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta_below(b, a, 1.0 - x);
    }
    incomplete_beta_below(a, b, x)
}

fn incomplete_beta_below(a: f64, b: f64, x: f64) -> f64 {
    let log_beta = libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    let front = libm::exp(a * libm::log(x) + b * libm::log1p(-x) - log_beta) / a;
    front / fraction(a, b, x)
}

/// `1 + d1 x / (1 + d2 x / (1 + ..))`.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let not_zero = |value: f64| if value == 0.0 { TINY } else { value };
    let (mut value, mut c, mut d) = (1.0, 1.0, 0.0);
    for term in 1..=TERMS_MOST {
        let m = f64::from(term / 2);
        let factor = if term % 2 == 1 {
            -(a + m) * (a + b + m) / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        } else {
            m * (b - m) / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        };
        d = 1.0 / not_zero(1.0 + factor * x * d);
        c = not_zero(1.0 + factor * x / c);
        value *= c * d;
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_printed_tables() {
        // Fisher and Yates, table III; two-sided tails.
        for (degrees, tail, printed) in [
            (1.0, 0.05, "12.706"),
            (1.0, 0.10, "6.314"),
            (2.0, 0.05, "4.303"),
            (2.0, 0.01, "9.925"),
            (5.0, 0.05, "2.571"),
            (5.0, 0.001, "6.869"),
            (9.0, 0.05, "2.262"),
            (14.0, 0.05, "2.145"),
            (29.0, 0.01, "2.756"),
            (30.0, 0.05, "2.042"),
            (60.0, 0.05, "2.000"),
            (120.0, 0.02, "2.358"),
            (1e7, 0.05, "1.960"),
            (1e7, 0.01, "2.576"),
        ] {
            assert_eq!(format!("{:.3}", two_sided_quantile(tail, degrees)), printed, "{degrees} degrees, {tail}");
        }
    }

    #[test]
    fn a_quantile_has_the_tail_it_was_asked_for() {
        for degrees in [1.0, 3.0, 7.5, 40.0, 1_000.0] {
            for tail in [0.9, 0.5, 0.05, 1e-6] {
                let back = two_sided_tail(two_sided_quantile(tail, degrees), degrees);
                assert!((back / tail - 1.0).abs() < 1e-9, "{degrees} degrees: {tail} became {back}");
            }
        }
    }

    #[test]
    fn one_degree_is_cauchys_law_and_two_have_a_closed_form() {
        for t in [0.1_f64, 1.0, 3.0, 50.0] {
            let cauchy = 1.0 - 2.0 / std::f64::consts::PI * libm::atan(t);
            assert!((two_sided_tail(t, 1.0) - cauchy).abs() < 1e-13);
            let two = 1.0 - t / (t * t + 2.0).sqrt();
            assert!((two_sided_tail(t, 2.0) - two).abs() < 1e-13);
        }
    }

    #[test]
    fn the_beta_function_of_whole_parameters_is_a_sum_of_binomial_chances() {
        // P(X <= 3) of 10 throws of a fair coin: 176 / 1024.
        assert!((incomplete_beta(7.0, 4.0, 0.5) - 176.0 / 1024.0).abs() < 1e-14);
        assert_eq!((incomplete_beta(2.0, 3.0, 0.0), incomplete_beta(2.0, 3.0, 1.0)), (0.0, 1.0));
    }

    #[test]
    fn bits_are_frozen() {
        // A change of these is a change of every interval that was ever printed.
        insta::assert_snapshot!(format!("{:016x}", two_sided_quantile(0.05, 39.0).to_bits()), @"40002e7893bbcada");
        insta::assert_snapshot!(format!("{:016x}", two_sided_tail(2.1, 11.0).to_bits()), @"3fae83eedf187802");
    }
}
