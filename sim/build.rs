//! What the build knows and the program does not: target and profile, for `framesim --version`, and the preload library of
//! `framesim record`.
//!
//! The library is compiled here, with one call of rustc, and put into the binary: so an installed `framesim` records without
//! anything beside it. Where it cannot be compiled the build goes on, and `framesim record` says why it cannot record.
#![expect(clippy::disallowed_methods, reason = "how a build script is asked and answers")]

use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=record/src");
    for (to, from) in [("FRAMESIM_TARGET", "TARGET"), ("FRAMESIM_PROFILE", "PROFILE")] {
        println!("cargo::rustc-env={to}={}", env::var(from).unwrap_or_default());
    }
    let library = Path::new(&env::var("OUT_DIR").expect("cargo says where to write")).join("libframesim_record.so");
    let why_not = match recorder(&library) {
        Ok(()) => String::new(),
        Err(why) => {
            fs::write(&library, "").expect("the folder that cargo gave can be written");
            why
        }
    };
    println!("cargo::rustc-env=FRAMESIM_NO_RECORDER={}", why_not.lines().next().unwrap_or_default());
}

fn recorder(library: &Path) -> Result<(), String> {
    let said = |name: &str| env::var(name).unwrap_or_default();
    let (os, environment, machine) =
        (said("CARGO_CFG_TARGET_OS"), said("CARGO_CFG_TARGET_ENV"), said("CARGO_CFG_TARGET_ARCH"));
    if (os.as_str(), environment.as_str()) != ("linux", "gnu") || !["x86_64", "aarch64"].contains(&machine.as_str()) {
        return Err(format!("it is built for {}", said("TARGET")));
    }
    let mut rustc = Command::new(env::var("RUSTC").map_err(|_| "cargo named no compiler".to_owned())?);
    rustc.args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "framesim_record"]);
    rustc.args(["-C", "opt-level=3", "-C", "panic=abort", "-C", "lto=fat", "-C", "codegen-units=1"]);
    rustc.args(["-C", "strip=symbols", "--cap-lints", "allow", "--target", &said("TARGET"), "-o"]).arg(library);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    let made = rustc.arg("record/src/lib.rs").output().map_err(|error| format!("rustc did not start: {error}"))?;
    if made.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&made.stderr);
    let first = complaint.lines().find(|line| line.starts_with("error")).unwrap_or("rustc failed");
    Err(format!("the preload library was not compiled: {first}"))
}
