//! A program's image: what a process gets when it starts, and the order in which its frames are asked for.

use serde::{Deserialize, Serialize};

use super::settings::{Charges, KernelSettings, Layout};
use super::space::{
    AddressSpace, AreaFlags, Backing, MapAt, MapOptions, PageRange, SpaceSettings, TABLE_LEVELS, TableId, USER_PAGES,
};
use super::{Counts, Region};
use crate::Address;

/// What a process is made from, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Image {
    /// The program's number: processes of one program can share code.
    pub program: u32,
    /// Instructions.
    pub code_pages: u64,
    /// Static data.
    pub data_pages: u64,
    /// The stack at the start; it can grow.
    pub stack_pages: u64,
    /// Whether one copy of the code serves all processes of the program that live.
    pub share_code: bool,
}

impl Image {
    /// Pages of the three regions.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.code_pages.saturating_add(self.data_pages).saturating_add(self.stack_pages)
    }
}

/// One run of frames that a new process asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) what: PartOf,
    pub(super) frames: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PartOf {
    KernelStack,
    TopTable,
    Table(TableId),
    /// Pages of a region, from this one on.
    Pages(Region, u64),
}

impl Part {
    pub(super) fn region(&self) -> Region {
        match self.what {
            PartOf::KernelStack => Region::KernelStack,
            PartOf::TopTable | PartOf::Table(_) => Region::PageTable,
            PartOf::Pages(region, _) => region,
        }
    }

    /// Whether an exit gives it back after everything of the user's.
    pub(super) fn is_kernels_own(&self) -> bool {
        matches!(self.what, PartOf::KernelStack | PartOf::TopTable)
    }

    pub(super) fn pages(&self) -> Option<PageRange> {
        match self.what {
            PartOf::Pages(_, first) => Some(PageRange::new(first, first + self.frames)),
            _ => None,
        }
    }
}

/// An image that has been loaded at least once: where everything lies, and what it takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Loaded {
    pub(super) image: Image,
    pub(super) code: PageRange,
    pub(super) data: PageRange,
    pub(super) stack: PageRange,
    /// What a process asks for, in order; shared code is not among it.
    pub(super) parts: Vec<Part>,
    /// What the first process asks for besides, when the code is shared.
    pub(super) shared_parts: Vec<Part>,
    /// The parts with pages, by first page: an index into `parts`.
    by_page: Vec<(u64, u32)>,
    /// The parts in the order an exit gives them back: pages, page tables, the kernel's own.
    pub(super) exit_order: Vec<u32>,
    /// What a process has counted when it starts.
    pub(super) counts: Counts,
    /// Page tables below the top one.
    pub(super) tables: u64,
}

impl Loaded {
    pub(super) fn new(image: Image, settings: &KernelSettings) -> Loaded {
        let base = settings.space().start_brk.0 / settings.page_bytes;
        let code = PageRange::new(base, base + image.code_pages);
        let data = PageRange::new(code.end, code.end + image.data_pages);
        let stack = PageRange::new(USER_PAGES - image.stack_pages, USER_PAGES);
        let mut plan = Plan { charges: settings.charges, layout: settings.layout, parts: Vec::new(), last: [None; 3] };
        plan.kernel_parts();
        let mut shared = plan.empty();
        if image.share_code {
            shared.pages(Region::Code, code);
            plan.tables_of(code);
        } else {
            plan.region(Region::Code, code);
        }
        plan.region(Region::Data, data);
        plan.region(Region::Stack, stack);
        let parts = plan.parts;
        let mut loaded = Loaded {
            image,
            code,
            data,
            stack,
            shared_parts: shared.parts,
            by_page: Vec::new(),
            exit_order: exit_order(&parts),
            counts: counts_of(&parts),
            tables: tables_of(&[code, data, stack]),
            parts,
        };
        loaded.by_page =
            (0_u32..).zip(&loaded.parts).filter_map(|(at, part)| Some((part.pages()?.start, at))).collect();
        loaded.by_page.sort_unstable();
        loaded
    }

    /// Which part holds `page`, and how far into it.
    pub(super) fn part_of(&self, page: u64) -> Option<(u32, u64)> {
        let at = self.by_page.partition_point(|&(first, _)| first <= page).checked_sub(1)?;
        let (first, part) = self.by_page[at];
        let inside = page - first < self.parts[part as usize].frames;
        inside.then_some((part, page - first))
    }

    pub(super) fn region_of(&self, page: u64) -> Option<Region> {
        let regions = [(Region::Code, self.code), (Region::Data, self.data), (Region::Stack, self.stack)];
        regions.iter().find(|(_, pages)| pages.contains(page)).map(|(region, _)| *region)
    }

