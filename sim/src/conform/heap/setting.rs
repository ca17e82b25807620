//! What surrounds an allocator in a recording: where the break starts, what is mapped already, who calls.

use framesim_models::heap::{HeapAllocator, SystemMemory};
use framesim_models::kernel::AddressSpace;
use framesim_models::kernel::space::{Area, Backing, MapAt, MapOptions, SpaceSettings};
use framesim_models::{Address, ThreadId};
use serde::Deserialize;

use super::super::BadCase;

/// A setting of recordings, read from a small RON file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaySetting {
    /// What it is, in one line.
    pub about: String,
    /// Processors of the machine.
    pub cpus: u32,
    /// Bytes of a page.
    pub page: u64,
    /// Where the program break starts.
    pub start_break: u64,
    /// Mappings lie below it.
    pub mmap_base: u64,
    /// Ranges that are mapped from the start: first address, and the one after the last.
    pub taken: Vec<(u64, u64)>,
    /// What the libraries of the program asked for before its first line, in order.
    #[serde(default)]
    pub before: Vec<BeforeCall>,
    /// What the replayer maps before the first call, in order.
    pub tables: Vec<Table>,
    /// Who makes the calls.
    pub threads: Threads,
    /// How the recording writes where blocks are.
    pub places: Places,
    /// Blocks of so many usable bytes lie at random places within their first page, which differ from process to process:
    /// only their pages are compared.
    #[serde(default)]
    pub random_within_page_from: Option<u64>,
    /// How long everything took, for allocators that go by time; without it none passes.
    #[serde(default)]
    pub clock: Option<Clock>,
}

/// The time of a recording, as far as it shows: what a call took, and what the first write to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// Nanoseconds of a call.
    pub call_ns: u64,
    /// Nanoseconds until a page that is written to is there.
    pub page_ns: u64,
}

/// A table of the replayer, in a mapping of its own; the place of later mappings depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Bytes of an entry.
    pub bytes: u64,
    /// What has an entry.
    pub each: Each,
    /// Whether it is a file.
    #[serde(default)]
    pub is_file: bool,
}

/// What has an entry in a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Each {
    /// A call of the trace.
    Call,
    /// An id of a block, from 0 to the highest.
    Id,
    /// A call that returns a block.
    Block,
    /// A row of the series, and two more.
    Row,
}

/// A call that was made before the program began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeforeCall {
    /// Who made it. A number that no thread of a trace has stands for a thread whose cache nobody uses any more.
    #[serde(default)]
    pub thread: u32,
    /// What it was.
    pub asks: BeforeAsks,
}

/// What a [`BeforeCall`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BeforeAsks {
    /// A block of so many bytes.
    Malloc(u64),
    /// The block of an earlier call goes back: the last one that is there.
    FreeLast,
}

/// Who makes the calls.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Threads {
    /// One thread makes all calls, whatever the trace says.
    One,
    /// Each thread makes its own.
    Each {
        /// What the main thread asks for before the first call, once for each further thread.
        first_calls: Vec<FirstCall>,
    },
}

/// A `calloc` of the C library itself, never freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstCall {
    /// Elements.
    pub count: u64,
    /// Bytes of each.
    pub bytes: u64,
}

/// How a recording writes where blocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Places {
    /// From the first break; outside it, from the first block there (`M`).
    Offsets,
    /// As addresses; after `M`, from the first block.
    Absolute,
    /// From the first block: the allocator starts at a random address.
    FromFirst,
}

/// How much of each there is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub calls: u64,
    pub ids: u64,
    pub blocks: u64,
    pub rows: u64,
}

impl ReplaySetting {
    /// The setting of recordings that one thread made.
    ///
    /// # Panics
    /// Never: the file is a part of the program.
    #[must_use]
    pub fn one_thread() -> ReplaySetting {
        ReplaySetting::read(include_str!("one_thread.ron")).expect("a setting that comes with the program")
    }

