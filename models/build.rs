//! Collects the module docs of heaps, so that a program can say what a model keeps and what it leaves out.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=src/heap");
    let mut files: Vec<PathBuf> =
        fs::read_dir("src/heap").expect("the heaps").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let mut table = String::from("[\n");
    for file in files {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let source = if file.is_dir() { file.join("mod.rs") } else { file };
        writeln!(table, "    ({name:?}, {:?}),", module_doc(&source)).expect("a string grows");
    }
    table.push(']');
    let out = env::var_os("OUT_DIR").expect("cargo says where");
    fs::write(Path::new(&out).join("heap_docs.rs"), table).expect("the folder can be written");
}

/// The lines of a file's `//!` comment.
fn module_doc(source: &Path) -> String {
    let text = fs::read_to_string(source).expect("a source file can be read");
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned() + "\n").collect()
}
