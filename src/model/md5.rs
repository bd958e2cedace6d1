//! MD5, as RFC 1321 has it: one of the functions by which Dynomite places keys, and good for nothing else.

/// How far each step turns, by the round and the step within four.
const TURNS: [[u32; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

/// The MD5 sum of these bytes.
pub(super) fn md5(bytes: &[u8]) -> [u8; 16] {
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() < bytes.len() + 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&(8 * bytes.len() as u64).to_le_bytes());
    let start = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let (blocks, _) = padded.as_chunks::<64>();
    let state = blocks.iter().fold(start, step);
    let mut sum = [0; 16];
    for (four, word) in sum.chunks_exact_mut(4).zip(state) {
        four.copy_from_slice(&word.to_le_bytes());
    }
    sum
}

fn step(state: [u32; 4], block: &[u8; 64]) -> [u32; 4] {
    let (words, _) = block.as_chunks::<4>();
    let [mut a, mut b, mut c, mut d] = state;
    for turn in 0..64 {
        let (mixed, at) = match turn / 16 {
            0 => (b & c | !b & d, turn),
            1 => (d & b | !d & c, 5 * turn + 1),
            2 => (b ^ c ^ d, 3 * turn + 5),
            _ => (c ^ (b | !d), 7 * turn),
        };
        // The constants of RFC 1321 are a table of sines.
        let sine = (((turn + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
        let word = u32::from_le_bytes(words[at % 16]);
        let sum = a.wrapping_add(mixed).wrapping_add(sine).wrapping_add(word);
        let turned = b.wrapping_add(sum.rotate_left(TURNS[turn / 16][turn % 4]));
        (a, d, c, b) = (d, c, b, turned);
    }
    let sums = [a, b, c, d].into_iter().zip(state);
    let mut next = [0; 4];
    for (place, (now, before)) in next.iter_mut().zip(sums) {
        *place = now.wrapping_add(before);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test suite of RFC 1321.
    #[test]
    fn sums_are_those_of_the_standard() {
        let table = [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                "d174ab98d277d9f5a5611c2c9f419d9f",
            ),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ];
        for (text, sum) in table {
            let found: String = md5(text.as_bytes())
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            assert_eq!(found, sum, "{text}");
        }
    }
}
