//! The text of a zstd file.
//!
//! The decoder underneath stops after the first frame of a file, accepts a wrong checksum, and reports a truncated file
//! after it has handed out what came before. Here every frame is read, every checksum that is there is compared, and an end in
//! the middle of a frame is an error.

use std::io::{self, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::unpack::{Packing, Unpack, UnpackError, Unpacked};

/// The first bytes of a zstd frame.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Largest window: what `zstd --long` uses; a decoder holds a window in memory.
const WINDOW_BYTES_MOST: u64 = 1 << 27;
/// A file that unpacks to more than this many times its size is refused, once it has unpacked to [`RATIO_FROM_BYTES`].
const RATIO_MOST: u64 = 20_000;
const RATIO_FROM_BYTES: u64 = 1 << 20;

/// A frame of data or one to be skipped.
pub(super) fn is_packed(start: [u8; 4]) -> bool {
    start == MAGIC || (start[0] & 0xf0 == 0x50 && start[1..] == [0x2a, 0x4d, 0x18])
}

/// All frames of a zstd file, one after the other.
pub(super) struct Frames<R> {
    packed: Counted<R>,
    decoder: FrameDecoder,
    is_in_frame: bool,
    unpacked: Unpacked,
}

impl<R: Read> Frames<R> {
    pub(super) fn of(packed: R) -> Frames<R> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES_MOST);
        let packed = Counted { inner: BufReader::with_capacity(64 << 10, packed), bytes: 0 };
        Frames { packed, decoder, is_in_frame: false, unpacked: Unpacked::of(Packing::Zstd) }
    }

    /// Begins the next frame of data; false at the end of the file.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.packed.is_at_end()? {
            match self.decoder.reset(&mut self.packed) {
                Ok(()) => {
                    self.is_in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut (&mut self.packed).take(u64::from(length)), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(UnpackError::CutOff(Packing::Zstd).into());
                    }
                }
                Err(error) => return Err(self.damage(&error)),
            }
        }
        Ok(false)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.is_in_frame = false;
        let stored = self.decoder.get_checksum_from_data();
        if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
            return Err(UnpackError::Checksum(Packing::Zstd).into());
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize) -> Result<(), UnpackError> {
        self.unpacked.count(bytes)?;
        let unpacked = self.unpacked.bytes;
        let is_bomb = unpacked > RATIO_FROM_BYTES && unpacked / RATIO_MOST > self.packed.bytes;
        if is_bomb { Err(UnpackError::TooLarge(Packing::Zstd, "20,000 times its size")) } else { Ok(()) }
    }

    fn damage(&mut self, error: &FrameDecoderError) -> io::Error {
        if self.packed.is_at_end().unwrap_or(false) && is_end_of_file(error) {
            return UnpackError::CutOff(Packing::Zstd).into();
        }
        UnpackError::Damaged(Packing::Zstd, error.to_string()).into()
    }
}

impl<R: Read> Unpack for Frames<R> {
    fn read_some(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_in_frame && !self.next_frame()? {
                return Ok(0);
            }
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let step = self.decoder.decode_blocks(&mut self.packed, BlockDecodingStrategy::UptoBlocks(1));
                step.map_err(|error| self.damage(&error))?;
            }
            let count = self.decoder.read(out)?;
            self.count(count)?;
            if self.decoder.is_finished() && self.decoder.can_collect() == 0 {
                self.end_frame()?;
            }
            if count > 0 {
                return Ok(count);
            }
        }
    }
}

/// Whether the decoder wanted more bytes than there were.
fn is_end_of_file(error: &FrameDecoderError) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.kind() == io::ErrorKind::UnexpectedEof;
        }
        cause = error.source();
    }
    false
}

/// Counts the bytes that were read, and can look whether there are more.
struct Counted<R> {
    inner: BufReader<R>,
    bytes: u64,
}

impl<R: Read> Counted<R> {
    fn is_at_end(&mut self) -> io::Result<bool> {
        use std::io::BufRead;
        Ok(self.inner.fill_buf()?.is_empty())
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;
    use crate::trace::unpack::testing::{error, read, text};

    fn packed(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    #[test]
    fn plain_and_packed_texts_are_the_same() {
        for bytes in [0, 1, 3, 4, 100, 300_000, 3_000_000] {
            assert_eq!(read(text(bytes)).expect("plain"), text(bytes));
            assert_eq!(read(packed(&text(bytes))).expect("packed"), text(bytes));
        }
    }

    #[test]
    fn all_frames_of_a_file_are_read() {
        let skipped = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let file = [packed(b"first\n"), skipped.clone(), packed(b""), packed(&text(500_000)), skipped].concat();
        let expected = [&b"first\n"[..], &text(500_000)].concat();
        assert_eq!(read(file).expect("three frames"), expected);
    }

    #[test]
    fn a_wrong_checksum_is_seen() {
        let mut file = packed(&text(1000));
        let last = file.len() - 1;
        file[last] ^= 1;
        assert_eq!(error(file), UnpackError::Checksum(Packing::Zstd));
    }

    #[test]
    fn a_file_that_is_cut_off_says_so_wherever() {
        let whole = packed(&text(400_000));
        for left in (5..whole.len()).step_by(whole.len() / 40) {
            assert_eq!(error(&whole[..left]), UnpackError::CutOff(Packing::Zstd), "{left} of {}", whole.len());
        }
        let second_frame = [packed(b"first\n"), whole[..100].to_vec()].concat();
        assert_eq!(error(second_frame), UnpackError::CutOff(Packing::Zstd));
    }

    #[test]
    fn what_follows_the_frames_is_damage() {
        assert!(matches!(error([packed(b"first\n"), b"garbage".to_vec()].concat()), UnpackError::Damaged(..)));
    }

    #[test]
    fn no_flipped_bit_gives_another_text() {
        let whole = packed(&text(2000));
        for bit in 0..whole.len() * 8 {
            let mut file = whole.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            // A flip in the first bytes makes it a plain file, or a frame to skip.
            if bit >= 32
                && let Ok(read) = read(file)
            {
                assert_eq!(read, text(2000), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_after_a_few_mebibytes() {
        let bomb = packed(&vec![b'\n'; 64 << 20]);
        assert!(bomb.len() < 4000, "{} bytes", bomb.len());
        assert_eq!(error(bomb), UnpackError::TooLarge(Packing::Zstd, "20,000 times its size"));
    }
}
