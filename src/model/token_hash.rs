//! The hash functions by which Dynomite places keys: a key, or its hash tag, to a token of 32 bits.
//!
//! Each exactly as Dynomite computes it, which is not always what its name promises: `crc16` keeps the bits that it
//! shifts out, `crc32` keeps 15 bits of the checksum, the functions of 64 bits answer 32, `fnv1a_64` multiplies in 32,
//! `one_at_a_time` takes bytes as signed, and `murmur3` computes nothing at all: every key gets token 0.
//!
//! Deliberately absent: who owns a token, which is [`super::Ring`]'s business.

use std::fmt;
use std::str::FromStr;

use super::md5::md5;

/// A hash function, by the name that Dynomite's configuration gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum TokenHash {
    /// Jenkins' one at a time.
    OneAtATime,
    /// The first four bytes of MD5.
    Md5,
    /// CRC-16 XMODEM, not cut to 16 bits.
    Crc16,
    /// 15 bits of CRC-32.
    Crc32,
    /// CRC-32.
    Crc32a,
    /// The lower half of FNV-1 of 64 bits.
    Fnv1x64,
    /// FNV-1a of 64 bits, computed in 32.
    Fnv1ax64,
    /// FNV-1 of 32 bits.
    Fnv1x32,
    /// FNV-1a of 32 bits.
    Fnv1ax32,
    /// Hsieh's fast hash.
    Hsieh,
    /// MurmurHash2.
    #[default]
    Murmur,
    /// Jenkins' lookup3.
    Jenkins,
    /// Always 0.
    Murmur3,
}

impl TokenHash {
    /// All, in the order of Dynomite's own list.
    pub const ALL: [Self; 13] = [
        Self::OneAtATime,
        Self::Md5,
        Self::Crc16,
        Self::Crc32,
        Self::Crc32a,
        Self::Fnv1x64,
        Self::Fnv1ax64,
        Self::Fnv1x32,
        Self::Fnv1ax32,
        Self::Hsieh,
        Self::Murmur,
        Self::Jenkins,
        Self::Murmur3,
    ];

    /// Its name in Dynomite's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneAtATime => "one_at_a_time",
            Self::Md5 => "md5",
            Self::Crc16 => "crc16",
            Self::Crc32 => "crc32",
            Self::Crc32a => "crc32a",
            Self::Fnv1x64 => "fnv1_64",
            Self::Fnv1ax64 => "fnv1a_64",
            Self::Fnv1x32 => "fnv1_32",
            Self::Fnv1ax32 => "fnv1a_32",
            Self::Hsieh => "hsieh",
            Self::Murmur => "murmur",
            Self::Jenkins => "jenkins",
            Self::Murmur3 => "murmur3",
        }
    }

    /// The token of these bytes.
    pub fn of(self, bytes: &[u8]) -> u32 {
        match self {
            Self::OneAtATime => one_at_a_time(bytes),
            Self::Md5 => word(&md5(bytes)),
            Self::Crc16 => crc16(bytes),
            Self::Crc32 => (crc32(bytes) >> 16) & 0x7fff,
            Self::Crc32a => crc32(bytes),
            Self::Fnv1x64 => fnv1_64(bytes),
            Self::Fnv1ax64 => fnv1a(bytes, 0x8422_2325, 0x1b3),
            Self::Fnv1x32 => fnv1_32(bytes),
            Self::Fnv1ax32 => fnv1a(bytes, FNV_START, FNV_PRIME),
            Self::Hsieh => hsieh(bytes),
            Self::Murmur => murmur(bytes),
            Self::Jenkins => jenkins(bytes, 13),
            Self::Murmur3 => 0,
        }
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TokenHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|hash| hash.name() == text)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("`{text}` is no hash of dynomite's, which has {names}")
            })
    }
}

fn word(bytes: &[u8]) -> u32 {
    let rising = bytes.iter().take(4).enumerate();
    rising.fold(0, |word, (place, byte)| {
        word | u32::from(*byte) << (8 * place)
    })
}

fn one_at_a_time(bytes: &[u8]) -> u32 {
    let mut hash = bytes.iter().fold(0_u32, |hash, byte| {
        let mixed = hash.wrapping_add(i32::from(byte.cast_signed()).cast_unsigned());
        let mixed = mixed.wrapping_add(mixed << 10);
        mixed ^ mixed >> 6
    });
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

fn crc16(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0_u32, |crc, byte| {
        let index = (crc >> 8) as u8 ^ byte;
        crc << 8 ^ u32::from(super::position::CRC16_TABLE[usize::from(index)])
    })
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
            1 => crc >> 1 ^ 0xedb8_8320,
            _ => crc >> 1,
        })
    })
}

