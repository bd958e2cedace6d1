//! Digests and their sums.
//!
//! Every digest but that of a position is keyed with a secret of the run, so that nobody who can write keys can aim
//! at a collision. Sums are taken mod 2^256: they do not depend on order, merge by addition, and, unlike XOR, two
//! equal summands do not cancel.

use std::fmt;

/// The version of every digest formula. It leads each digest's input; digests of different versions never compare.
pub const DIGEST_FORMAT: u8 = 2;

/// The secret with which values and entries are digested.
#[derive(Clone)]
pub struct DigestKey([u8; 32]);

impl DigestKey {
    /// A key from 32 secret bytes.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The bytes, for the digesting functions of this room alone.
    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(secret)")
    }
}

/// The canonical digest of a value: equal for equal logical values on every server version and encoding.
///
/// 192 bits of keyed blake3, so that an entry's record stays at 48 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueDigest([u8; ValueDigest::LENGTH]);

impl ValueDigest {
    /// Bytes in a digest.
    pub const LENGTH: usize = 24;

    /// A digest from its bytes.
    pub fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    pub(super) fn truncated(digest: &blake3::Hash) -> Self {
        let mut bytes = [0; Self::LENGTH];
        bytes.copy_from_slice(&digest.as_bytes()[..Self::LENGTH]);
        Self(bytes)
    }
}

impl fmt::Debug for ValueDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "ValueDigest({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// How many digests were added, and their sum mod 2^256: the digest of an unordered multiset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// How many digests are in the sum.
    pub count: u64,
    /// The sum, least significant limb first.
    pub limbs: [u64; 4],
}

impl Sum {
    /// The sum of nothing.
    pub const EMPTY: Self = Self {
        count: 0,
        limbs: [0; 4],
    };

    /// Adds one digest.
    pub fn add(&mut self, digest: &[u8; 32]) {
        *self = self.plus(&Self {
            count: 1,
            limbs: limbs_of(digest),
        });
    }

    /// Takes one digest out that was added before.
    pub fn remove(&mut self, digest: &[u8; 32]) {
        *self = self.minus(&Self {
            count: 1,
            limbs: limbs_of(digest),
        });
    }

    /// The sum of both multisets.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut limbs = [0; 4];
        let mut carry = false;
        for (index, limb) in limbs.iter_mut().enumerate() {
            let (low, first) = self.limbs[index].overflowing_add(other.limbs[index]);
            let (low, second) = low.overflowing_add(u64::from(carry));
            *limb = low;
            carry = first || second;
        }
        Self {
            count: self.count.wrapping_add(other.count),
            limbs,
        }
    }

    /// This multiset without the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut limbs = [0; 4];
        let mut borrow = false;
        for (index, limb) in limbs.iter_mut().enumerate() {
            let (low, first) = self.limbs[index].overflowing_sub(other.limbs[index]);
            let (low, second) = low.overflowing_sub(u64::from(borrow));
            *limb = low;
            borrow = first || second;
        }
        Self {
            count: self.count.wrapping_sub(other.count),
            limbs,
        }
    }

    /// The sum's bytes, least significant first.
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(self.limbs) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }
}

fn limbs_of(digest: &[u8; 32]) -> [u64; 4] {
    let mut limbs = [0; 4];
    for (limb, chunk) in limbs.iter_mut().zip(digest.chunks_exact(8)) {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(chunk);
        *limb = u64::from_le_bytes(bytes);
    }
    limbs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_carry_over_all_limbs_and_back() {
        let mut sum = Sum::EMPTY;
        sum.add(&[0xff; 32]);
        sum.add(&{
            let mut one = [0; 32];
            one[0] = 1;
            one
        });
        assert_eq!(
            sum,
            Sum {
                count: 2,
                limbs: [0; 4]
            }
        );
        sum.remove(&[0xff; 32]);
        assert_eq!(
            sum,
            Sum {
                count: 1,
                limbs: [1, 0, 0, 0]
            }
        );
    }

    #[test]
    fn equal_summands_do_not_cancel() {
        let mut twice = Sum::EMPTY;
        twice.add(&[7; 32]);
        twice.add(&[7; 32]);
        assert_ne!(twice.limbs, Sum::EMPTY.limbs);
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(
            format!("{:?}", DigestKey::new([1; 32])),
            "DigestKey(secret)"
        );
    }
}
