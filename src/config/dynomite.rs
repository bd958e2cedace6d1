//! Dynomite's own node files, turned into a configuration of reknit.
//!
//! ```text
//! node files ─▶ nodes (one Redis each) ─▶ racks, whole by what the peers' seeds tell ─▶ replicas: as YAML
//! ```
//!
//! A node tells of its own Redis, and of its peers only where their Dynomite listens: so every node's file is needed.
//! What would make a rack look whole that is not is an error; what is only worth knowing is a note.
//!
//! Deliberately absent: reading files, asking Dynomite anything.

mod node;
mod seed;
mod yaml;

use std::collections::BTreeMap;

use thiserror::Error;

use crate::model::{Address, Placement, Ring, RingError};

use node::Node;
pub use yaml::Imported;

/// Why node files make no configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImportError {
    /// No file was named.
    #[error("no node file was named, name those of all nodes")]
    Nothing,
    /// A file cannot be made sense of.
    #[error("{file}: {what}")]
    File {
        /// The file.
        file: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Two nodes contradict each other.
    #[error("{first} and {second}: {what}")]
    Unlike {
        /// The one's file.
        first: String,
        /// The other's.
        second: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A rack is not whole.
    #[error(
        "rack {rack} of datacenter {datacenter} is not whole: {file} knows a node of it at {at} with tokens {tokens}, \
         name that node's file, too"
    )]
    Incomplete {
        /// The rack.
        rack: String,
        /// Its datacenter.
        datacenter: String,
        /// The file that tells of the missing node.
        file: String,
        /// Where that node's Dynomite listens.
        at: String,
        /// Its tokens.
        tokens: String,
    },
}

/// Datacenter and rack.
type RackName = (String, String);

/// Makes a configuration of node files: their names, and what stands in them.
///
/// # Errors
/// When a file is none of a Dynomite node over Redis, or the nodes make no whole racks.
pub fn import(files: &[(String, String)]) -> Result<Imported, ImportError> {
    let nodes: Vec<Node> = files
        .iter()
        .map(|(name, text)| Node::read(name, text))
        .collect::<Result<_, _>>()?;
    let first = nodes.first().ok_or(ImportError::Nothing)?;
    if let Some(other) = nodes.iter().find(|node| node.placement != first.placement) {
        return Err(unlike(
            first,
            other,
            "hash and hash_tag differ, they must be the same in a whole cluster",
        ));
    }
    let placement = first.placement;
    let nodes = located(nodes)?;
    let racks = racks(&nodes, placement)?;
    let left_out = complete(&nodes, &racks)?;
    Ok(yaml::write(&nodes, &racks, &left_out))
}

fn unlike(first: &Node, second: &Node, what: impl Into<String>) -> ImportError {
    ImportError::Unlike {
        first: first.file.clone(),
        second: second.file.clone(),
        what: what.into(),
    }
}

/// The nodes with addresses at which others can reach their Redis: one that listens for its own host alone is looked
/// for at the host by which peers know its Dynomite.
fn located(mut nodes: Vec<Node>) -> Result<Vec<Node>, ImportError> {
    let hosts: Vec<Option<String>> = nodes.iter().map(|node| host_of(node, &nodes)).collect();
    for (node, host) in nodes.iter_mut().zip(hosts) {
        if let (Address::Tcp { host: own, .. }, Some(host)) = (&mut node.redis, host) {
            node.moved = Some(own.clone());
            *own = host;
        }
    }
    for (index, node) in nodes.iter().enumerate() {
        if let Some(other) = nodes[..index]
            .iter()
            .find(|other| other.redis == node.redis)
        {
            let what = format!(
                "both name the redis at {}, write in copies of the files where each is seen from here",
                node.redis
            );
            return Err(unlike(other, node, what));
        }
    }
    Ok(nodes)
}

/// The host at which a node is known whose Redis is told as its own host's; nothing where it need not be asked.
fn host_of(node: &Node, nodes: &[Node]) -> Option<String> {
    let is_local = |host: &str| ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::"].contains(&host);
    let Address::Tcp { host, .. } = &node.redis else {
        return None;
    };
    if !is_local(host) {
        return None;
    }
    let seeds = nodes.iter().flat_map(|other| &other.seeds);
    let mut known = seeds
        .filter(|seed| seed.is_of(node))
        .map(|seed| seed.host.clone());
    let own = node.listens.clone();
    own.into_iter()
        .chain(&mut known)
        .find(|host| !is_local(host))
}

/// The nodes of each rack, in the order in which they were named.
fn racks(
    nodes: &[Node],
    placement: Placement,
) -> Result<BTreeMap<RackName, Vec<usize>>, ImportError> {
    let mut racks: BTreeMap<RackName, Vec<usize>> = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        racks.entry(node.rack()).or_default().push(index);
    }
    for members in racks.values() {
        let tokens: Vec<Vec<u32>> = members.iter().map(|&at| nodes[at].tokens.clone()).collect();
        match Ring::new(placement, &tokens) {
            Ok(_) => {}
            Err(RingError::NoToken(at)) => {
                return Err(nodes[members[at]].wrong("the node has no tokens, write tokens:"));
            }
            Err(RingError::Twice(token, at, same)) if at == same => {
                return Err(nodes[members[at]].wrong(format!("token {token} stands there twice")));
            }
            Err(RingError::Twice(token, first, second)) => {
                let what = format!(
                    "both have token {token} in one rack, so it is not told which of them holds a key"
                );
                return Err(unlike(
                    &nodes[members[first]],
                    &nodes[members[second]],
                    what,
                ));
            }
        }
    }
    Ok(racks)
}

/// Whether every node that a peer knows was named, rack by rack. Answers the racks of which none was.
fn complete(
    nodes: &[Node],
    racks: &BTreeMap<RackName, Vec<usize>>,
) -> Result<Vec<RackName>, ImportError> {
    let mut left_out: Vec<RackName> = Vec::new();
    for node in nodes {
        for seed in &node.seeds {
            let rack = (seed.datacenter.clone(), seed.rack.clone());
            if nodes.iter().any(|other| seed.is_of(other)) {
                continue;
            }
            if racks.contains_key(&rack) {
                let tokens: Vec<String> = seed.tokens.iter().map(u32::to_string).collect();
                return Err(ImportError::Incomplete {
                    datacenter: rack.0,
                    rack: rack.1,
                    file: node.file.clone(),
                    at: format!("{}:{}", seed.host, seed.port),
                    tokens: tokens.join(","),
                });
            }
            if !left_out.contains(&rack) {
                left_out.push(rack);
            }
        }
    }
    Ok(left_out)
}

#[cfg(test)]
mod tests;
