//! Mean and spread of independent values.

use super::{count, student};

/// A range of values that holds what is sought with the confidence that was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// From end to end.
    #[must_use]
    pub fn width(self) -> f64 {
        self.high - self.low
    }

    /// Half of its width: what stands behind "±".
    #[must_use]
    pub fn half_width(self) -> f64 {
        (self.high - self.low) / 2.0
    }

    /// Whether it holds `value`, its ends included.
    #[must_use]
    pub fn holds(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// Mean and spread of independent values.
///
/// ```
/// use framesim::statistics::Moments;
/// let moments = Moments::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
/// assert_eq!((moments.mean(), moments.variance()), (3.0, Some(2.5)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    values: usize,
    mean: f64,
    /// Sum of squared deviations from the mean.
    squares: f64,
}

impl Moments {
    /// Of these values.
    #[must_use]
    pub fn of(values: &[f64]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|&value| moments.add(value));
        moments
    }

    /// Takes in one more value, by the method of Welford (1962): no difference of large sums.
    pub fn add(&mut self, value: f64) {
        self.values += 1;
        let before = value - self.mean;
        self.mean += before / count(self.values);
        self.squares += before * (value - self.mean);
    }

    /// How many values.
    #[must_use]
    pub fn values(&self) -> usize {
        self.values
    }

    /// Their mean; 0 of none.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The unbiased estimate of the variance (divisor n - 1); none for fewer than two values.
    #[must_use]
    pub fn variance(&self) -> Option<f64> {
        (self.values > 1).then(|| self.squares / (count(self.values) - 1.0))
    }

    /// Its square root.
    #[must_use]
    pub fn deviation(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }

    /// The standard error of the mean.
    #[must_use]
    pub fn standard_error(&self) -> Option<f64> {
        self.variance().map(|variance| (variance / count(self.values)).sqrt())
    }

    /// Student's interval of the mean, for independent values of roughly normal law; none for fewer than two values.
    ///
    /// # Panics
    /// When `confidence` is not between 0 and 1.
    #[must_use]
    pub fn interval(&self, confidence: f64) -> Option<Interval> {
        let half = self.standard_error()? * student::two_sided_quantile(1.0 - confidence, count(self.values) - 1.0);
        Some(Interval { low: self.mean - half, high: self.mean + half })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Darwin's 15 pairs of plants (Fisher 1935, "The Design of Experiments", section 17): differences in eighths of an inch.
    pub(in crate::statistics) const DARWIN: [f64; 15] =
        [49.0, -67.0, 8.0, 16.0, 6.0, 23.0, 28.0, 41.0, 14.0, 29.0, 56.0, 24.0, 75.0, 60.0, -48.0];

    #[test]
    fn darwins_plants_have_the_mean_and_the_interval_that_fisher_gives() {
        let plants = Moments::of(&DARWIN);
        // Fisher: mean 20.93, standard error 9.746, t = 2.148; the 5 % point of t for 14 degrees is 2.145.
        assert_eq!(format!("{:.3}", plants.mean()), "20.933");
        let error = plants.standard_error().expect("15 values");
        assert_eq!(format!("{error:.3} {:.3}", plants.mean() / error), "9.746 2.148");
        let interval = plants.interval(0.95).expect("15 values");
        assert_eq!(format!("{:.3} {:.3}", interval.low, interval.high), "0.031 41.835");
    }

    #[test]
    fn a_large_offset_does_not_swallow_the_spread() {
        let values: Vec<f64> = [1.0, 2.0, 3.0].iter().map(|value| 1e9 + value).collect();
        assert_eq!(Moments::of(&values).variance(), Some(1.0));
    }

    #[test]
    fn one_value_has_a_mean_and_no_interval() {
        let one = Moments::of(&[7.0]);
        assert_eq!((one.mean(), one.variance(), one.interval(0.95)), (7.0, None, None));
        assert_eq!(Moments::of(&[]).mean(), 0.0);
    }
}
