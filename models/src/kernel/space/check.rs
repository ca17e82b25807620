//! The invariants of an address space.

use super::{AddressSpace, Area, TABLE_ENTRIES, TABLE_LEVELS, TableId, USER_PAGES};
use crate::{Violation, ensure};

impl AddressSpace {
    /// Full check of the invariants the module page names.
    ///
    /// # Errors
    /// The first that is broken.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_areas()?;
        self.check_tables()
    }

    fn check_areas(&self) -> Result<(), Violation> {
        let start_brk = self.page_of(self.settings.start_brk);
        let mut mapped = 0;
        let mut last: Option<&Area> = None;
        for area in self.areas.iter() {
            ensure(!area.pages.is_empty(), || format!("the area at page {:#x} is empty", area.pages.start))?;
            ensure(area.pages.end <= USER_PAGES, || format!("an area ends at page {:#x}", area.pages.end))?;
            if let Some(last) = last {
                ensure(last.pages.end <= area.pages.start, || format!("areas overlap at {:#x}", area.pages.start))?;
            }
            mapped += area.pages.len();
            last = Some(area);
        }
        ensure(mapped == self.mapped, || format!("{mapped} pages mapped, {} counted", self.mapped))?;
        ensure(self.brk >= self.settings.start_brk, || format!("the break {} is below its start", self.brk))?;
        ensure(self.areas.knows_its_gaps(), || "a block of areas misjudges its widest gap".to_owned())?;
        ensure(self.areas.iter().count() == self.areas.len(), || "areas are miscounted".to_owned())?;
        ensure(start_brk <= USER_PAGES, || "the heap starts outside the space".to_owned())
    }

    fn check_tables(&self) -> Result<(), Violation> {
        let mut present = 0;
        for table in self.tables.iter() {
            let above = TableId { level: table.level + 1, index: table.index / TABLE_ENTRIES };
            ensure(above.level == TABLE_LEVELS || self.tables.has(above), || format!("{table:?} hangs in the air"))?;
            if table.level == 1 {
                for page in (table.span().start..table.span().end).filter(|&page| self.tables.is_present(page)) {
                    ensure(self.area(page).is_some(), || format!("page {page:#x} is present but not mapped"))?;
                    present += 1;
                }
            }
        }
        ensure(present == self.resident_pages(), || format!("{present} present, {} counted", self.resident_pages()))
    }
}
