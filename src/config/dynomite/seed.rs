//! Peers and servers as Dynomite writes them: one line, parsed from the right.

use super::super::Tokens;
use super::node::Node;
use crate::model::Address;

/// A peer as another node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seed {
    /// The host of its Dynomite; an IPv6 address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) rack: String,
    pub(super) datacenter: String,
    pub(super) tokens: Vec<u32>,
}

impl Seed {
    /// Reads `host:port:rack:dc:tokens [name]`.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "seed `{line}` {what}, it is written host:port:rack:datacenter:tokens, perhaps with a name behind"
            )
        };
        let mut parts = unnamed(line).rsplitn(5, ':');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let tokens = next().ok_or_else(|| wrong("is empty"))?;
        let tokens =
            Tokens::parse(tokens).map_err(|what| wrong(&format!("ends in no tokens ({what})")))?;
        let datacenter = next().ok_or_else(|| wrong("names no datacenter"))?;
        let rack = next().ok_or_else(|| wrong("names no rack"))?;
        let port = next().and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| wrong("names no port"))?;
        let host = next().map(unbracketed).filter(|host| !host.is_empty());
        Ok(Self {
            host: host.ok_or_else(|| wrong("names no host"))?.to_owned(),
            port,
            rack: rack.to_owned(),
            datacenter: datacenter.to_owned(),
            tokens: tokens.0,
        })
    }

    /// Whether this is how a peer knows the node.
    pub(super) fn is_of(&self, node: &Node) -> bool {
        let sorted = |tokens: &[u32]| {
            let mut tokens = tokens.to_vec();
            tokens.sort_unstable();
            tokens
        };
        self.rack == node.rack
            && self.datacenter == node.datacenter
            && sorted(&self.tokens) == sorted(&node.tokens)
    }
}

/// Reads `host:port:weight [name]`, or `/path/to/socket:weight [name]`.
pub(super) fn server(line: &str) -> Result<Address, String> {
    let wrong = |what: &str| {
        format!(
            "server `{line}` {what}, it is written host:port:weight, perhaps with a name behind"
        )
    };
    let (rest, weight) = unnamed(line)
        .rsplit_once(':')
        .ok_or_else(|| wrong("names no weight"))?;
    if weight.parse::<u32>().is_err() {
        return Err(wrong("has a weight that is no number"));
    }
    if rest.starts_with('/') {
        return Ok(Address::Unix(rest.into()));
    }
    let (host, port) = host_port(rest).ok_or_else(|| wrong("names no host and port"))?;
    Ok(Address::Tcp { host, port })
}

/// Reads `host:port`; the host may be an IPv6 address, in brackets or not.
pub(super) fn host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = unbracketed(host);
    (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
}

/// Without the name behind the last space.
fn unnamed(line: &str) -> &str {
    let line = line.trim();
    line.rsplit_once(' ')
        .map_or(line, |(line, _name)| line.trim_end())
}

fn unbracketed(host: &str) -> &str {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host)
}
