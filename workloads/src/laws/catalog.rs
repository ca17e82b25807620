//! The laws as a person chooses among them: name, an example as in RON, a line.

/// One law of [`Law`](super::Law).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As in RON: `log_normal`.
    pub name: &'static str,
    /// A law of sizes that can be copied into a workload.
    pub example: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
}

const fn law(name: &'static str, example: &'static str, summary: &'static str) -> Entry {
    Entry { name, example, summary }
}

/// All laws, in the order of [`Law`](super::Law).
pub const CATALOG: &[Entry] = &[
    law("constant", "constant(64)", "always the same"),
    law("uniform", "uniform(lo: 16, hi: 4096)", "each value equally likely"),
    law("exponential", "exponential(mean: 256)", "many small, few large; gaps between independent events"),
    law("normal", "normal(mean: 512, deviation: 64)", "the bell curve"),
    law("log_normal", "log_normal(median: 128, sigma: 1.0)", "its logarithm follows the bell curve"),
    law("pareto", "pareto(min: 4096, shape: 1.3)", "a heavy tail: the smaller the shape, the heavier"),
    law("weibull", "weibull(scale: 256, shape: 0.7)", "life times that harden (shape below 1) or age (above)"),
    law("geometric", "geometric(mean: 3.0, unit: 16)", "trials up to the first success"),
    law("zipf", "zipf(ranks: 100, exponent: 1.1, unit: 16)", "rank k has weight 1 / k^exponent"),
    law("poisson", "poisson(mean: 4.0, unit: 16)", "independent events in a fixed time"),
    law("table", "table([(30, 16), (12, 32)])", "values with weights, as counted somewhere"),
    law("mixture", "mixture([(9, constant(16)), (1, constant(4096))])", "one of several laws, by weight"),
];

#[cfg(test)]
mod tests {
    use ron::extensions::Extensions;

    use super::super::Law;
    use super::*;
    use crate::spec::Bytes;

    #[test]
    fn every_example_is_a_law_of_its_name() {
        let extensions = Extensions::IMPLICIT_SOME | Extensions::UNWRAP_NEWTYPES | Extensions::UNWRAP_VARIANT_NEWTYPES;
        let options = ron::Options::default().with_default_extension(extensions);
        for entry in CATALOG {
            let law: Result<Law<Bytes>, _> = options.from_str(entry.example);
            assert!(law.is_ok(), "{}: {law:?}", entry.example);
            assert!(entry.example.starts_with(entry.name), "{}", entry.example);
        }
    }

    #[test]
    fn no_law_is_missing() {
        let unknown = ron::from_str::<Law<Bytes>>("no_such_law").expect_err("no law").to_string();
        for name in unknown.split('`').skip(3).step_by(2).filter(|name| *name != "Law") {
            assert!(CATALOG.iter().any(|entry| entry.name == name), "`{name}` is not in the catalog: {unknown}");
        }
        assert!(unknown.contains("`mixture`"), "{unknown}");
    }
}
