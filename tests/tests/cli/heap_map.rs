//! `heap-map`: the heap of one process, drawn.

use insta::assert_snapshot;

use crate::command::{framesim, refused, shown};

const LS: &str = "workloads/traces/ls.trace.zst";

#[test]
fn a_heap_is_drawn_when_it_held_most() {
    assert_snapshot!(shown(&["heap-map", LS]), @r"
    ls.trace.zst: heap of program, glibc, when it held most (at 0.018 s, after 3,607
    calls)
    620 KiB held: 390.4 KiB live, 31 KiB internal, 198.6 KiB external; 588 KiB
    resident
    1,260 pieces: 1,246 live, 11 cached, 1 free, 1 top, 1 overhead
    one letter = 256 bytes, most frequent kind

      555555554000 break, 292 KiB, 260 KiB resident
      555555554000 OOoClLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLL
      555555558000 LLLLLLLLLLLLLLLLLLLLLLLLLlLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLL
      55555555c000 LLLLLLLLLLLLLLLLLLLLLLcllLLLLcCccccccLLlcLLLLLLLLLLLLLLLLLLLLLLL
      555555560000 LLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLL
                   (1 more line alike)
      555555568000 LLLLLl..........................................................
      55555556c000 ................................................................
                   (8 more lines alike, all free)
      555555590000 ...............lLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLl
      555555594000 TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT
                   (1 more line alike)
      55555559c000 TTTTTTTTTTTTTTTT

      7ffff7fad000 mapping, 328 KiB, 328 KiB resident, all live

    L live  C cached  T top  O overhead  . free  lower case: mixed

    digest 01b69253c4f7dde3   of the run up to here
    ");
}

#[test]
fn slabs_show_what_is_free_in_their_pages() {
    assert_snapshot!(shown(&["heap-map", LS, "--heap", "slab", "--calls", "300"]), @r"
    ls.trace.zst: heap of program, slab, as asked (at 701.8 us, after 300 calls)
    168 KiB held: 12.7 KiB live, 155.3 KiB internal, 0 B external; 72 KiB resident
    676 pieces: 151 live, 15 cached, 497 free in page, 13 overhead
    one letter = 128 bytes, most frequent kind

      7ffff7fd5000 mapping, 168 KiB, 72 KiB resident
      7ffff7fd5000 LLLLLLLLLLLLPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPP
      7ffff7fd7000 PPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPOOOOOOOO
      7ffff7fd9000 LLLLLLPPPPPPPPPPPPPPPPPPPPPPPPOOLLLLpPPPPPPPPPPPPPPPPPPPPPPPPpOO
      7ffff7fdb000 LLLPPPPPPPPPPPPPPPPPPPPPPPPPPPOOLLLLLLLLLLLLLLlPPPPPPPPPPPPPPPpO
      7ffff7fdd000 LLLLLLLLLLLLlPPPPPPPPPPPPPPPPPpOLLLLLLLLLLLLLLLLLLpPPPPPPPPPPPoO
      7ffff7fdf000 LLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPP
      7ffff7fe1000 PPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPP
                   (1 more line alike)
      7ffff7fe5000 PPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPOOOOOOOOOOOOOOOO
      7ffff7fe7000 CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC
                   (6 more lines alike)
      7ffff7ff5000 CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOO
      7ffff7ff7000 LLLpPPPPPPPPPPPPPPPPPPPPPPPPoOOOLLLLLLLLPPPPPPPPPPPPPPPPPPPPPPPP
      7ffff7ff9000 PPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPP
      7ffff7ffb000 PPPPPPPPPPPPPPPPPPPPPPPPOOOOOOOOLLPPPPPPPPPPPPPPPPPPPPPPPPPPPPPO
      7ffff7ffd000 LLLLPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPOOOO

    L live  C cached  P free in page  O overhead  . free  lower case: mixed

    digest bb159db4a64a840a   of the run up to here
    ");
}

#[test]
fn every_heap_can_be_drawn_and_keeps_to_a_screen() {
    for heap in framesim_models::heap::HeapChoice::NAMES {
        let said = shown(&["heap-map", "workloads/traces/pigz.trace.zst", "--heap", heap]);
        assert!(said.contains("L live") && said.lines().count() <= 45, "{heap}:\n{said}");
    }
}

#[test]
fn full_has_a_letter_for_sixteen_bytes() {
    let said = shown(&["heap-map", LS, "--calls", "40", "--full"]);
    assert!(said.contains("one letter = 16 bytes") && said.contains("  555555554000 O"), "{said}");
}

#[test]
fn a_process_and_a_moment_are_chosen() {
    let said = shown(&["heap-map", "web", "--until", "60ms", "--process", "web/3"]);
    assert!(said.starts_with("web: heap of web/3, glibc, when it held most"), "{said}");
    let said = shown(&["heap-map", "web", "--process", "web", "--at", "40ms"]);
    assert!(said.contains("as asked (at 0.040 s,"), "{said}");
}

#[test]
fn json_has_every_piece_and_they_add_up() {
    let said = framesim(&["heap-map", LS, "--heap", "slab", "--json"]).stdout;
    let document: serde_json::Value = serde_json::from_str(&said).expect("one JSON document");
    let pieces = document["pieces"].as_array().expect("a list");
    let bytes = |kind: Option<&str>| -> u64 {
        let of_kind = pieces.iter().filter(|piece| kind.is_none_or(|kind| piece["kind"] == kind));
        of_kind.map(|piece| piece["bytes"].as_u64().expect("a whole number")).sum()
    };
    assert_eq!(Some(bytes(None)), document["levels"]["held_bytes"].as_u64());
    assert_eq!(Some(bytes(Some("free in page"))), document["levels"]["in_page_bytes"].as_u64());
    assert_eq!((&document["heap"], &document["process"]), (&"slab".into(), &"program".into()));
}

#[test]
fn mistakes_get_a_reason_and_a_way_out() {
    assert_snapshot!(refused(2, &["heap-map", "web", "--process", "wep"]), @"error: --process wep: no group of processes is called `wep`; did you mean `web`? (there is: web)");
    assert_snapshot!(refused(2, &["heap-map", LS, "--heap", "slap"]), @"error: --heap slap: unknown heap `slap`; did you mean `slab`? (`framesim list heaps` names all)");
    assert_snapshot!(refused(2, &["heap-map", "sixteen_frames"]), @"error: no process has called a heap in this run");
    assert_snapshot!(refused(2, &["heap-map", "web", "--process", "web/3", "--at", "0s"]), @"error: no process of `web/3` has called a heap by then");
    assert_eq!(framesim(&["heap-map", "no/such.trace"]).code, 5);
}
