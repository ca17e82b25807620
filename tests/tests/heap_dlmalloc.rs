//! The `dlmalloc` heap against the real dlmalloc 2.8.6, call by call: places, usable sizes, break, mapped and resident bytes.
//!
//! `tests/data/heap` has what is small; longer recordings are read from `../shared` beside the repository where they are.

use std::io::Write;
use std::path::Path;

use framesim::conform::heap::{HeapCase, HeapVerdict, ReplaySetting, hold};
use framesim_models::Coins;
use framesim_models::heap::{HeapAllocator, HeapChoice, HeapRegistry, HeapSetting};
use framesim_tests::packed::{self, beside, text};

const SMALL: &[&str] = &["ls", "pigz", "gen-small", "gen-mixed", "gen-align", "gen-edge"];
const LONG: &[&str] = &["git-log", "jq", "sqlite", "python-threads", "python-mix"];

fn dlmalloc() -> Box<dyn HeapAllocator> {
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    let built = HeapRegistry::default().build("dlmalloc", &HeapChoice::named("dlmalloc"), setting);
    built.expect("a heap of that name").expect("its default options")
}

fn verdict(name: &str, traces: &Path, reference: &Path) -> HeapVerdict {
    let case = HeapCase {
        name,
        trace: &text(&traces.join(format!("{name}.trace.zst"))),
        places: &text(&reference.join(format!("{name}.dlmalloc.addr.zst"))),
        series: Some(&text(&reference.join(format!("{name}.dlmalloc.csv")))),
        maps: None,
    };
    let setting = ReplaySetting::one_thread_with("dlmalloc");
    hold(&case, "dlmalloc", &mut *dlmalloc(), &setting).unwrap_or_else(|bad| panic!("{name}: {bad}"))
}

fn assert_exact(verdict: &HeapVerdict) {
    assert!(verdict.is_exact() && verdict.blocks > 0, "{verdict}");
    let series = verdict.series.as_ref().expect("a series was recorded");
    assert!(series.rows > 100, "{verdict}");
    // Code of the libraries that is read in by the first calls: 41 pages.
    assert_eq!(series.resident_constant, 167_936, "{verdict}");
}

#[test]
fn every_place_and_row_of_the_small_recordings_is_the_real_one() {
    let data = packed::data().join("heap");
    for name in SMALL {
        assert_exact(&verdict(name, &data.join("traces"), &data.join("reference")));
    }
}

#[test]
fn every_place_and_row_of_the_long_recordings_is_the_real_one() {
    let Some(beside) = beside() else {
        // Said even when the test passes: `cargo test` hides what goes through `eprintln!`.
        let _ = writeln!(std::io::stderr(), "SKIPPED: five long recordings: ../shared is not beside the repository");
        return;
    };
    for name in LONG {
        assert_exact(&verdict(name, &beside.join("traces/heap"), &beside.join("reference/heap")));
    }
}
