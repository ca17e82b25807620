//! From a page to the span that has it: dense tables, one for each stretch of pages that grew without a gap.

use serde::{Deserialize, Serialize};

use super::span::SpanId;
use crate::index;

/// Pages next to each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stretch {
    first_page: u64,
    spans: Vec<SpanId>,
}

impl Stretch {
    #[inline]
    fn end(&self) -> u64 {
        self.first_page + self.spans.len() as u64
    }

    #[inline]
    fn get(&self, page: u64) -> Option<SpanId> {
        let place = usize::try_from(page.wrapping_sub(self.first_page)).ok()?;
        self.spans.get(place).copied()
    }
}

/// The spans of pages. As in the real one only the first and the last page of a span need be right, and every page of one
/// with objects: what lies between may name a span that is gone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PageMap {
    /// Ascending, apart.
    stretches: Vec<Stretch>,
    /// The one that grew last.
    recent: u32,
}

impl PageMap {
    /// The span that was last noted for a page.
    #[inline]
    pub fn get(&self, page: u64) -> Option<SpanId> {
        let recent = self.stretches.get(index(self.recent.into()))?;
        let known = recent.get(page).or_else(|| self.stretches[self.stretch_of(page)?].get(page));
        known.filter(|&span| span != SpanId::NONE)
    }

    /// Notes the span of a page that the map has.
    pub fn set(&mut self, page: u64, span: SpanId) {
        let stretch = self.stretch_of(page).expect("a page that the heap has grown by");
        let stretch = &mut self.stretches[stretch];
        stretch.spans[index(page - stretch.first_page)] = span;
    }

    /// Notes the span of many pages next to each other.
    pub fn set_all(&mut self, first: u64, pages: u64, span: SpanId) {
        for page in first..first + pages {
            self.set(page, span);
        }
    }

    /// Adds pages without spans.
    pub fn grow(&mut self, first: u64, pages: u64) {
        let above = self.stretches.partition_point(|stretch| stretch.first_page <= first);
        let below = above.checked_sub(1).filter(|&below| self.stretches[below].end() == first);
        let stretch = below.unwrap_or_else(|| {
            self.stretches.insert(above, Stretch { first_page: first, spans: Vec::new() });
            above
        });
        let spans = &mut self.stretches[stretch].spans;
        spans.resize(spans.len() + index(pages), SpanId::NONE);
        self.recent = u32::try_from(stretch).expect("a heap grows fewer than 2^32 times");
    }

    fn stretch_of(&self, page: u64) -> Option<usize> {
        let above = self.stretches.partition_point(|stretch| stretch.first_page <= page);
        above.checked_sub(1).filter(|&below| page < self.stretches[below].end())
    }
}