const FNV_START: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

fn fnv1_64(bytes: &[u8]) -> u32 {
    let start = 0xcbf2_9ce4_8422_2325_u64;
    let step = |hash: u64, byte: &u8| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte);
    bytes.iter().fold(start, step) as u32
}

fn fnv1_32(bytes: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| hash.wrapping_mul(FNV_PRIME) ^ u32::from(*byte);
    bytes.iter().fold(FNV_START, step)
}

fn fnv1a(bytes: &[u8], start: u32, prime: u32) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(prime);
    bytes.iter().fold(start, step)
}

fn hsieh(bytes: &[u8]) -> u32 {
    let (fours, rest) = bytes.as_chunks::<4>();
    let mut hash = fours.iter().fold(0_u32, |hash, four| {
        let hash = hash.wrapping_add(word(&four[..2]));
        let mixed = hash << 16 ^ word(&four[2..]) << 11 ^ hash;
        mixed.wrapping_add(mixed >> 11)
    });
    match rest {
        [_, _, last] => {
            hash = hash.wrapping_add(word(&rest[..2]));
            hash ^= hash << 16 ^ u32::from(*last) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [_, _] => {
            hash = hash.wrapping_add(word(rest));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [last] => {
            hash = hash.wrapping_add(u32::from(*last));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    for (left, right) in [(3, 5), (4, 17), (25, 6)] {
        hash ^= hash << left;
        hash = hash.wrapping_add(hash >> right);
    }
    hash
}

fn murmur(bytes: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    let length = bytes.len() as u32;
    let start = 0xdead_beef_u32.wrapping_mul(length) ^ length;
    let (fours, rest) = bytes.as_chunks::<4>();
    let mut hash = fours.iter().fold(start, |hash, four| {
        let mixed = u32::from_le_bytes(*four).wrapping_mul(MIX);
        let mixed = (mixed ^ mixed >> 24).wrapping_mul(MIX);
        hash.wrapping_mul(MIX) ^ mixed
    });
    if !rest.is_empty() {
        hash = (hash ^ word(rest)).wrapping_mul(MIX);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(MIX);
    hash ^ hash >> 15
}

/// Lookup3 of Bob Jenkins, for little-endian machines.
fn jenkins(bytes: &[u8], start: u32) -> u32 {
    let start = 0xdead_beef_u32
        .wrapping_add(bytes.len() as u32)
        .wrapping_add(start);
    let mut state = [start; 3];
    let mut rest = bytes;
    while rest.len() > 12 {
        take_words(&mut state, &rest[..12]);
        mix(&mut state);
        rest = &rest[12..];
    }
    if !rest.is_empty() {
        take_words(&mut state, rest);
        finish(&mut state);
    }
    state[2]
}

fn take_words(state: &mut [u32; 3], bytes: &[u8]) {
    for (part, four) in state.iter_mut().zip(bytes.chunks(4)) {
        *part = part.wrapping_add(word(four));
    }
}

fn mix([a, b, c]: &mut [u32; 3]) {
    let step = |x: &mut u32, y: &mut u32, z: u32, by: u32| {
        *x = x.wrapping_sub(*y) ^ y.rotate_left(by);
        *y = y.wrapping_add(z);
    };
    step(a, c, *b, 4);
    step(b, a, *c, 6);
    step(c, b, *a, 8);
    step(a, c, *b, 16);
    step(b, a, *c, 19);
    step(c, b, *a, 4);
}

fn finish([a, b, c]: &mut [u32; 3]) {
    let step = |x: &mut u32, y: u32, by: u32| *x = (*x ^ y).wrapping_sub(y.rotate_left(by));
    step(c, *b, 14);
    step(a, *c, 11);
    step(b, *a, 25);
    step(c, *b, 16);
    step(a, *c, 4);
    step(b, *a, 14);
    step(c, *b, 24);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What other implementations answer: those that the authors of the functions published.
    #[test]
    fn known_answers_of_the_functions_themselves() {
        assert_eq!(jenkins(b"Four score and seven years ago", 0), 0x1777_0551);
        assert_eq!(one_at_a_time(b"a"), 0xca2e_9442);
        let fox = b"The quick brown fox jumps over the lazy dog";
        assert_eq!(one_at_a_time(fox), 0x519e_91f5);
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc16(b"123456789") & 0xffff, 0x31c3);
        assert_eq!(TokenHash::Fnv1ax32.of(b"foobar"), 0xbf9c_f968);
        assert_eq!(TokenHash::Fnv1x32.of(b"foobar"), 0x31f0_b262);
        assert_eq!(TokenHash::Fnv1x64.of(b"foobar"), 0xa4dd_a9c2);
    }

    /// Tokens that a Dynomite cluster itself gave to keys: `tests/fixtures/dynomite/tokens.log`.
    #[test]
    fn murmur_is_what_dynomite_computes() {
        let table = [
            ("foo", 3_303_027_599),
            ("bar", 516_654_467),
            ("key:1", 3_691_594_071),
            ("key:2", 1_027_041_185),
            ("key:3", 4_199_861_865),
            ("a", 1_262_581_116),
            ("ab", 3_820_310_011),
            ("abc", 2_064_434_216),
            ("abcd", 4_016_735_919),
            ("abcde", 2_586_197_722),
            ("user1", 766_992_236),
            ("{user1}name", 1_637_958_085),
            ("hello world", 1_578_702_139),
            ("", 0),
        ];
        for (key, token) in table {
            assert_eq!(TokenHash::Murmur.of(key.as_bytes()), token, "{key}");
        }
    }

    /// The tokens of the keys below, by function.
    const FROZEN: [(&str, [u32; 7]); 13] = [
        (
            "one_at_a_time",
            [
                0, 3392050242, 596015325, 1219215491, 1045060183, 1431610783, 1548765727,
            ],
        ),
        (
            "md5",
            [
                3649838548, 3111502092, 3675831724, 1591855396, 3141252702, 2223163531, 2464450274,
            ],
        ),
        (
            "crc16",
            [
                0, 31879, 205303702, 1389748138, 4060494820, 3194004975, 2463782039,
            ],
        ),
        ("crc32", [0, 26807, 3187, 3153, 3402, 15614, 17710]),
        (
            "crc32a",
            [
                0, 3904355907, 2356372769, 2354152789, 222957957, 1023316920, 1160670377,
            ],
        ),
        (
            "fnv1_64",
            [
                2216829733, 2248259518, 1805727027, 1518405085, 2979073647, 3458729158, 4047756222,
            ],
        ),
        (
            "fnv1a_64",
            [
                2216829733, 2248273036, 4275688823, 1653384025, 37540583, 428316748, 1179901232,
            ],
        ),
        (
            "fnv1_32",
            [
                2166136261, 84696446, 1083137555, 344153533, 1418570095, 2915549798, 4112946718,
            ],
        ),
        (
            "fnv1a_32",
            [
                2166136261, 3826002220, 2851307223, 2692558073, 3582672807, 3691133324, 2594918448,
            ],
        ),
        (
            "hsieh",
            [
                0, 2472816263, 1993659431, 1467421392, 1333368947, 207602056, 3693454852,
            ],
        ),
        (
            "murmur",
            [
                0, 1262581116, 3303027599, 766992236, 1578702139, 1718398639, 2419947375,
            ],
        ),
        (
            "jenkins",
            [
                3735928572, 3768813200, 2583187353, 3252678065, 355681275, 448292786, 2259769362,
            ],
        ),
        ("murmur3", [0; 7]),
    ];

    /// Frozen, computed by another implementation, in Python, of what Dynomite's sources do.
    #[test]
    fn every_function_is_frozen() {
        let keys: [&[u8]; 7] = [
            b"",
            b"a",
            b"foo",
            b"user1",
            b"hello world",
            b"Four score and seven years ago",
            b"\x00\xff\x80\xfe\xaa",
        ];
        for ((name, tokens), hash) in FROZEN.into_iter().zip(TokenHash::ALL) {
            assert_eq!(name.parse(), Ok(hash));
            for (key, token) in keys.iter().zip(tokens) {
                assert_eq!(
                    hash.of(key),
                    token,
                    "{name} of {}",
                    crate::model::escape(key)
                );
            }
        }
        assert!(
            "murmur4"
                .parse::<TokenHash>()
                .unwrap_err()
                .contains("murmur3")
        );
    }
}
