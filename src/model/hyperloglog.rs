//! HyperLogLogs as Redis stores them: a validated header, then 16384 registers of 6 bits, dense or run-length coded.
//!
//! Layout from Redis' `hyperloglog.c`: `HYLL`, one byte of encoding (0 dense, 1 sparse), three zero bytes, eight bytes
//! of cached cardinality (the top bit says stale), then the registers.

/// How many registers a HyperLogLog has.
pub const REGISTER_COUNT: usize = 16_384;

const HEADER: usize = 16;
const DENSE_BYTES: usize = REGISTER_COUNT * 6 / 8;
const SPARSE_MAX_VALUE: u8 = 32;

/// The registers of a HyperLogLog: its logical value, whatever the encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registers(Box<[u8]>);

impl Registers {
    /// Reads a HyperLogLog; nothing if the bytes are not a valid one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER || !bytes.starts_with(b"HYLL") || bytes[5..8] != [0; 3] {
            return None;
        }
        let body = &bytes[HEADER..];
        match bytes[4] {
            0 => parse_dense(body),
            1 => parse_sparse(body),
            _ => None,
        }
    }

    /// Writes the registers densely, with the cached cardinality marked stale.
    pub fn to_dense(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + DENSE_BYTES];
        bytes[..4].copy_from_slice(b"HYLL");
        bytes[15] = 0x80;
        for (index, &value) in self.0.iter().enumerate() {
            let (byte, shift) = (HEADER + index * 6 / 8, index * 6 % 8);
            bytes[byte] |= value << shift;
            if shift > 2 {
                bytes[byte + 1] |= value >> (8 - shift);
            }
        }
        bytes
    }

    /// The registers as bytes, one each.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The register-wise maximum: the HyperLogLog of the union.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(a, b)| *a.max(b))
                .collect(),
        )
    }
}

fn parse_dense(body: &[u8]) -> Option<Registers> {
    if body.len() != DENSE_BYTES {
        return None;
    }
    let register = |index: usize| {
        let (byte, shift) = (index * 6 / 8, index * 6 % 8);
        let high = body.get(byte + 1).copied().unwrap_or(0);
        ((u16::from(body[byte]) | u16::from(high) << 8) >> shift) as u8 & 0x3f
    };
    Some(Registers((0..REGISTER_COUNT).map(register).collect()))
}

/// Opcodes: `00xxxxxx` zeros (x+1), `01xxxxxx yyyyyyyy` many zeros (xy+1), `1vvvvvxx` value v+1, x+1 times.
fn parse_sparse(body: &[u8]) -> Option<Registers> {
    let mut registers = Vec::with_capacity(REGISTER_COUNT);
    let mut rest = body.iter();
    while let Some(&opcode) = rest.next() {
        let (value, run) = match opcode >> 6 {
            0 => (0, usize::from(opcode & 0x3f) + 1),
            1 => (
                0,
                (usize::from(opcode & 0x3f) << 8 | usize::from(*rest.next()?)) + 1,
            ),
            _ => ((opcode >> 2 & 0x1f) + 1, usize::from(opcode & 3) + 1),
        };
        if value > SPARSE_MAX_VALUE || registers.len() + run > REGISTER_COUNT {
            return None;
        }
        registers.resize(registers.len() + run, value);
    }
    (registers.len() == REGISTER_COUNT).then(|| Registers(registers.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse(body: &[u8]) -> Vec<u8> {
        let mut bytes = b"HYLL\x01\0\0\0".to_vec();
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn dense_and_sparse_of_the_same_registers_are_equal() {
        // 100 zeros, value 3 twice, then zeros to the end.
        let rest = REGISTER_COUNT - 102 - 1;
        let bytes = sparse(&[
            0x40,
            99,
            0x80 | 2 << 2 | 1,
            0x40 | (rest >> 8) as u8,
            (rest & 0xff) as u8,
        ]);
        let registers = Registers::parse(&bytes).unwrap();
        assert_eq!(registers.as_slice()[99..103], [0, 3, 3, 0]);
        assert_eq!(Registers::parse(&registers.to_dense()).unwrap(), registers);
    }

    #[test]
    fn a_string_that_only_looks_like_one_is_none() {
        assert_eq!(Registers::parse(b"HYLL"), None);
        assert_eq!(Registers::parse(&sparse(&[0x00])), None);
        assert_eq!(Registers::parse(&sparse(&[0x7f, 0xff, 0x00])), None);
        let mut dense = Registers(vec![0; REGISTER_COUNT].into()).to_dense();
        dense[4] = 2;
        assert_eq!(Registers::parse(&dense), None);
    }
}
