//! Runs `framesim`, and holds every run against the rules that hold for all.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a command did.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `framesim` with these words, from the top of the repository.
pub fn framesim(words: &[&str]) -> Ran {
    ran(words, command(words).output().expect("framesim can be started"))
}

/// The command, not yet started; its environment says nothing about colours.
pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_framesim_under_test"));
    command.args(words).current_dir(repository()).stdin(Stdio::null());
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("RUST_BACKTRACE");
    command
}

/// The output as text. No run may end in a panic (101), an abort (134) or by a signal.
pub fn ran(words: &[&str], output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("framesim writes UTF-8");
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    let code = output.status.code().unwrap_or(134);
    assert!([0, 2, 3, 4, 5, 6].contains(&code), "`framesim {}` ended with {code}:\n{stderr}", words.join(" "));
    assert!(!stderr.contains("panicked"), "`framesim {}` panicked:\n{stderr}", words.join(" "));
    Ran { code, stdout, stderr }
}

/// Standard output of a command that must go well.
pub fn shown(words: &[&str]) -> String {
    let ran = framesim(words);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "`framesim {}`", words.join(" "));
    let wide = ran.stdout.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None, "a line of `framesim {}` is wider than 80 columns", words.join(" "));
    ran.stdout
}

/// Standard error of a command that must end with this code.
pub fn refused(code: i32, words: &[&str]) -> String {
    let ran = framesim(words);
    assert_eq!(ran.code, code, "`framesim {}`: {}", words.join(" "), ran.stderr);
    ran.stderr
}

/// Runs the program of the example `own_policy`, which is `framesim` with one more policy.
pub fn own_policy(words: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_own_policy_under_test"));
    ran(words, command.args(words).current_dir(repository()).output().expect("the example can be started"))
}

/// Runs `framesim` with a policy that gives out frames twice.
pub fn broken_policy(words: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broken_policy_under_test"));
    ran(words, command.args(words).current_dir(repository()).output().expect("the program can be started"))
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
