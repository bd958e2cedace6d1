//! A Dynomite rack as a replica: its nodes with their tokens, and how keys are placed among them.
//!
//! ```yaml
//! - name: dc1-rack1
//!   layout: dynomite
//!   hash: murmur
//!   hash_tag: "{}"
//!   nodes:
//!     - { url: redis://10.0.0.1:22122, tokens: 100 }
//!     - { url: redis://10.0.0.2:22122, tokens: 2147483747 }
//! ```
//!
//! A rack of one node needs neither nodes nor tokens: its `url` is enough.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Error, SeqAccess, Visitor};

use super::error::Contradiction;
use super::raw::RawReplica;
use super::{ReplicaUrl, YamlPath};
use crate::model::{Address, Layout, Placement, Ring, RingError, TokenHash};

/// How many nodes a rack may have.
pub const MAX_NODES: usize = 256;

/// The nodes of a rack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RackConfig {
    /// Where they listen, in the order of the ring's indexes.
    pub nodes: Vec<Address>,
    /// How keys are placed among them.
    pub placement: Placement,
    /// Which of them holds a key.
    pub ring: Ring,
}

/// A node as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with `url` and `tokens`")]
pub(super) struct RawNode {
    url: String,
    tokens: Tokens,
}

/// Tokens as they are written, here and in Dynomite's own files: a number, a list, or a text with commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens(pub Vec<u32>);

impl Tokens {
    /// Reads a text with commas.
    ///
    /// # Errors
    /// What is no token.
    pub fn parse(text: &str) -> Result<Self, String> {
        let one = |part: &str| {
            let part = part.trim();
            let token = part
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| part.parse().ok());
            token.flatten().ok_or_else(|| {
                format!(
                    "`{part}` is not a token, write a whole number from 0 to {}",
                    u32::MAX
                )
            })
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }
}

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TokensVisitor)
    }
}

/// Not an untagged enum: that would not say what is wrong.
struct TokensVisitor;

impl<'de> Visitor<'de> for TokensVisitor {
    type Value = Tokens;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token, or several with commas")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Tokens, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Tokens, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Tokens, E> {
        Tokens::parse(text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tokens, A::Error> {
        let mut all = Vec::new();
        while let Some(Tokens(some)) = items.next_element()? {
            all.extend(some);
        }
        Ok(Tokens(all))
    }
}

/// The URL that stands for a replica: its own, or that of its first node.
pub(super) fn url_of<'a>(raw: &'a RawReplica, at: &YamlPath) -> Result<&'a str, Contradiction> {
    match (raw.url.as_str(), raw.nodes.as_deref()) {
        ("", None) => Err(Contradiction::new(
            at.clone(),
            "missing key `url`",
            "add `url:`",
        )),
        ("", Some([])) => Err(Contradiction::new(
            at.key("nodes"),
            "the rack has no nodes",
            "name all of them",
        )),
        ("", Some([first, ..])) => Ok(&first.url),
        (url, None) => Ok(url),
        (_, Some(_)) => Err(Contradiction::new(
            at.key("nodes"),
            "the rack has a url too",
            "keep `url` for a rack of one node, `nodes` for one of several",
        )),
    }
}

/// Reads the nodes of a rack; nothing where there is one server, named by its URL.
pub(super) fn rack(
    raw: &RawReplica,
    layout: Layout,
    at: &YamlPath,
) -> Result<Option<RackConfig>, Contradiction> {
    let placement = placement(raw, layout, at)?;
    let Some(nodes) = &raw.nodes else {
        return Ok(None);
    };
    let nodes_at = at.key("nodes");
    if nodes.len() > MAX_NODES {
        let what = format!("{} nodes are more than {MAX_NODES}", nodes.len());
        return Err(Contradiction::new(nodes_at, what, "a rack has fewer"));
    }
    let mut addresses: Vec<Address> = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let address = address(&node.url, nodes_at.item(index).key("url"))?;
        if addresses.contains(&address) {
            let what = "another node of the rack listens there";
            let advice = "write all tokens of a node beside it: tokens: \"1,2\"";
            return Err(Contradiction::new(
                nodes_at.item(index).key("url"),
                what,
                advice,
            ));
        }
        addresses.push(address);
    }
    let tokens: Vec<Vec<u32>> = nodes.iter().map(|node| node.tokens.0.clone()).collect();
    let ring = Ring::new(placement, &tokens).map_err(|error| {
        let (node, what) = match error {
            RingError::NoToken(node) => (node, "the node has no token".to_owned()),
            RingError::Twice(token, other, node) => (
                node,
                format!("token {token} is that of node {} as well", other + 1),
            ),
        };
        let advice = "write what `tokens` says in the node's own configuration";
        Contradiction::new(nodes_at.item(node).key("tokens"), what, advice)
    })?;
    Ok(Some(RackConfig {
        nodes: addresses,
        placement,
        ring,
    }))
}

