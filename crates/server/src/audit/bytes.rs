//! Bytes that are read from the front: the form in which entries, notes, keys and the journal are stored.
//!
//! Owns the documented encoding of numbers and texts, and takes only what its writer would have written: an integer is written
//! zigzag, seven bits a byte, the lowest first, in as few bytes as it needs; text and other bytes stand after their length.

/// What is left. `None` from any reader: these bytes end too early, or nobody would have written them so.
#[derive(Clone, Copy)]
pub struct Rest<'a>(pub &'a [u8]);

impl<'a> Rest<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(count)?;
        self.0 = left;
        Some(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn int(&mut self) -> Option<i64> {
        let (mut int, mut shift) = (0_u64, 0_u32);
        loop {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit, and a last byte of nothing was not needed.
            if shift > 63 || (shift == 63 && bits > 1) || (byte == 0 && shift > 0) {
                return None;
            }
            int |= bits << shift;
            if byte < 0x80 {
                return Some((int >> 1) as i64 ^ -((int & 1) as i64));
            }
            shift += 7;
        }
    }

    pub fn blob(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.int()?).ok()?;
        self.take(length)
    }

    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.blob()?).ok()
    }
}
