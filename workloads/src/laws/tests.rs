//! Frozen values of each law, and each law against its own definition.

#![expect(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "statistics of what was drawn")]

use framesim_models::Coins;

use super::{Law, Sampler};
use crate::spec::{Count, Time};

/// A law of times, from RON.
fn law(text: &str) -> Law<Time> {
    let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    options.from_str(text).expect("the test's law is RON")
}

fn draws(text: &str, count: usize) -> Vec<u64> {
    let mut coins = Coins::from_key([11; 32]);
    let sampler = Sampler::of(&law(text));
    (0..count).map(|_| sampler.draw(&mut coins)).collect()
}

/// Eight values under a fixed key.
fn first(text: &str) -> String {
    draws(text, 8).iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_values_of_version_1_stay() {
    insta::assert_snapshot!(first("constant(7)"), @"7 7 7 7 7 7 7 7");
    insta::assert_snapshot!(first("uniform(lo: 100, hi: 199)"), @"123 121 189 115 104 145 146 118");
    insta::assert_snapshot!(first("uniform(lo: 0, hi: 18446744073709551615)"), @"4322351131021833901 4055226057646093915 16527656108008638438 2837544887162077649 847726776757693825 8428863118334600123 8538367381492207324 3446098243045067260");
    insta::assert_snapshot!(first("exponential(mean: 1000000)"), @"1451088 1514881 109853 1871949 3080085 783226 770318 1677645");
    insta::assert_snapshot!(first("normal(mean: 1000000, deviation: 200000)"), @"855058 845449 1251779 795966 662919 978366 981357 822060");
    insta::assert_snapshot!(first("log_normal(median: 1000000, sigma: 1.5)"), @"337205 313759 6608415 216480 79810 850222 869511 263276");
    insta::assert_snapshot!(first("pareto(min: 1000000, shape: 1.3)"), @"3053297 3206864 1088175 4220529 10689864 1826646 1808599 3634590");
    insta::assert_snapshot!(first("weibull(scale: 1000000, shape: 0.7)"), @"1702124 1810022 42631 2449014 4988232 705359 688811 2094113");
    insta::assert_snapshot!(first("geometric(mean: 12, unit: 1)"), @"17 18 2 22 36 10 9 20");
    insta::assert_snapshot!(first("zipf(ranks: 1000, exponent: 1.1, unit: 1)"), @"2 2 335 1 1 9 9 2");
    insta::assert_snapshot!(first("poisson(mean: 900, unit: 1)"), @"878 877 938 869 850 897 897 873");
    insta::assert_snapshot!(first("table([(3, 16), (0, 24), (1, 32)])"), @"16 16 32 16 16 16 16 16");
    insta::assert_snapshot!(first("mixture([(9, uniform(lo: 0, hi: 9)), (1, constant(100))])"), @"2 1 4 1 9 0 3 9");
}

/// A hundred thousand values of each law add up to the same sum for ever, to the last bit of the last tail.
#[test]
fn the_sums_of_version_1_stay() {
    let sum =
        |text: &str| draws(text, 100_000).iter().fold(0_u64, |sum, value| sum.wrapping_mul(31).wrapping_add(*value));
    insta::assert_snapshot!(sum("exponential(mean: 1000000000000)"), @"17502733157770828268");
    insta::assert_snapshot!(sum("normal(mean: 1000000000000, deviation: 200000000000)"), @"7646613016855207498");
    insta::assert_snapshot!(sum("log_normal(median: 1000000000000, sigma: 2.5)"), @"1257115154623943338");
    insta::assert_snapshot!(sum("pareto(min: 1000000000000, shape: 0.9)"), @"15109331897780451438");
    insta::assert_snapshot!(sum("weibull(scale: 1000000000000, shape: 3.1)"), @"394018057854227212");
    insta::assert_snapshot!(sum("geometric(mean: 123456.7, unit: 1)"), @"16748864015044507063");
    insta::assert_snapshot!(sum("zipf(ranks: 100000, exponent: 0.8, unit: 1)"), @"490136777330020730");
    insta::assert_snapshot!(sum("poisson(mean: 54321.5, unit: 1)"), @"2492760817555792212");
}

const DRAWN: usize = 200_000;
/// A Kolmogorov-Smirnov statistic times the root of the sample that chance exceeds once in a thousand times.
const KS_MOST: f64 = 1.95;

/// Largest distance between the drawn values' distribution and the law's, times the root of their number. `below` is the
/// probability that a value before rounding is below `x`.
fn ks(text: &str, below: impl Fn(f64) -> f64) -> f64 {
    let mut values = draws(text, DRAWN);
    values.sort_unstable();
    let count = DRAWN as f64;
    let distance = |(index, value): (usize, &u64)| {
        let expected = below(*value as f64);
        (expected - index as f64 / count).abs().max((expected - (index + 1) as f64 / count).abs())
    };
    values.iter().enumerate().map(distance).fold(0.0, f64::max) * libm::sqrt(count)
}

fn phi(x: f64) -> f64 {
    libm::erfc(-x / core::f64::consts::SQRT_2) / 2.0
}

/// Each continuous law at a scale where rounding to whole numbers is far finer than the sample can see.
#[test]
fn continuous_laws_follow_their_distribution() {
    let scale = 1e12;
    let mut worst = Vec::new();
    let mut check = |name: &str, statistic: f64| {
        assert!(statistic < KS_MOST, "{name}: {statistic}");
        worst.push(statistic);
    };
    check("uniform", ks("uniform(lo: 0, hi: 999999999999)", |x| x / scale));
    check("exponential", ks("exponential(mean: 1000000000000)", |x| 1.0 - libm::exp(-x / scale)));
    check("normal", ks("normal(mean: 1000000000000, deviation: 100000000000)", |x| phi((x - scale) / (scale / 10.0))));
    check("log_normal", ks("log_normal(median: 1000000000000, sigma: 1.2)", |x| phi(libm::log(x / scale) / 1.2)));
    check("pareto", ks("pareto(min: 1000000000000, shape: 1.3)", |x| 1.0 - libm::pow(scale / x, 1.3)));
    check("weibull", ks("weibull(scale: 1000000000000, shape: 0.7)", |x| 1.0 - libm::exp(-libm::pow(x / scale, 0.7))));
    // A statistic of nearly nothing would be as wrong as a large one.
    assert!(worst.iter().all(|statistic| *statistic > 0.2), "{worst:?}");
}

/// Chi-square of counted values against their probabilities; cells that expect fewer than 20 go into the last one. The excess
/// over the degrees of freedom, in standard deviations.
fn chi_square(text: &str, probability: impl Fn(u64) -> f64, cells: std::ops::Range<u64>) -> f64 {
    let values = draws(text, DRAWN);
    let (mut sum, mut degrees, mut rest_expected, mut rest_seen) = (0.0, -1.0, DRAWN as f64, DRAWN as f64);
    for cell in cells {
        let expected = probability(cell) * DRAWN as f64;
        let seen = values.iter().filter(|value| **value == cell).count() as f64;
        if expected < 20.0 {
            continue;
        }
        sum += (seen - expected) * (seen - expected) / expected;
        degrees += 1.0;
        rest_expected -= expected;
        rest_seen -= seen;
    }
    if rest_expected > 1.0 {
        sum += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
        degrees += 1.0;
    } else {
        assert!(rest_seen < 12.0, "{text}: {rest_seen} values that should not be");
    }
    (sum - degrees) / libm::sqrt(2.0 * degrees)
}

#[test]
fn discrete_laws_follow_their_distribution() {
    let within = |name: &str, excess: f64| assert!(excess.abs() < 3.3, "{name}: {excess} standard deviations");
    let zipf_total: f64 = (1..=50).map(|rank| libm::pow(f64::from(rank), -1.1)).sum();
    within("uniform", chi_square("uniform(lo: 5, hi: 24)", |_| 1.0 / 20.0, 5..25));
    within(
        "geometric",
        chi_square("geometric(mean: 8, unit: 1)", |k| libm::pow(7.0 / 8.0, k as f64 - 1.0) / 8.0, 1..200),
    );
    within(
        "zipf",
        chi_square("zipf(ranks: 50, exponent: 1.1, unit: 1)", |k| libm::pow(k as f64, -1.1) / zipf_total, 1..51),
    );
    let poisson = |mean: f64| move |k: u64| libm::exp(k as f64 * libm::log(mean) - mean - libm::lgamma(k as f64 + 1.0));
    within("poisson", chi_square("poisson(mean: 6.5, unit: 1)", poisson(6.5), 0..60));
    within("poisson, large", chi_square("poisson(mean: 400, unit: 1)", poisson(400.0), 200..600));
    within("poisson, small", chi_square("poisson(mean: 0.3, unit: 1)", poisson(0.3), 0..20));
    let table = |value: u64| {
        f64::from(match value {
            1 => 1_u32,
            2 => 2,
            3 => 7,
            _ => 0,
        }) / 10.0
    };
    within("table", chi_square("table([(0.1, 1), (0.2, 2), (0.7, 3), (0, 4)])", table, 1..5));
    let mixture = |value: u64| match value {
        0..=3 => 0.75 / 4.0,
        9 => 0.25,
        _ => 0.0,
    };
    within("mixture", chi_square("mixture([(3, uniform(lo: 0, hi: 3)), (1, constant(9))])", mixture, 0..10));
}

/// Means of the sample against the law's own estimate.
#[test]
fn means_are_as_estimated() {
    for (text, within) in [
        ("constant(12345)", 1e-12),
        ("uniform(lo: 1000, hi: 3000)", 0.01),
        ("exponential(mean: 1000000)", 0.01),
        ("normal(mean: 1000000, deviation: 100000)", 0.01),
        ("log_normal(median: 1000000, sigma: 0.5)", 0.01),
        ("pareto(min: 1000000, shape: 3.5)", 0.01),
        ("weibull(scale: 1000000, shape: 1.5)", 0.01),
        ("geometric(mean: 12.5, unit: 64)", 0.01),
        ("zipf(ranks: 1000, exponent: 1.2, unit: 64)", 0.02),
        ("poisson(mean: 33.3, unit: 100)", 0.01),
        ("table([(1, 1000), (3, 5000)])", 0.01),
        ("mixture([(1, constant(1000)), (1, exponential(mean: 50000))])", 0.02),
    ] {
        let mean = draws(text, DRAWN).iter().map(|value| *value as f64).sum::<f64>() / DRAWN as f64;
        let estimate = law(text).mean() as f64;
        assert!((mean / estimate - 1.0).abs() < within, "{text}: mean {mean}, estimate {estimate}");
    }
}

#[test]
fn values_beyond_the_bounds_become_the_bounds() {
    let values = draws("normal(mean: 100, deviation: 50, min: 90, max: 110)", 10_000);
    assert!(values.iter().all(|value| (90..=110).contains(value)));
    assert!(values.iter().filter(|value| **value == 90).count() > 3_000);
    assert!(draws("pareto(min: 10, shape: 0.1)", 10_000).iter().all(|value| (10..=1 << 62).contains(value)));
    assert!(draws("normal(mean: 1, deviation: 1000)", 1_000).contains(&0));
    assert_eq!(Sampler::of(&Law::Constant(Count(5))).draw(&mut Coins::from_key([0; 32])), 5);
}

#[test]
fn a_value_takes_as_many_numbers_as_it_says() {
    struct Counter(Coins, u32);
    impl crate::streams::Draw for Counter {
        fn draw(&mut self) -> u64 {
            self.1 += 1;
            self.0.next_u64()
        }
    }
    for text in [
        "constant(1)",
        "normal(mean: 5, deviation: 1)",
        "poisson(mean: 1000, unit: 1)",
        "mixture([(1, mixture([(1, zipf(ranks: 9, exponent: 1, unit: 1))])), (1, uniform(lo: 0, hi: 5))])",
    ] {
        let sampler = Sampler::of(&law(text));
        let mut most = 0;
        for key in 0..50 {
            let mut counter = Counter(Coins::from_key([key; 32]), 0);
            sampler.draw(&mut counter);
            most = most.max(counter.1);
        }
        assert_eq!(most, sampler.draws_most(), "{text}");
    }
}