fn address(url: &str, at: YamlPath) -> Result<Address, Contradiction> {
    let url = ReplicaUrl::parse(url).map_err(|error| Contradiction {
        path: at.clone(),
        what: error.to_string(),
        advice: None,
    })?;
    if url.username.is_some() || url.password.is_some() || url.db.is_some() {
        let what = "the url of a node names an address alone";
        let advice = "write username and password_file beside `nodes`, for all of them";
        return Err(Contradiction::new(at, what, advice));
    }
    Ok(url.address)
}

fn placement(raw: &RawReplica, layout: Layout, at: &YamlPath) -> Result<Placement, Contradiction> {
    let named = [
        ("nodes", raw.nodes.is_some()),
        ("hash", raw.hash.is_some()),
        ("hash_tag", raw.hash_tag.is_some()),
    ];
    if let Some((key, _)) = named
        .iter()
        .find(|(_, there)| *there && layout == Layout::Plain)
    {
        let what = "only a rack of dynomite has this";
        return Err(Contradiction::new(
            at.key(key),
            what,
            "add layout: dynomite",
        ));
    }
    let hash = raw
        .hash
        .as_deref()
        .map_or(Ok(TokenHash::default()), str::parse);
    let hash = hash.map_err(|what| Contradiction {
        path: at.key("hash"),
        what,
        advice: None,
    })?;
    let tag = raw.hash_tag.as_deref().map(|text| {
        <[u8; 2]>::try_from(text.as_bytes()).map_err(|_| {
            let what = format!("`{text}` is not two characters");
            Contradiction::new(at.key("hash_tag"), what, "write one like \"{}\"")
        })
    });
    Ok(Placement {
        hash,
        tag: tag.transpose()?,
    })
}

/// All racks of a cluster place keys alike, and no two name one server.
pub(super) fn refuse_unlike(
    before: &[&RackConfig],
    rack: &RackConfig,
    at: &YamlPath,
) -> Result<(), Contradiction> {
    let Some(first) = before.first() else {
        return Ok(());
    };
    if first.placement != rack.placement {
        let what = "hash and hash_tag are not those of the racks before";
        let advice = "write what the nodes' own configurations say, it is the same in all of them";
        return Err(Contradiction::new(at.clone(), what, advice));
    }
    let known: BTreeSet<&Address> = before.iter().flat_map(|rack| &rack.nodes).collect();
    match rack.nodes.iter().position(|node| known.contains(node)) {
        None => Ok(()),
        Some(index) => Err(Contradiction::new(
            at.key("nodes").item(index).key("url"),
            "a node of another rack listens there",
            "name the redis behind each node once",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    fn complaint(rack: &str) -> String {
        let text = format!(
            "replicas:\n  - {{ name: a, layout: dynomite, url: redis://a }}\n  - {{ name: b, layout: dynomite, {rack} }}\n"
        );
        match Config::from_yaml(&text, Path::new("f"), None) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn tokens_are_written_as_a_number_a_text_or_a_list() {
        for tokens in ["7", "'7'", "'7, 8'", "[7, 8]", "['7', 8]", "4294967295"] {
            let nodes = format!("nodes: [{{ url: redis://b, tokens: {tokens} }}]");
            assert_eq!(complaint(&nodes), "");
        }
    }

    #[test]
    fn every_contradiction_of_a_rack_is_named() {
        let table = [
            ("hash: murmur", "missing key `url`"),
            ("nodes: []", "nodes: the rack has no nodes"),
            (
                "url: redis://b, nodes: [{ url: redis://c, tokens: 1 }]",
                "nodes: the rack has a url too",
            ),
            (
                "hash: sha1, url: redis://b",
                "hash: `sha1` is no hash of dynomite's",
            ),
            (
                "hash_tag: '{', url: redis://b",
                "hash_tag: `{` is not two characters",
            ),
            (
                "nodes: [{ url: redis://b, tokens: [] }]",
                "nodes[0].tokens: the node has no token",
            ),
            (
                "nodes: [{ url: redis://b, tokens: -1 }]",
                "`-1` is not a token",
            ),
            (
                "nodes: [{ url: redis://b, tokens: 4294967296 }]",
                "`4294967296` is not a token",
            ),
            (
                "nodes: [{ url: redis://b, tokens: 1 }, { url: redis://c, tokens: 1 }]",
                "nodes[1].tokens: token 1 is that of node 1 as well",
            ),
            (
                "nodes: [{ url: redis://b, tokens: 1 }, { url: redis://b, tokens: 2 }]",
                "nodes[1].url: another node of the rack listens there",
            ),
            (
                "nodes: [{ url: redis://b/1, tokens: 1 }]",
                "nodes[0].url: the url of a node names an address alone",
            ),
        ];
        for (rack, words) in table {
            let found = complaint(rack);
            assert!(found.contains(words), "{rack}: {found}\nlacks: {words}");
        }
        let plain = "replicas:\n  - { name: a, url: redis://a }\n  - { name: b, url: redis://b, hash: md5 }\n";
        let found = Config::from_yaml(plain, Path::new("f"), None)
            .unwrap_err()
            .to_string();
        assert!(
            found.contains("hash: only a rack of dynomite has this"),
            "{found}"
        );
    }
}
