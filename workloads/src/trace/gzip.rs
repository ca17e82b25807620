//! The text of a gzip file: one member after the other, each held against its checksum and its length.

use std::io::{self, BufReader, ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;

use super::unpack::{Packing, Unpack, UnpackError, Unpacked};

/// The two magic bytes, and the one method there is.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// Whether a file that starts so is gzip.
pub(super) fn is_packed(start: [u8; 4]) -> bool {
    start.starts_with(&MAGIC)
}

/// All members of a gzip file, one after the other. What they unpack to needs no further limit: deflate makes at most 1,032
/// bytes of one.
pub(super) struct Members<R> {
    decoder: MultiGzDecoder<BufReader<R>>,
    unpacked: Unpacked,
}

impl<R: Read> Members<R> {
    pub(super) fn of(packed: R) -> Members<R> {
        let packed = BufReader::with_capacity(64 << 10, packed);
        Members { decoder: MultiGzDecoder::new(packed), unpacked: Unpacked::of(Packing::Gzip) }
    }
}

impl<R: Read> Unpack for Members<R> {
    fn read_some(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.decoder.read(out) {
                Ok(count) => {
                    self.unpacked.count(count)?;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(damage(error)),
            }
        }
    }
}

/// What the decoder complains about, as all errors of unpacking are told; what the source of bytes does stays as it is.
fn damage(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => UnpackError::CutOff(Packing::Gzip).into(),
        ErrorKind::InvalidInput if error.to_string().contains("checksum") => {
            UnpackError::Checksum(Packing::Gzip).into()
        }
        ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            UnpackError::Damaged(Packing::Gzip, error.to_string()).into()
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::trace::unpack::testing::{error, read, text};

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).expect("memory can be written");
        encoder.finish().expect("memory can be written")
    }

    #[test]
    fn packed_texts_come_back_whole() {
        for bytes in [0, 1, 100, 300_000, 3_000_000] {
            assert_eq!(read(packed(&text(bytes))).expect("packed"), text(bytes));
        }
    }

    #[test]
    fn all_members_of_a_file_are_read() {
        let file = [packed(b"first\n"), packed(b""), packed(&text(500_000))].concat();
        assert_eq!(read(file).expect("three members"), [&b"first\n"[..], &text(500_000)].concat());
    }

    #[test]
    fn a_file_that_is_cut_off_says_so_wherever() {
        let whole = packed(&text(400_000));
        for left in (4..whole.len()).step_by(whole.len() / 40) {
            assert_eq!(error(&whole[..left]), UnpackError::CutOff(Packing::Gzip), "{left} of {}", whole.len());
        }
    }

    #[test]
    fn a_wrong_checksum_or_length_is_seen() {
        let whole = packed(&text(1000));
        for from_end in [1, 5] {
            let mut file = whole.clone();
            let at = file.len() - from_end;
            file[at] ^= 1;
            assert_eq!(error(file), UnpackError::Checksum(Packing::Gzip));
        }
    }

    #[test]
    fn what_follows_the_members_is_damage() {
        assert!(matches!(
            error([packed(b"first\n"), b"garbage of some bytes".to_vec()].concat()),
            UnpackError::Damaged(..)
        ));
    }
}
