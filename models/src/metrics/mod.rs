//! Measures of fragmentation and footprint: pure functions of counts, all in integers.
