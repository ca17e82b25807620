//! Where output goes, and what happens when it cannot.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use crate::command::{command, framesim, ran, refused, shown};

/// Commands that print without reading a file.
const PRINTING: &[&[&str]] = &[
    &["--help"],
    &["--version"],
    &["help", "explain"],
    &["list", "policies"],
    &["explain", "buddy"],
    &["completions", "bash"],
    &["completions", "zsh"],
    &["completions", "fish"],
    &["completions", "powershell"],
    &["man"],
    &["run", "sixteen_frames"],
    &["run", "sixteen_frames", "--json"],
];

#[test]
fn every_printing_command_prints() {
    for words in PRINTING {
        let ran = framesim(words);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
        assert!(ran.stdout.len() > 20, "{words:?} says {:?}", ran.stdout);
    }
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    for words in PRINTING {
        let mut child = command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("framesim starts");
        drop(child.stdout.take());
        let ran = ran(words, child.wait_with_output().expect("framesim ends"));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_is_exit_code_5() {
    for words in PRINTING {
        let full = File::options().write(true).open("/dev/full").expect("Linux has /dev/full");
        let output = command(words).stdout(full).stderr(Stdio::piped()).output().expect("framesim starts");
        let ran = ran(words, output);
        assert_eq!(ran.code, 5, "{words:?}");
        assert_eq!(ran.stderr, "error: standard output: cannot be written: no space left on device\n", "{words:?}");
    }
}

#[test]
fn nobody_listening_at_all_is_no_panic() {
    for words in [&["explain", "nonsense"][..], &["--nonsense"], &["list", "policies"]] {
        let mut child = command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("framesim starts");
        drop((child.stdout.take(), child.stderr.take()));
        let code = child.wait().expect("framesim ends").code();
        assert!(matches!(code, Some(0 | 2)), "{words:?} ended with {code:?}");
    }
}

#[test]
fn a_pipe_gets_no_escape_codes_and_no_color_wins_over_a_terminal() {
    assert!(!shown(&["explain", "buddy"]).contains('\u{1b}'));
    let coloured = framesim(&["explain", "buddy", "--color", "always"]).stdout;
    assert!(coloured.contains('\u{1b}'));
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), shown(&["explain", "buddy"]));
    let forced = |name: &str| {
        let mut child = command(&["explain", "buddy"]).env(name, "1").stdout(Stdio::piped()).spawn().expect("starts");
        let mut text = String::new();
        child.stdout.take().expect("piped").read_to_string(&mut text).expect("UTF-8");
        child.wait().expect("framesim ends");
        text.contains('\u{1b}')
    };
    assert!(forced("CLICOLOR_FORCE"));
    assert!(!forced("NO_COLOR"));
    assert!(!refused(2, &["explain", "nonsense", "--color=never"]).contains('\u{1b}'));
    assert!(refused(2, &["explain", "nonsense", "--color=always"]).contains('\u{1b}'));
    assert!(refused(2, &["nonsense", "--color=always"]).contains('\u{1b}'));
}

#[test]
fn the_version_has_a_short_and_a_long_form() {
    assert_eq!(shown(&["-V"]).lines().count(), 1);
    let long = shown(&["--version"]);
    assert!(long.contains("results version") && long.contains("target"), "{long}");
}

#[test]
fn completions_and_manual_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(framesim(&["completions", shell]).stdout.contains("explain"), "{shell}");
    }
    let manual = framesim(&["man"]).stdout;
    assert!(manual.contains(".TH framesim 1"), "{manual}");
    assert!(manual.contains("completions"), "{manual}");
}

#[test]
fn quiet_and_verbose_exclude_each_other() {
    let said = refused(2, &["list", "heaps", "-q", "-v"]);
    assert!(said.contains("cannot be used with"), "{said}");
}
