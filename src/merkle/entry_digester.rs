//! The one formula by which entries become summands of trees and buckets.

use crate::model::{DigestKey, Digester, EntryRef, Expiry, ExpiryRule, Kind, Millis, ValueDigest};

use super::Listed;

/// Digests the entries of one side. All sides of a diff have the same secret and expiry rule, and different numbers.
#[derive(Debug, Clone)]
pub struct EntryDigester {
    digester: Digester,
    expiry: ExpiryRule,
    side: u32,
}

impl EntryDigester {
    /// A digester for the side with this number.
    pub fn new(key: DigestKey, expiry: ExpiryRule, side: u32) -> Self {
        Self {
            digester: Digester::new(key),
            expiry,
            side,
        }
    }

    /// How expiries count.
    pub fn expiry(&self) -> ExpiryRule {
        self.expiry
    }

    /// The side's number.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// What the entry adds to the sums above it.
    ///
    /// An unreadable entry adds its side's number in place of a value, so it equals nothing on any other side.
    pub fn digest(&mut self, listed: &Listed<'_>) -> [u8; 32] {
        let entry = match *listed {
            Listed::Readable(entry) => match self.expiry {
                ExpiryRule::Longest => entry,
                ExpiryRule::Ignore => EntryRef {
                    expiry: Expiry::Never,
                    ..entry
                },
            },
            Listed::Unreadable { position, key } => EntryRef {
                position,
                key,
                kind: Kind::Module,
                digest: self.unreadable_value(),
                expiry: Expiry::At(Millis(i64::MIN)),
            },
        };
        self.digester.entry(&entry)
    }

    /// No value digest, being one of blake3, is ever this.
    fn unreadable_value(&self) -> ValueDigest {
        let mut bytes = *b"unreadable on side: ....";
        bytes[20..].copy_from_slice(&self.side.to_le_bytes());
        ValueDigest::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::fixture::hex;
    use crate::model::Position;

    fn digester(expiry: ExpiryRule, side: u32) -> EntryDigester {
        EntryDigester::new(DigestKey::new([7; 32]), expiry, side)
    }

    fn entry(expiry: Expiry) -> Listed<'static> {
        Listed::Readable(EntryRef {
            position: Position::of(b"foo"),
            key: b"foo",
            kind: Kind::String,
            digest: ValueDigest::from_bytes([1; 24]),
            expiry,
        })
    }

    /// Frozen, and checked against the formula in Python.
    #[test]
    fn the_digest_of_an_entry_is_frozen() {
        let digest = digester(ExpiryRule::Longest, 0).digest(&entry(Expiry::At(Millis(5))));
        assert_eq!(
            hex(&digest),
            "2434ffd37eb171b5564967f693c680e09881682c124c24534c84c90006efb2f7"
        );
    }

    #[test]
    fn an_unreadable_entry_is_unlike_any_other_side() {
        let unreadable = Listed::Unreadable {
            position: Position::of(b"foo"),
            key: b"foo",
        };
        let [first, second] = [0, 1].map(|side| {
            let mut digester = digester(ExpiryRule::Longest, side);
            digester.digest(&unreadable)
        });
        assert_ne!(first, second);
    }

    #[test]
    fn sides_agree_on_what_they_can_read() {
        let [first, second] = [0, 1]
            .map(|side| digester(ExpiryRule::Longest, side).digest(&entry(Expiry::At(Millis(5)))));
        assert_eq!(first, second);
    }

    #[test]
    fn expiry_counts_only_where_the_rule_says_so() {
        let [at, never] = [Expiry::At(Millis(5)), Expiry::Never].map(entry);
        let mut exact = digester(ExpiryRule::Longest, 0);
        assert_ne!(exact.digest(&at), exact.digest(&never));
        let mut ignoring = digester(ExpiryRule::Ignore, 0);
        assert_eq!(ignoring.digest(&at), ignoring.digest(&never));
        assert_eq!(ignoring.digest(&at), exact.digest(&never));
    }
}
