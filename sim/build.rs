//! What the build knows and the program does not: target and profile, for `framesim --version`.
#![expect(clippy::disallowed_methods, reason = "how a build script is asked and answers")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (to, from) in [("FRAMESIM_TARGET", "TARGET"), ("FRAMESIM_PROFILE", "PROFILE")] {
        println!("cargo::rustc-env={to}={}", std::env::var(from).unwrap_or_default());
    }
}
