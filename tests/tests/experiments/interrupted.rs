//! Interrupted sweeps: what is done is kept, and a resumed sweep ends in the same bytes.

#![expect(clippy::disallowed_types, reason = "a bound on how long a test takes")]

use std::fs::File;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::folder::{EXPERIMENT, Folder, ran};

const JOURNAL: &str = "journal.framesim";

#[test]
fn a_journal_cut_at_any_byte_of_its_last_records_loses_only_them() {
    let folder = Folder::new();
    folder.shown("sweep mine.ron --out whole --jobs 1");
    let journal = std::fs::read(folder.path("whole").join(JOURNAL)).expect("a journal");
    let whole = folder.results("whole");
    // The last two records, each of some 150 bytes; every seventh byte elsewhere.
    let cuts = (0..journal.len()).filter(|cut| *cut + 350 > journal.len() || cut % 97 == 0);
    for cut in cuts {
        std::fs::create_dir_all(folder.path("cut")).expect("a folder for tests");
        std::fs::write(folder.path("cut").join(JOURNAL), &journal[..cut]).expect("a file for tests");
        folder.shown("sweep mine.ron --out cut --jobs 1 --resume -q");
        assert_eq!(folder.results("cut"), whole, "cut at byte {cut} of {}", journal.len());
        std::fs::remove_dir_all(folder.path("cut")).expect("a folder of this test");
    }
}

#[test]
fn a_flipped_bit_ends_what_is_trusted() {
    let folder = Folder::new();
    folder.shown("sweep mine.ron --out whole --jobs 1");
    let path = folder.path("whole").join(JOURNAL);
    let whole = folder.results("whole");
    let journal = std::fs::read(&path).expect("a journal");
    // Throughout some record in the middle: lengths, checksums, numbers that would be others, digests.
    let middle = journal.len() * 2 / 3;
    for at in (middle..middle + 180).step_by(11) {
        let mut flipped = journal.clone();
        flipped[at] ^= 4;
        std::fs::write(&path, &flipped).expect("a file of this test");
        let said = folder.shown("sweep mine.ron --out whole --jobs 1 --resume");
        assert!(said.contains("were done before"), "byte {at}: {said}");
        assert_eq!(folder.results("whole"), whole, "byte {at}");
    }
}

#[test]
fn what_is_no_record_at_the_end_is_cut_off() {
    let folder = Folder::new();
    folder.shown("sweep mine.ron --out whole --jobs 1");
    let path = folder.path("whole").join(JOURNAL);
    let journal = std::fs::read(&path).expect("a journal");
    std::fs::write(&path, [journal.as_slice(), &[7; 1_000]].concat()).expect("a file of this test");
    let ran = folder.run("sweep mine.ron --out whole --jobs 1 --resume");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("the journal ended in 1,000 bytes of an interrupted write"), "{}", ran.stderr);
    assert_eq!(std::fs::read(&path).expect("a journal"), journal);
}

/// Kills a sweep at 200 places, each some random time after its start, and goes on where it was: what the journal had it keeps, byte for
/// byte, and whenever a sweep gets to its end its results are those of an uninterrupted one.
#[test]
fn two_hundred_kills_lose_nothing() {
    let folder = Folder::with(&EXPERIMENT.replace("count(3)", "count(150)"));
    folder.shown("sweep mine.ron --out whole --jobs 2");
    let whole = folder.results("whole");
    let deadline = Instant::now() + Duration::from_secs(240);
    let (mut kills, mut kept, mut random, mut longest_us) = (0_u32, Vec::new(), 1_u64, 40_000);
    while kills < 200 && Instant::now() < deadline {
        let mut sweep = folder.command("sweep mine.ron --out killed --jobs 2 --resume -q");
        let mut child = sweep.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("framesim can be started");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        sleep(Duration::from_micros((random >> 33) % longest_us));
        if child.try_wait().expect("a child of this test").is_none() {
            child.kill().expect("a child of this test");
            kills += 1;
        } else {
            // As quick as the machine is: most sweeps should be met before they end.
            longest_us = (longest_us * 3 / 4).max(2_000);
        }
        let output = child.wait_with_output().expect("a child of this test");
        let journal = std::fs::read(folder.path("killed").join(JOURNAL)).unwrap_or_default();
        assert!(journal.starts_with(&kept), "after {kills} kills: the journal lost records");
        kept = whole_records(&journal).to_vec();
        if output.status.code().is_some() {
            ran("sweep --resume", output);
            assert_eq!(folder.results("killed"), whole, "after {kills} kills");
            std::fs::remove_dir_all(folder.path("killed")).expect("a folder of this test");
            kept.clear();
        }
    }
    folder.shown("sweep mine.ron --out killed --jobs 2 --resume");
    assert_eq!(folder.results("killed"), whole);
    assert_eq!(kills, 200, "as many kills met a running sweep in four minutes");
}

