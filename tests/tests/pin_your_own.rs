//! How to pin a workload of your own from Rust: run it, and snapshot what you care about.
