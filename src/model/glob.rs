//! Glob patterns with exactly the semantics of Redis' `KEYS`, `SCAN MATCH` and ACL key patterns.

use std::fmt;

/// A pattern over key bytes: `*`, `?`, `[abc]`, `[^a-z]`, and `\` to take the next byte as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Glob(Vec<u8>);

impl Glob {
    /// A pattern from its bytes; every byte string is a pattern.
    pub fn new(pattern: impl Into<Vec<u8>>) -> Self {
        Self(pattern.into())
    }

    /// The pattern's own bytes, for `SCAN MATCH`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the pattern matches every key there is.
    pub fn matches_all(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|&b| b == b'*')
    }

    /// Whether the pattern matches the whole of these bytes.
    ///
    /// # Cost
    /// O(pattern × text) at worst: only the last `*` is ever returned to.
    pub fn matches(&self, text: &[u8]) -> bool {
        let pattern = self.0.as_slice();
        let (mut p, mut t) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while t < text.len() {
            if pattern.get(p) == Some(&b'*') {
                if p + 1 == pattern.len() {
                    return true;
                }
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            if let Some(used) = match_one(&pattern[p..], text[t]) {
                p += used;
                t += 1;
                continue;
            }
            let Some((after_star, from)) = retry else {
                return false;
            };
            retry = Some((after_star, from + 1));
            (p, t) = (after_star, from + 1);
        }
        pattern[p..].iter().all(|&b| b == b'*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::escape(&self.0))
    }
}

/// How many pattern bytes matched this one text byte, if they did.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => match_class(pattern, byte),
        b'\\' if pattern.len() >= 2 => (pattern[1] == byte).then_some(2),
        literal => (literal == byte).then_some(1),
    }
}

/// Matches `[...]`; as in Redis, a class that is never closed ends with the pattern.
fn match_class(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    loop {
        match pattern.get(at) {
            None => break,
            Some(b']') => {
                at += 1;
                break;
            }
            Some(b'\\') if at + 1 < pattern.len() => {
                found |= pattern[at + 1] == byte;
                at += 2;
            }
            Some(&low) if at + 2 < pattern.len() && pattern[at + 1] == b'-' => {
                let high = pattern[at + 2];
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                at += 3;
            }
            Some(&literal) => {
                found |= literal == byte;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let table = [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("user:*", "user:1", true),
            ("user:*", "users:1", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hxllo", true),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxx", false),
            ("[abc", "a", true),
            (r"[\]]", "]", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(
                Glob::new(pattern).matches(text.as_bytes()),
                expected,
                "{pattern} on {text}"
            );
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = Glob::new("a*".repeat(50) + "b");
        assert!(!pattern.matches("a".repeat(5_000).as_bytes()));
    }
}
