//! Mappings at a multiple of more than a page: where the kernel gives none by itself, more is mapped and both ends are cut off.

use super::{MapRequest, OutOfMemory, SystemMemory};
use crate::Address;

/// Maps what `request` asks for, at a multiple of `align`. The place asked for holds for the first try alone.
pub(super) fn map_aligned(request: &MapRequest, align: u64, os: &mut dyn SystemMemory) -> Result<u64, OutOfMemory> {
    let bytes = request.bytes;
    let roomy_bytes = bytes.checked_add(align).ok_or(OutOfMemory)?;
    let Address(at) = os.mmap(request)?;
    if at.is_multiple_of(align) {
        return Ok(at);
    }
    os.munmap(Address(at), bytes);
    let Address(roomy) = os.mmap(&MapRequest { bytes: roomy_bytes, hint: None, ..*request })?;
    let at = roomy.next_multiple_of(align);
    let (below, above) = (at - roomy, roomy + roomy_bytes - (at + bytes));
    if below > 0 {
        os.munmap(Address(roomy), below);
    }
    if above > 0 {
        os.munmap(Address(at + bytes), above);
    }
    Ok(at)
}