    /// The setting of recordings that one thread made with the allocator of that name.
    ///
    /// # Panics
    /// Never: the files are a part of the program.
    #[must_use]
    pub fn one_thread_with(heap: &str) -> ReplaySetting {
        let file = match heap {
            "dlmalloc" => include_str!("one_thread_dlmalloc.ron"),
            "jemalloc" => include_str!("one_thread_jemalloc.ron"),
            "mimalloc" => include_str!("one_thread_mimalloc.ron"),
            "tcmalloc" => include_str!("one_thread_tcmalloc.ron"),
            _ => return ReplaySetting::one_thread(),
        };
        ReplaySetting::read(file).expect("a setting that comes with the program")
    }

    /// The setting of recordings where each thread made its own calls.
    ///
    /// # Panics
    /// Never: the file is a part of the program.
    #[must_use]
    pub fn threads() -> ReplaySetting {
        ReplaySetting::read(include_str!("threads.ron")).expect("a setting that comes with the program")
    }

    /// The setting of recordings where each thread made its own calls, with the allocator of that name.
    ///
    /// # Panics
    /// Never: the files are a part of the program.
    #[must_use]
    pub fn threads_with(heap: &str) -> ReplaySetting {
        match heap {
            "jemalloc" => ReplaySetting::read(include_str!("threads_jemalloc.ron")),
            "mimalloc" => ReplaySetting::read(include_str!("threads_mimalloc.ron")),
            "tcmalloc" => ReplaySetting::read(include_str!("threads_tcmalloc.ron")),
            _ => return ReplaySetting::threads(),
        }
        .expect("a setting that comes with the program")
    }

    /// Makes the calls that come before the program, on the address space of the setting.
    fn make_calls_before(&self, heap: &mut dyn HeapAllocator, space: &mut AddressSpace) -> Result<(), BadCase> {
        let mut blocks = Vec::new();
        for &BeforeCall { thread, asks } in &self.before {
            let made = match (asks, blocks.last().copied()) {
                (BeforeAsks::Malloc(bytes), _) => {
                    heap.malloc(ThreadId(thread), bytes, space).map(|at| blocks.push(at)).ok()
                }
                (BeforeAsks::FreeLast, Some(at)) => {
                    blocks.pop();
                    heap.free(ThreadId(thread), at, space).ok()
                }
                (BeforeAsks::FreeLast, None) => None,
            };
            made.ok_or_else(|| BadCase(format!("setting: {asks:?} before the program was refused")))?;
        }
        Ok(())
    }

    /// The address space just before the first call of the program, whose libraries have called `heap` and whose threads have
    /// started. `maps` lists what is mapped, as `/proc/PID/maps` does.
    ///
    /// # Errors
    /// [`BadCase`] when the mappings are not as they should be, or a call is refused.
    pub fn started(&self, heap: &mut dyn HeapAllocator, threads: u8, maps: &str) -> Result<AddressSpace, BadCase> {
        let mut space = self.space(Some(maps), heap)?;
        self.make_first_calls(heap, threads.saturating_sub(1).into(), &mut space)?;
        Ok(space)
    }

    /// What the start of so many further threads asks for.
    pub(super) fn make_first_calls(
        &self,
        heap: &mut dyn HeapAllocator,
        threads: u32,
        space: &mut AddressSpace,
    ) -> Result<(), BadCase> {
        let Threads::Each { first_calls } = &self.threads else { return Ok(()) };
        for call in (0..threads).flat_map(|_| first_calls) {
            let made = heap.calloc(ThreadId(0), call.count, call.bytes, space);
            made.map_err(|refused| BadCase(format!("a first call of the setting: {refused}")))?;
        }
        Ok(())
    }

    /// Maps the tables of the replayer.
    pub(super) fn map_tables(&self, space: &mut AddressSpace, counts: Counts) -> Result<(), BadCase> {
        self.tables.iter().zip(1..).try_for_each(|(table, number)| map_table(space, table, counts, number))
    }

    /// Reads a setting.
    ///
    /// # Errors
    /// [`BadCase`] says where it is not one.
    pub fn read(ron: &str) -> Result<ReplaySetting, BadCase> {
        let setting: ReplaySetting = ron::from_str(ron).map_err(|error| BadCase(format!("setting: {error}")))?;
        if !setting.page.is_power_of_two() {
            return Err(BadCase(format!("setting: a page of {} bytes; it must be a power of two", setting.page)));
        }
        Ok(setting)
    }

