//! Names of files, made without a heap.

use std::cell::UnsafeCell;
use std::ffi::c_char;
use std::sync::atomic::{AtomicUsize, Ordering};

const FOLDER_BYTES: usize = 4096;
/// For `/`, two numbers, and what is around them.
const PATH_BYTES: usize = FOLDER_BYTES + 64;

/// The folder of the raw files.
pub(crate) struct Folder {
    text: UnsafeCell<[u8; FOLDER_BYTES]>,
    bytes: AtomicUsize,
}

// SAFETY: `set` is called once, by the thread that starts recording, while all others wait for it or do not record yet.
unsafe impl Sync for Folder {}

impl Folder {
    pub(crate) const fn new() -> Folder {
        Folder { text: UnsafeCell::new([0; FOLDER_BYTES]), bytes: AtomicUsize::new(0) }
    }

    /// False when it is too long.
    pub(crate) fn set(&self, folder: &[u8]) -> bool {
        // SAFETY: nobody else looks at it yet: see `Sync` above.
        let text = unsafe { &mut *self.text.get() };
        let Some(place) = text.get_mut(..folder.len()) else { return false };
        place.copy_from_slice(folder);
        self.bytes.store(folder.len(), Ordering::Release);
        true
    }

    fn as_bytes(&self) -> &[u8] {
        // SAFETY: not written any more once `bytes` is set.
        let text = unsafe { &*self.text.get() };
        text.get(..self.bytes.load(Ordering::Acquire)).unwrap_or_default()
    }
}

/// A path that ends in a zero byte.
pub(crate) struct Path {
    text: UnsafeCell<[u8; PATH_BYTES]>,
}

// SAFETY: `set` is called only by the thread that begins a file, before any other records.
unsafe impl Sync for Path {}

impl Path {
    pub(crate) const fn new() -> Path {
        Path { text: UnsafeCell::new([0; PATH_BYTES]) }
    }

    /// `FOLDER/PID-IMAGE.raw`, or `FOLDER/PID.seen` without an image.
    pub(crate) fn set(&self, folder: &Folder, pid: u64, image: Option<u64>) {
        // SAFETY: nobody else looks at it yet: see `Sync` above.
        let text = unsafe { &mut *self.text.get() };
        let mut used = 0;
        let mut add = |bytes: &[u8]| {
            if let Some(place) = text.get_mut(used..used + bytes.len()) {
                place.copy_from_slice(bytes);
                used += bytes.len();
            }
        };
        add(folder.as_bytes());
        add(b"/");
        add(digits(pid, &mut [0; 20]));
        match image {
            Some(image) => {
                add(b"-");
                add(digits(image, &mut [0; 20]));
                add(b".raw\0");
            }
            None => add(b".seen\0"),
        }
    }

    pub(crate) fn as_c(&self) -> *const c_char {
        self.text.get().cast()
    }
}

fn digits(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut start = buffer.len();
    for place in buffer.iter_mut().rev() {
        *place = b"0123456789".get(usize::try_from(number % 10).unwrap_or(0)).copied().unwrap_or(b'0');
        start = start.wrapping_sub(1);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or_default()
}

/// The number that some digits are; what is no digit is passed over.
pub(crate) fn number(text: &[u8]) -> u64 {
    let digits = text.iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u64, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}