    /// The address space of a process that has just started, all pages present.
    pub(super) fn space(&self, settings: &KernelSettings) -> AddressSpace {
        let defaults = settings.space();
        let start_brk = Address(self.data.end * settings.page_bytes);
        let mut space = AddressSpace::new(SpaceSettings { start_brk, ..defaults });
        let code = AreaFlags::READ.with(AreaFlags::EXECUTE);
        let data = AreaFlags::READ.with(AreaFlags::WRITE);
        self.map(&mut space, self.code, code, Backing::File(self.image.program), 0);
        self.map(&mut space, self.data, data, Backing::File(self.image.program), self.image.code_pages);
        self.map(&mut space, self.stack, data.with(AreaFlags::GROWS_DOWN), Backing::Anonymous, 0);
        for &(start, end) in &settings.libraries {
            let anonymous = MapOptions::anonymous(end.0.saturating_sub(start.0));
            // What is mapped there already is the image, which comes first.
            let _ = space.map(&anonymous.at(MapAt::FixedIfFree(start)));
        }
        space
    }

    fn map(&self, space: &mut AddressSpace, pages: PageRange, flags: AreaFlags, backing: Backing, offset: u64) {
        if pages.is_empty() {
            return;
        }
        let bytes = pages.len() * space.settings().page_bytes;
        let at = MapAt::Fixed(space.address_of(pages.start));
        space.map(&MapOptions { bytes, at, flags, backing, offset }).expect("an image fits an empty address space");
        for page in pages.start..pages.end {
            if flags.has(AreaFlags::WRITE) {
                space.prepare_write(page).expect("the area was made just now");
            }
            space.make_present(page);
        }
    }
}

struct Plan {
    charges: Charges,
    layout: Layout,
    parts: Vec<Part>,
    /// The table of each level that was planned last: pages come in ascending order.
    last: [Option<TableId>; 3],
}

impl Plan {
    fn empty(&self) -> Plan {
        Plan { charges: self.charges, layout: self.layout, parts: Vec::new(), last: [None; 3] }
    }

    fn kernel_parts(&mut self) {
        let frames = self.charges.kernel_stack_pages;
        self.runs(frames, |_| PartOf::KernelStack);
        if self.charges.page_tables {
            self.parts.push(Part { what: PartOf::TopTable, frames: 1 });
        }
    }

    /// `frames` frames as one run or one by one.
    fn runs(&mut self, frames: u64, what: impl Fn(u64) -> PartOf) {
        match self.layout {
            Layout::Contiguous if frames > 0 => self.parts.push(Part { what: what(0), frames }),
            Layout::Contiguous => {}
            Layout::Paged => self.parts.extend((0..frames).map(|at| Part { what: what(at), frames: 1 })),
        }
    }

    fn pages(&mut self, region: Region, pages: PageRange) {
        self.runs(pages.len(), |at| PartOf::Pages(region, pages.start + at));
    }

    fn region(&mut self, region: Region, pages: PageRange) {
        match self.layout {
            Layout::Contiguous => {
                self.tables_of(pages);
                self.pages(region, pages);
            }
            Layout::Paged => {
                for page in pages.start..pages.end {
                    self.tables_of(PageRange::new(page, page + 1));
                    self.pages(region, PageRange::new(page, page + 1));
                }
            }
        }
    }

    fn tables_of(&mut self, pages: PageRange) {
        if !self.charges.page_tables {
            return;
        }
        let mut page = pages.start;
        while page < pages.end {
            for level in (1..TABLE_LEVELS).rev() {
                let table = TableId::of(level, page);
                let last = &mut self.last[usize::from(level - 1)];
                if *last != Some(table) {
                    *last = Some(table);
                    self.parts.push(Part { what: PartOf::Table(table), frames: 1 });
                }
            }
            page = TableId::of(1, page).span().end;
        }
    }
}

fn exit_order(parts: &[Part]) -> Vec<u32> {
    let rank = |part: &Part| match part.what {
        PartOf::Pages(_, first) => (0, first, TableId { level: 0, index: 0 }),
        PartOf::Table(table) => (1, 0, table),
        PartOf::KernelStack => (2, 0, TableId { level: 0, index: 0 }),
        PartOf::TopTable => (3, 0, TableId { level: 0, index: 0 }),
    };
    let mut order: Vec<_> = (0_u32..).zip(parts).map(|(at, part)| (rank(part), at)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, at)| at).collect()
}

fn counts_of(parts: &[Part]) -> Counts {
    let frames = |wanted: fn(Region) -> bool| {
        parts.iter().filter(|part| wanted(part.region())).map(|part| part.frames).sum::<u64>()
    };
    Counts { zeroed: frames(Region::is_zeroed), taken: frames(|_| true), ..Counts::default() }
}

/// Page tables of levels 1 to 3 for ascending ranges.
fn tables_of(ranges: &[PageRange]) -> u64 {
    let mut last = [None; 3];
    let mut count = 0;
    for pages in ranges.iter().filter(|pages| !pages.is_empty()) {
        for level in 1..TABLE_LEVELS {
            let (from, to) = (TableId::of(level, pages.start).index, TableId::of(level, pages.end - 1).index);
            let slot = &mut last[usize::from(level - 1)];
            count += to - from + u64::from(*slot != Some(from));
            *slot = Some(to);
        }
    }
    count
}