    /// What is mapped before the first call of a trace of so many calls, blocks got and ids (the highest and one more),
    /// with a row of the series for every two-hundredth of it: address ranges, ascending.
    ///
    /// # Errors
    /// [`BadCase`] when the ranges of the setting do not fit together.
    pub fn mapped(&self, calls: u64, ids: u64, blocks: u64) -> Result<Vec<(u64, u64)>, BadCase> {
        let rows = calls / calls.div_ceil(super::ROWS).max(1) + 2;
        let (mut space, _) = self.loaded(None)?;
        self.map_tables(&mut space, Counts { calls, ids, blocks, rows })?;
        let range = |area: &Area| (space.address_of(area.pages.start).0, space.address_of(area.pages.end).0);
        Ok(space.areas().map(range).collect())
    }

    /// The address space without the replayer's tables: what the loader maps, then what libraries asked `heap` for, then the
    /// rest. `maps` lists further mappings, as `/proc/PID/maps` does; some of the rest may be mappings that the heap has made.
    pub(super) fn space(&self, maps: Option<&str>, heap: &mut dyn HeapAllocator) -> Result<AddressSpace, BadCase> {
        let (mut space, mappings) = self.loaded(maps)?;
        self.make_calls_before(heap, &mut space)?;
        mappings.iter().try_for_each(|mapping| take_free(&mut space, mapping.start, mapping.end))?;
        Ok(space)
    }

    /// The address space as the loader leaves it, and all mappings of the list.
    fn loaded(&self, maps: Option<&str>) -> Result<(AddressSpace, Vec<Mapping>), BadCase> {
        let mut space = AddressSpace::new(SpaceSettings {
            page_bytes: self.page,
            cpus: self.cpus,
            start_brk: Address(self.start_break),
            mmap_base: Address(self.mmap_base),
            ..SpaceSettings::linux(self.page)
        });
        for &(start, end) in &self.taken {
            take(&mut space, start, end)?;
        }
        let mappings = mappings(maps.unwrap_or_default())?;
        for mapping in mappings.iter().filter(|mapping| mapping.is_of_loader) {
            take(&mut space, mapping.start, mapping.end)?;
        }
        Ok((space, mappings))
    }
}

/// Maps what of a range is not mapped already.
fn take_free(space: &mut AddressSpace, start: u64, end: u64) -> Result<(), BadCase> {
    let range = |area: &Area| (space.address_of(area.pages.start).0, space.address_of(area.pages.end).0);
    let mapped: Vec<_> = space.areas().map(range).filter(|&(from, to)| from < end && start < to).collect();
    let mut reached = start;
    for (from, to) in mapped {
        if reached < from {
            take(space, reached, from)?;
        }
        reached = reached.max(to);
    }
    if reached < end { take(space, reached, end) } else { Ok(()) }
}

fn take(space: &mut AddressSpace, start: u64, end: u64) -> Result<(), BadCase> {
    let bytes =
        end.checked_sub(start).ok_or_else(|| BadCase(format!("mapping {start:#x}-{end:#x} ends before it starts")))?;
    let options = MapOptions::anonymous(bytes).at(MapAt::FixedIfFree(Address(start)));
    space.map(&options).map_err(|error| BadCase(format!("mapping {start:#x}-{end:#x}: {error}")))?;
    Ok(())
}

/// A line of `/proc/PID/maps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    start: u64,
    end: u64,
    /// It is there before any library runs: a file, or what directly follows one (variables).
    is_of_loader: bool,
}

/// The lines of `/proc/PID/maps`, but for the heap, which the replay makes itself, and pages of the kernel.
fn mappings(maps: &str) -> Result<Vec<Mapping>, BadCase> {
    let mut found: Vec<Mapping> = Vec::new();
    for line in maps.lines() {
        let Some((start, end)) = mapping(line)? else { continue };
        let follows = found.last().is_some_and(|last| last.is_of_loader && last.end == start);
        found.push(Mapping { start, end, is_of_loader: follows || line.split_whitespace().count() > 5 });
    }
    Ok(found)
}

