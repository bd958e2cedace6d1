//! Which node of a rack holds a key: a ring of tokens, as Dynomite places keys.
//!
//! ```text
//!            hash tag, or key ─▶ hash ─▶ 766992236
//!                                           │
//!   tokens   100 ───────────────────────────┼──────▶ 2147483747 ─▶ (round) 100
//!   nodes    n1                             └────────▶ n2
//! ```
//!
//! The owner is the node with the smallest token that is not below the hash, else the one with the smallest of all.
//!
//! Deliberately absent: virtual nodes beyond several tokens of one node, and `distribution`, which Dynomite ignores.

use std::collections::BTreeMap;

use super::TokenHash;

/// How keys become tokens: the same in every rack of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Placement {
    /// The hash function.
    pub hash: TokenHash,
    /// The two characters between which a key's hash tag stands.
    pub tag: Option<[u8; 2]>,
}

impl Placement {
    /// The token of a key: that of its hash tag, if it has one that is not empty.
    pub fn token(&self, key: &[u8]) -> u32 {
        let tagged = self.tag.and_then(|marks| tag(key, marks));
        self.hash.of(tagged.unwrap_or(key))
    }
}

/// What stands between the first opening and the first closing after it.
fn tag(key: &[u8], [opening, closing]: [u8; 2]) -> Option<&[u8]> {
    let start = key.iter().position(|byte| *byte == opening)? + 1;
    let length = key[start..].iter().position(|byte| *byte == closing)?;
    (length > 0).then(|| &key[start..start + length])
}

/// The tokens of a rack, each with the index of the node that has it.
///
/// Invariant: there is at least one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    placement: Placement,
    tokens: BTreeMap<u32, usize>,
}

/// Why tokens make no ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingError {
    /// This node has none.
    NoToken(usize),
    /// These two nodes have the same one.
    Twice(u32, usize, usize),
}

impl Ring {
    /// The ring of these nodes' tokens.
    ///
    /// # Errors
    /// When a node has no token, or two nodes have the same: it would not be told which of them holds a key.
    pub fn new(placement: Placement, nodes: &[Vec<u32>]) -> Result<Self, RingError> {
        let mut tokens = BTreeMap::new();
        for (node, own) in nodes.iter().enumerate() {
            if own.is_empty() {
                return Err(RingError::NoToken(node));
            }
            for token in own {
                if let Some(other) = tokens.insert(*token, node) {
                    return Err(RingError::Twice(*token, other, node));
                }
            }
        }
        match tokens.is_empty() {
            true => Err(RingError::NoToken(0)),
            false => Ok(Self { placement, tokens }),
        }
    }

    /// The node that holds a key, by its index.
    pub fn owner(&self, key: &[u8]) -> usize {
        let token = self.placement.token(key);
        let above = self.tokens.range(token..).next();
        let owner = above.or_else(|| self.tokens.first_key_value());
        *owner.expect("a ring has a token").1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(hash: TokenHash, tokens: &[u32]) -> Ring {
        let placement = Placement {
            hash,
            tag: Some(*b"{}"),
        };
        let nodes: Vec<Vec<u32>> = tokens.iter().map(|token| vec![*token]).collect();
        Ring::new(placement, &nodes).unwrap()
    }

    #[test]
    fn a_key_is_at_the_smallest_token_that_is_not_below_it_and_else_at_the_smallest() {
        // user1 has the token 766992236, foo 3303027599.
        let two = ring(TokenHash::Murmur, &[100, 2_147_483_747]);
        assert_eq!((two.owner(b"user1"), two.owner(b"foo")), (1, 0));
        assert_eq!(two.owner(b""), 0);
        let exact = ring(TokenHash::Murmur, &[5, 766_992_236, 766_992_237]);
        assert_eq!(exact.owner(b"user1"), 1);
        let one = ring(TokenHash::Murmur, &[1_383_429_731]);
        assert_eq!((one.owner(b"user1"), one.owner(b"foo")), (0, 0));
        // All of murmur3 is at the smallest token.
        let three = ring(TokenHash::Murmur3, &[9, 7, 8]);
        assert_eq!((three.owner(b"user1"), three.owner(b"foo")), (1, 1));
    }

    #[test]
    fn a_tag_takes_the_key_s_place() {
        let placement = Placement {
            hash: TokenHash::Murmur,
            tag: Some(*b"{}"),
        };
        let of = |key: &[u8]| placement.token(key);
        assert_eq!(of(b"{user1}name"), 766_992_236);
        assert_eq!(of(b"x{user1}{y}"), 766_992_236);
        // An empty one, or none, is no tag; nor is one that is closed before it opens.
        for key in [&b"{}user1"[..], b"{user1", b"user1}", b"}user1{"] {
            assert_eq!(of(key), TokenHash::Murmur.of(key));
        }
        let bars = Placement {
            tag: Some(*b"||"),
            ..placement
        };
        assert_eq!(bars.token(b"|user1|name"), 766_992_236);
        let untagged = Placement {
            tag: None,
            ..placement
        };
        assert_eq!(untagged.token(b"{user1}name"), 1_637_958_085);
    }

    #[test]
    fn tokens_that_make_no_ring_are_told() {
        let new = |nodes: &[Vec<u32>]| Ring::new(Placement::default(), nodes);
        assert_eq!(new(&[]), Err(RingError::NoToken(0)));
        assert_eq!(new(&[vec![1], vec![]]), Err(RingError::NoToken(1)));
        assert_eq!(
            new(&[vec![1, 2], vec![3, 2]]),
            Err(RingError::Twice(2, 0, 1))
        );
        assert_eq!(new(&[vec![1, 1]]), Err(RingError::Twice(1, 0, 0)));
    }
}
