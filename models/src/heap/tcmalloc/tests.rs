//! The rules one by one.

use super::{first_without, rounded_up};

#[test]
fn the_first_aligned_page_is_the_one_that_a_search_finds() {
    for mask in 0..64 {
        for page in 1..200 {
            let searched = (page..).find(|page| page & mask == 0);
            assert_eq!(first_without(page, mask), searched, "from {page} on with {mask:#b}");
        }
    }
}

#[test]
fn a_request_is_rounded_up_with_the_bits_of_its_alignment() {
    let rounded = |align, bytes| rounded_up(bytes, align).ok();
    assert_eq!([rounded(64, 0), rounded(64, 1), rounded(64, 64), rounded(64, 65)], [64, 64, 64, 128].map(Some));
    // As the real one does: 4522 + 236 without the bits of 236.
    assert_eq!([rounded(237, 0), rounded(237, 1), rounded(237, 4522)], [237, 1, 4626].map(Some));
    assert_eq!(rounded(4096, u64::MAX - 4), None);
}