/// The range of a line of `/proc/PID/maps`; none for the heap, which the replay makes itself, and for pages of the kernel.
fn mapping(line: &str) -> Result<Option<(u64, u64)>, BadCase> {
    let bad = || BadCase(format!("not a line of mappings: {line}"));
    let range = line.split_whitespace().next().ok_or_else(bad)?;
    let (start, end) = range.split_once('-').ok_or_else(bad)?;
    let address = |digits| u64::from_str_radix(digits, 16).map_err(|_| bad());
    let (start, end) = (address(start)?, address(end)?);
    let is_of_user = end <= 1 << 47;
    Ok((is_of_user && !line.ends_with("[heap]")).then_some((start, end)))
}

fn map_table(space: &mut AddressSpace, table: &Table, counts: Counts, number: u32) -> Result<(), BadCase> {
    let entries = match table.each {
        Each::Call => counts.calls,
        Each::Id => counts.ids,
        Each::Block => counts.blocks,
        Each::Row => counts.rows,
    };
    let backing = if table.is_file { Backing::File(number) } else { Backing::Anonymous };
    let options = MapOptions { backing, ..MapOptions::anonymous((entries * table.bytes).max(1)) };
    let pages = space.map(&options).map_err(|error| BadCase(format!("table {number} of the replayer: {error}")))?;
    let start = space.address_of(pages.start);
    space.touch(start, options.bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_that_come_with_the_program_are_read() {
        assert_eq!(ReplaySetting::one_thread().tables.len(), 5);
        assert_eq!(ReplaySetting::one_thread_with("dlmalloc").taken.len(), 3);
        assert_eq!(ReplaySetting::threads().places, Places::Absolute);
        for setting in [ReplaySetting::one_thread_with("tcmalloc"), ReplaySetting::threads_with("tcmalloc")] {
            assert_eq!(setting.before.len(), 5, "{}", setting.about);
        }
        for setting in [ReplaySetting::one_thread_with("jemalloc"), ReplaySetting::threads_with("jemalloc")] {
            assert_eq!(setting.before.len(), 1, "{}", setting.about);
        }
        assert_eq!(ReplaySetting::one_thread_with("mimalloc").tables.len(), 5);
        assert_eq!(ReplaySetting::threads_with("mimalloc").places, Places::FromFirst);
    }

    #[test]
    fn an_unknown_field_is_named() {
        let error = ReplaySetting::read("(about: \"\", cores: 2)").unwrap_err().to_string();
        assert!(error.contains("cores"), "{error}");
    }

    #[test]
    fn the_loader_maps_files_and_what_follows_them() {
        let maps = "\
1000-2000 rw-p 00000000 00:00 0
7000-8000 r--p 00000000 fe:00 325843                     libc.so.6
8000-9000 rw-p 00000000 00:00 0
a000-b000 rw-p 00000000 00:00 0
";
        let of_loader: Vec<_> = mappings(maps).unwrap().iter().map(|mapping| mapping.is_of_loader).collect();
        assert_eq!(of_loader, [false, true, true, false]);
    }

    #[test]
    fn what_a_heap_has_mapped_at_its_start_is_passed_over_in_the_list_of_mappings() {
        let mut space = AddressSpace::new(SpaceSettings::linux(4096));
        take(&mut space, 0x7000_0000, 0x7000_4000).unwrap();
        take_free(&mut space, 0x6fff_f000, 0x7000_6000).unwrap();
        assert_eq!(space.mapped_pages(), 7);
        take_free(&mut space, 0x7000_0000, 0x7000_1000).unwrap();
        assert_eq!(space.mapped_pages(), 7);
    }

    #[test]
    fn mappings_of_the_heap_and_of_the_kernel_are_passed_over() {
        assert_eq!(
            mapping("7ffff7fc0000-7ffff7fc2000 rw-p 00000000 00:00 0 "),
            Ok(Some((0x7fff_f7fc_0000, 0x7fff_f7fc_2000)))
        );
        assert_eq!(mapping("555555559000-55555557a000 rw-p 00000000 00:00 0    [heap]"), Ok(None));
        assert_eq!(mapping("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]"), Ok(None));
        assert!(mapping("heap").is_err());
    }
}