/// A journal without what an interrupted write left at its end.
fn whole_records(journal: &[u8]) -> &[u8] {
    let Some(first) = journal.iter().position(|byte| *byte == b'\n') else { return &[] };
    let mut end = first + 1;
    while let Some(length) = journal.get(end..end + 4) {
        let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
        if end + 12 + length > journal.len() {
            break;
        }
        end += 12 + length;
    }
    &journal[..end]
}

/// A disk that is full, by the shell's limit on the length of files.
#[test]
fn a_full_disk_is_said_and_a_resumed_sweep_goes_on() {
    let folder = Folder::with(&EXPERIMENT.replace("count(3)", "count(40)"));
    folder.shown("sweep mine.ron --out whole");
    let framesim = env!("CARGO_BIN_EXE_framesim_under_test");
    let script = format!("trap '' XFSZ; ulimit -f 8; exec {framesim} sweep mine.ron --out full --jobs 2");
    let mut shell = std::process::Command::new("bash");
    let output = shell.args(["-c", &script]).current_dir(folder.path(".")).output().expect("bash can be started");
    let full = ran("sweep", output);
    assert_eq!(full.code, 5, "{}", full.stderr);
    assert!(full.stderr.contains(JOURNAL), "{}", full.stderr);
    assert!(!folder.path("full/cells.csv").exists());
    let said = folder.shown("sweep mine.ron --out full --resume");
    assert!(said.contains("were done before"), "{said}");
    assert_eq!(folder.results("full"), folder.results("whole"));
}

#[test]
fn a_changed_question_does_not_go_on_and_says_what_changed() {
    let folder = Folder::new();
    folder.shown("sweep mine.ron --out out");
    let refused = |folder: &Folder| {
        folder.refused(2, "sweep mine.ron --out out --resume").lines().last().expect("a reason").to_owned()
    };
    folder.write("mine.ron", &EXPERIMENT.replace("[first_fit, best_fit]", "[first_fit, best_fit, worst_fit]"));
    insta::assert_snapshot!(refused(&folder), @"error: out/journal.framesim: the sweep cannot go on: `policies` has changed");
    folder.write("mine.ron", &EXPERIMENT.replace("about: \"twelve", "// Only a comment and a title.\n about: \"12"));
    folder.shown("sweep mine.ron --out out --resume");
    folder.write("busy.ron", &super::folder::WORKLOAD.replace("hi: 3000", "hi: 3001"));
    insta::assert_snapshot!(refused(&folder), @"error: out/journal.framesim: the sweep cannot go on: the workload has changed");
    let shard = folder.refused(2, "sweep mine.ron --out out --resume --shard 1/2");
    assert!(shard.contains("it is of shard 1/1, not 1/2"), "{shard}");
}

#[test]
fn a_folder_is_written_by_one_sweep_and_not_by_accident() {
    let folder = Folder::new();
    folder.shown("sweep mine.ron --out out");
    insta::assert_snapshot!(folder.refused(2, "sweep mine.ron --out out -q"), @"error: out/journal.framesim: there is a sweep in this folder; `--resume` goes on with it");
    let journal = File::options().read(true).write(true).open(folder.path("out").join(JOURNAL)).expect("a journal");
    journal.lock().expect("nobody else has it");
    insta::assert_snapshot!(folder.refused(5, "sweep mine.ron --out out --resume -q"), @"error: out/journal.framesim: another sweep is writing to it");
}
