//! An address space alone as the kernel a heap sees: pages are counted, no frame is needed.

use super::{AddressSpace, AreaFlags, MapAt, MapOptions};
use crate::Address;
use crate::heap::{Access, Advice, MapRequest, OutOfMemory, SystemMemory};

impl From<&MapRequest> for MapOptions {
    fn from(request: &MapRequest) -> MapOptions {
        let rights = AreaFlags::from(request.access);
        MapOptions {
            at: request.hint.map_or(MapAt::Anywhere, MapAt::Hint),
            flags: if request.no_reserve { rights.with(AreaFlags::NO_RESERVE) } else { rights },
            ..MapOptions::anonymous(request.bytes)
        }
    }
}

/// # Panics
/// `touch` panics where nothing writable is mapped: the heap that did it is broken.
impl SystemMemory for AddressSpace {
    fn page_bytes(&self) -> u64 {
        self.settings.page_bytes
    }

    fn cpus(&self) -> u32 {
        self.settings.cpus
    }

    fn program_break(&self) -> Address {
        self.program_break()
    }

    fn brk(&mut self, end: Address) -> Result<(), OutOfMemory> {
        self.move_brk(end).map_err(|_| OutOfMemory)
    }

    fn mmap(&mut self, request: &MapRequest) -> Result<Address, OutOfMemory> {
        let pages = self.map(&MapOptions::from(request)).map_err(|_| OutOfMemory)?;
        Ok(self.address_of(pages.start))
    }

    fn munmap(&mut self, at: Address, bytes: u64) {
        // As in a program that does not look at the result.
        let _ = self.unmap(at, bytes);
    }

    fn mremap(&mut self, at: Address, old_bytes: u64, new_bytes: u64) -> Result<Address, OutOfMemory> {
        let remap = self.plan_remap(at, old_bytes, new_bytes).map_err(|_| OutOfMemory)?;
        self.remap(remap);
        Ok(self.address_of(remap.new.start))
    }

    fn mprotect(&mut self, at: Address, bytes: u64, access: Access) -> Result<(), OutOfMemory> {
        self.protect(at, bytes, access).map_err(|_| OutOfMemory)
    }

    fn madvise(&mut self, at: Address, bytes: u64, advice: Advice) {
        let _ = self.advise(at, bytes, advice);
    }

    fn touch(&mut self, at: Address, bytes: u64) {
        if let Err(error) = self.write(at, bytes) {
            panic!("a heap touches only what it mapped: {error}");
        }
    }

    fn resident_pages(&self, at: Address, bytes: u64) -> u64 {
        self.count_present(self.pages_of(at, bytes))
    }
}
