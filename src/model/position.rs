//! Where a key lies in the hashed order.
//!
//! ```text
//! 63           50 49                                    0
//! +--------------+---------------------------------------+
//! | slot (14 bit)| first 50 bits of blake3(key), unkeyed |
//! +--------------+---------------------------------------+
//! ```
//!
//! The slot comes first, so a range of Redis Cluster slots is one contiguous range of positions on every topology.

use std::sync::OnceLock;

/// A Redis Cluster slot, 0 to 16383.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// How many slots there are.
    pub const COUNT: u16 = 16_384;

    /// A slot by its number, if there is one.
    pub fn new(number: u16) -> Option<Self> {
        (number < Self::COUNT).then_some(Self(number))
    }

    /// The slot's number.
    pub fn number(self) -> u16 {
        self.0
    }
}

/// Where a key lies in the hashed order: 14 bits of slot, then 50 bits of blake3 of the key.
///
/// Two keys can share a position; then their bytes decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Bits of the position below the slot.
    pub const KEY_BITS: u32 = 50;

    /// The position of a key.
    pub fn of(key: &[u8]) -> Self {
        let slot = u64::from(key_slot(key).0);
        Self(slot << Self::KEY_BITS | first_bits(key) >> (64 - Self::KEY_BITS))
    }

    /// The position of an element inside one collection: 64 bits of blake3, without a slot.
    pub fn of_element(element: &[u8]) -> Self {
        Self(first_bits(element))
    }

    /// The position with exactly these bits.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits, most significant first in the order.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The slot that the position lies in.
    pub fn slot(self) -> Slot {
        Slot((self.0 >> Self::KEY_BITS) as u16)
    }
}

fn first_bits(bytes: &[u8]) -> u64 {
    let digest = blake3::hash(bytes);
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_be_bytes(first)
}

/// The Redis Cluster slot of a key: CRC16 (XMODEM) of its hash tag, or of the whole key without one.
///
/// The tag lies between the first `{` and the first `}` after it, if not empty (Redis Cluster specification).
pub fn key_slot(key: &[u8]) -> Slot {
    Slot(crc16(hash_tag(key)) % Slot::COUNT)
}

/// The least number that, as a hash tag, puts a key into this slot.
///
/// # Cost
/// The first call finds them all: some 200,000 short checksums.
pub fn slot_tag(slot: Slot) -> u32 {
    static TAGS: OnceLock<Vec<u32>> = OnceLock::new();
    TAGS.get_or_init(all_tags)[usize::from(slot.0)]
}

fn all_tags() -> Vec<u32> {
    let mut tags = vec![None; usize::from(Slot::COUNT)];
    let mut left = tags.len();
    for number in 0_u32.. {
        let tag = &mut tags[usize::from(key_slot(number.to_string().as_bytes()).0)];
        if tag.replace(tag.unwrap_or(number)).is_none() {
            left -= 1;
        }
        if left == 0 {
            break;
        }
    }
    tags.into_iter().flatten().collect()
}

fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&b| b == b'{') else {
        return key;
    };
    match key[open + 1..].iter().position(|&b| b == b'}') {
        Some(length) if length > 0 => &key[open + 1..open + 1 + length],
        _ => key,
    }
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (crc << 8) ^ CRC16_TABLE[usize::from((crc >> 8) as u8 ^ byte)]
    })
}

pub(super) const CRC16_TABLE: [u16; 256] = crc16_table();

const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 {
                crc << 1 ^ 0x1021
            } else {
                crc << 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the Redis Cluster specification and of CLUSTER KEYSLOT on Redis 7.0.15.
    #[test]
    fn every_slot_has_a_tag_that_leads_there() {
        for number in 0..Slot::COUNT {
            let slot = Slot(number);
            let key = format!("reknit:{{{}}}", slot_tag(slot));
            assert_eq!(key_slot(key.as_bytes()), slot);
        }
    }

    #[test]
    fn slots_are_those_of_redis_cluster() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, slot) in [
            ("foo", 12182),
            ("bar", 5061),
            ("", 0),
            ("{user1000}.following", 3443),
        ] {
            assert_eq!(key_slot(key.as_bytes()).number(), slot, "{key}");
        }
        assert_eq!(key_slot(b"{user1000}.followers"), key_slot(b"user1000"));
        assert_eq!(
            key_slot(b"foo{}{bar}"),
            Slot(crc16(b"foo{}{bar}") % Slot::COUNT)
        );
        assert_eq!(key_slot(b"foo{{bar}}zap"), key_slot(b"{bar"));
    }

    /// Frozen: a change here makes old and new reknit disagree on where keys lie. Checked against another
    /// implementation of CRC16 and blake3, in Python.
    #[test]
    fn positions_are_frozen() {
        let seventy = [b'x'; 70];
        let table: [(&[u8], u64); 7] = [
            (b"", 0x0002_bc4d_26e7_d7e6),
            (b"foo", 0xbe58_1382_ece7_cc2c),
            (b"bar", 0x4f17_cba2_5fbb_5f48),
            (b"{user1000}.following", 0x35cc_c6a3_51f6_9d64),
            (b"{user1000}.followers", 0x35cf_6cf7_008d_b53e),
            (b"\x00\xff\r\n", 0x61d6_80bb_ea49_3715),
            (&seventy, 0x9e69_899c_675b_a48d),
        ];
        for (key, bits) in table {
            let position = Position::of(key);
            assert_eq!(position.bits(), bits, "{}", crate::model::escape(key));
            assert_eq!(position.slot(), key_slot(key));
        }
    }

    #[test]
    fn an_element_has_no_slot_in_its_position() {
        assert_eq!(Position::of_element(b"").bits(), 0xaf13_49b9_f5f9_a1a6);
        assert_eq!(Position::of_element(b"foo").bits(), 0x04e0_bb39_f30b_1a3f);
    }
}
