//! CRC-64/NVME checksums of parts and files.
//!
//! Owns how a checksum is combined, parsed and formatted. The checksum of a file follows from those of its parts, so it needs no
//! second read. Does not own how a checksum is computed from bytes: that is `hasher`.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};

/// A CRC-64/NVME, with which S3 checks whole objects by default; written as S3 does: the base64 of its 8 bytes, big-endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Crc64Nvme(u64);

/// Text that is not the base64 of 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a CRC-64/NVME is 8 bytes in base64, such as rosUhgp5mIg=")]
pub struct InvalidCrc64;

impl Crc64Nvme {
    /// The checksum of no bytes.
    pub const EMPTY: Self = Self(0);

    /// The checksum of bytes in a row, from the checksum and the length of each piece, in their order.
    pub fn of_pieces(pieces: impl IntoIterator<Item = (Self, u64)>) -> Self {
        // All parts of a file but the last have one length, so its factor is computed once.
        let (mut whole, mut factor) = (Self::EMPTY, (0, ONE));
        for (piece, bytes) in pieces {
            if factor.0 != bytes {
                factor = (bytes, shift_by(bytes));
            }
            whole = Self(multiply(factor.1, whole.0) ^ piece.0);
        }
        whole
    }

    /// Its 8 bytes, big-endian.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl From<u64> for Crc64Nvme {
    fn from(checksum: u64) -> Self {
        Self(checksum)
    }
}

impl TryFrom<&[u8]> for Crc64Nvme {
    type Error = InvalidCrc64;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidCrc64> {
        bytes.try_into().map(|bytes| Self(u64::from_be_bytes(bytes))).map_err(|_| InvalidCrc64)
    }
}

impl FromStr for Crc64Nvme {
    type Err = InvalidCrc64;

    fn from_str(text: &str) -> Result<Self, InvalidCrc64> {
        STANDARD.decode(text).map_err(|_| InvalidCrc64)?.as_slice().try_into()
    }
}

impl fmt::Display for Crc64Nvme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.to_bytes()))
    }
}

impl fmt::Debug for Crc64Nvme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crc64Nvme({self})")
    }
}

// A checksum is a polynomial over GF(2) modulo the generator; bit 63 is the coefficient of x^0. To append bytes, it is multiplied
// by x to the number of their bits. `crc_fast::checksum_combine` computes the same with a matrix, which takes as long for each piece
// as hashing half a megabyte.

/// The generator of CRC-64/NVME without x^64.
const GENERATOR: u64 = 0x9a6c_9329_ac4b_c9b5;
/// x^0.
const ONE: u64 = 1 << 63;

/// x to the number of bits in `bytes` bytes.
fn shift_by(mut bytes: u64) -> u64 {
    let (mut product, mut power) = (ONE, ONE >> 8);
    while bytes > 0 {
        if bytes & 1 == 1 {
            product = multiply(power, product);
        }
        power = multiply(power, power);
        bytes >>= 1;
    }
    product
}

fn multiply(a: u64, mut b: u64) -> u64 {
    let mut product = 0;
    for bit in (0..u64::BITS).rev() {
        product ^= b & ((a >> bit) & 1).wrapping_neg();
        b = (b >> 1) ^ (GENERATOR & (b & 1).wrapping_neg());
    }
    product
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;
    use crate::domain::Digests;

    fn of(bytes: &[u8]) -> Crc64Nvme {
        Digests::of(bytes).crc64nvme
    }

    #[test]
    fn checksums_are_those_that_the_catalogue_and_s3_have() {
        assert_eq!(of(b"123456789"), Crc64Nvme(0xae8b_1486_0a79_9888));
        assert_eq!(of(b"123456789").to_string(), "rosUhgp5mIg=");
        assert_eq!(of(b""), Crc64Nvme::EMPTY);
        // From the specification of NVM Express, §5.2.1.3.4: 4 KiB of zeros, of ones, and of rising numbers.
        assert_eq!(of(&[0; 4096]), Crc64Nvme(0x6482_d367_eb22_b64e));
        assert_eq!(of(&[0xff; 4096]), Crc64Nvme(0xc0dd_ba73_02ec_a3ac));
    }

    #[test]
    fn text_is_the_base64_of_8_bytes() {
        assert_eq!("rosUhgp5mIg=".parse(), Ok(of(b"123456789")));
        assert_eq!(Crc64Nvme::try_from(of(b"abc").to_bytes().as_slice()), Ok(of(b"abc")));
        for bad in
            ["", "rosUhgp5mIg", "rosUhgp5mA==", "rosUhgp5mIgA", "ae8b14860a799888", " rosUhgp5mIg=", "***********="]
        {
            assert_eq!(bad.parse::<Crc64Nvme>(), Err(InvalidCrc64), "{bad}");
        }
    }

    #[test]
    fn a_long_piece_is_combined_as_the_crate_does_it() {
        let (first, second) = (of(b"abc"), of(b"def"));
        for bytes in [1, 5 << 20, (5 << 40) + 12_345, u64::MAX] {
            let expected = crc_fast::checksum_combine(crc_fast::CrcAlgorithm::Crc64Nvme, first.0, second.0, bytes);
            assert_eq!(Crc64Nvme::of_pieces([(first, 3), (second, bytes)]), Crc64Nvme(expected), "{bytes}");
        }
    }

    proptest! {
        /// Checksums of pieces, computed in any order, make that of the whole.
        #[test]
        fn the_pieces_make_the_whole(
            bytes in vec(any::<u8>(), 0..5_000),
            cuts in vec(any::<Index>(), 0..20),
            order in any::<u64>(),
        ) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let mut pieces: Vec<_> = at.windows(2).enumerate().map(|(number, ends)| (number, &bytes[ends[0]..ends[1]])).collect();
            pieces.sort_by_key(|(number, _)| order.rotate_left(u32::try_from(*number).unwrap() * 7) ^ *number as u64);
            let mut known: Vec<_> = pieces.into_iter().map(|(number, piece)| (number, of(piece), piece.len() as u64)).collect();
            known.sort_by_key(|(number, ..)| *number);
            prop_assert_eq!(Crc64Nvme::of_pieces(known.into_iter().map(|(_, crc, len)| (crc, len))), of(&bytes));
        }
    }
}
