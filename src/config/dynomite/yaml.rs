//! Racks written as reknit's own YAML.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::super::replicas::is_name;
use super::RackName;
use super::node::Node;
use crate::model::{Address, escape};

/// What an import made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The YAML.
    pub text: String,
    /// What the operator should know of it.
    pub notes: Vec<String>,
}

/// Writes racks, each with its nodes by index.
pub(super) fn write(
    nodes: &[Node],
    racks: &BTreeMap<RackName, Vec<usize>>,
    left_out: &[RackName],
) -> Imported {
    let names = names(racks);
    let mut order: Vec<&RackName> = racks.keys().collect();
    order.sort_by_key(|rack| (datacenter_place(nodes, &rack.0), racks[*rack][0]));
    let mut text = format!(
        "# Made from the files of {} dynomite nodes by `reknit import dynomite`.\n\
         # Their order is the order of preference, wherever neither stamps nor what was agreed decide.\n\
         replicas:\n",
        nodes.len()
    );
    for rack in order {
        push_rack(&mut text, &names[rack], rack, &racks[rack], nodes);
    }
    Imported {
        text,
        notes: notes(nodes, left_out),
    }
}

fn datacenter_place(nodes: &[Node], datacenter: &str) -> Option<usize> {
    nodes.iter().position(|node| node.datacenter == datacenter)
}

fn push_rack(text: &mut String, name: &str, rack: &RackName, members: &[usize], nodes: &[Node]) {
    let placement = nodes[members[0]].placement;
    let mut line = |line: String| text.push_str(&format!("{line}\n"));
    line(format!("  - name: {name}"));
    line(format!("    datacenter: {}", fit(&rack.0)));
    line("    layout: dynomite".into());
    line(format!("    hash: {}", placement.hash));
    if let Some(tag) = placement.tag {
        line(format!("    hash_tag: {}", quoted(&escape(&tag))));
    }
    line("    nodes:".into());
    for &member in members {
        let node = &nodes[member];
        let tokens: Vec<String> = node.tokens.iter().map(u32::to_string).collect();
        let (url, tokens) = (quoted(&url(&node.redis)), quoted(&tokens.join(",")));
        line(format!("      - {{ url: {url}, tokens: {tokens} }}"));
    }
}

fn url(address: &Address) -> String {
    address.to_string()
}

/// A text in quotes, for YAML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for part in text.chars() {
        if matches!(part, '"' | '\\') {
            out.push('\\');
        }
        out.push(part);
    }
    out + "\""
}

/// Names by which reports tell racks: their own, with the datacenter before it where two are called alike.
fn names(racks: &BTreeMap<RackName, Vec<usize>>) -> BTreeMap<RackName, String> {
    let mut seen = BTreeSet::new();
    let mut names = BTreeMap::new();
    for (datacenter, rack) in racks.keys() {
        let alike = racks
            .keys()
            .filter(|(_, other)| fit(other) == fit(rack))
            .count();
        let mut name = match alike {
            1 => fit(rack),
            _ => fit(&format!("{datacenter}-{rack}")),
        };
        while !seen.insert(name.clone()) {
            let _ = write!(name, "-{}", seen.len());
        }
        names.insert((datacenter.clone(), rack.clone()), name);
    }
    names
}

/// A name that reknit takes: other characters become `-`.
fn fit(name: &str) -> String {
    let part = |c: char| if is_name(&c.to_string()) { c } else { '-' };
    name.chars().map(part).take(64).collect()
}

fn notes(nodes: &[Node], left_out: &[RackName]) -> Vec<String> {
    let mut notes = Vec::new();
    for (datacenter, rack) in left_out {
        notes.push(format!(
            "rack {rack} of datacenter {datacenter} is left out: no file of its nodes was named, and what it alone \
             holds or removed is not seen"
        ));
    }
    for node in nodes {
        if let Some(told) = &node.moved {
            notes.push(format!(
                "{}: the redis at {told} is looked for at {}, where its peers know the node",
                node.file, node.redis
            ));
        }
    }
    let without: Vec<&str> = nodes
        .iter()
        .filter(|node| !node.stamps)
        .map(|node| &*node.file)
        .collect();
    if !without.is_empty() {
        notes.push(format!(
            "{}: stamps are only kept with read_repairs_enabled and consistency above DC_ONE: what has none is judged \
             by the agreement",
            without.join(", ")
        ));
    }
    if nodes.iter().any(|node| node.asks_for_seeds) {
        notes.push("peers that a seed provider finds are not in the files: see to it that all nodes are named".into());
    }
    notes
}
