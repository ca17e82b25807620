//! A folder with an experiment in it, and `framesim` run there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Programs that ask for blocks and frames at random: a cell takes about a millisecond.
pub const WORKLOAD: &str = r#"(
    about: "small and busy",
    seed: 5,
    machine: (memory: "256KiB", frames: first_fit, kernel: free_of_charge, regions: contiguous, commit: eager),
    programs: {"p": (data: "8KiB", heap: free_list)},
    processes: [(
        name: "p",
        program: "p",
        arrive: poisson(per_second: 400.0, count: 30),
        live: exponential(mean: "20ms"),
        does: mix(gap: exponential(mean: "1ms"), size: uniform(lo: 16, hi: 3000), life: exponential(mean: "5ms"), calls: 40),
    )],
)
"#;

/// An experiment of twelve cells over it.
pub const EXPERIMENT: &str = r#"(
    about: "twelve small cells",
    workload: "busy.ron",
    axes: [(name: "memory", path: "machine.memory", values: list(["256KiB", "1MiB"]))],
    policies: [first_fit, best_fit],
    replicas: count(3),
    metrics: ["memory_used", "external_fragmentation", "internal_fragmentation", "refused", "processes"],
    compare: [policies("first_fit", "best_fit"), values("memory", "256KiB", "1MiB")],
)
"#;

/// A temporary folder with `busy.ron` and `mine.ron`.
pub struct Folder {
    folder: TempDir,
}

/// What a command did.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Folder {
    pub fn new() -> Folder {
        Folder::with(EXPERIMENT)
    }

    pub fn with(experiment: &str) -> Folder {
        let folder = Folder { folder: tempfile::tempdir().expect("a folder for tests") };
        folder.write("busy.ron", WORKLOAD);
        folder.write("mine.ron", experiment);
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file for tests");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The command, not yet started.
    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_framesim_under_test"));
        command.args(words.split_whitespace()).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("RUST_BACKTRACE");
        command
    }

    pub fn run(&self, words: &str) -> Ran {
        ran(words, self.command(words).output().expect("framesim can be started"))
    }

    /// Standard output of a command that must go well.
    pub fn shown(&self, words: &str) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, 0, "`framesim {words}`: {}", ran.stderr);
        ran.stdout
    }

    /// Standard error of a command that must end with this code.
    pub fn refused(&self, code: i32, words: &str) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, code, "`framesim {words}`: {}", ran.stderr);
        ran.stderr
    }

    /// All files of results in a folder.
    pub fn results(&self, name: &str) -> Results {
        let folder = self.path(name);
        let read = |file: &PathBuf| std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Results(framesim::experiment::files(&folder).iter().map(|file| (file_name(file), read(file))).collect())
    }
}

/// Names and bytes of files; shown by their lengths.
#[derive(PartialEq, Eq)]
pub struct Results(Vec<(String, Vec<u8>)>);

impl std::fmt::Debug for Results {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sum =
            |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
        f.debug_list().entries(self.0.iter().map(|(name, bytes)| (name, bytes.len(), sum(bytes)))).finish()
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().expect("a file has a name").to_string_lossy().into_owned()
}

/// No run may end in a panic (101), an abort (134) or by a signal.
pub fn ran(words: &str, output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("framesim writes UTF-8");
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    let code = output.status.code().unwrap_or(134);
    assert!([0, 2, 3, 4, 5, 6].contains(&code), "`framesim {words}` ended with {code}:\n{stderr}");
    assert!(!stderr.contains("panicked"), "`framesim {words}` panicked:\n{stderr}");
    Ran { code, stdout, stderr }
}
