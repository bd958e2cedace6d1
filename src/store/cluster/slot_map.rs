//! Which node of a cluster holds which slot, as the nodes themselves say. Pure.
//!
//! ```text
//! CLUSTER NODES of every master ─▶ lines ─▶ of two that claim a slot, the one with the later epoch ─▶ owners
//! ```
//!
//! A master knows its own slots, and those that leave or reach it; of the others it may be the last to learn.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{HostPort, Slot, key_slot};
use crate::store::{Shard, Topology};

/// A set of slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotSet(Vec<bool>);

impl SlotSet {
    pub(super) fn none() -> Self {
        Self(vec![false; usize::from(Slot::COUNT)])
    }

    pub(super) fn all() -> Self {
        Self(vec![true; usize::from(Slot::COUNT)])
    }

    pub(super) fn insert(&mut self, slot: u16) {
        self.0[usize::from(slot)] = true;
    }

    pub(super) fn remove(&mut self, slot: u16) {
        self.0[usize::from(slot)] = false;
    }

    pub(super) fn contains(&self, slot: u16) -> bool {
        self.0[usize::from(slot)]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u16> {
        (0..Slot::COUNT).filter(|slot| self.contains(*slot))
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().filter(|held| **held).count()
    }

    /// The slots as ranges with both ends.
    pub(super) fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for slot in self.iter() {
            match ranges.last_mut() {
                Some(last) if last.1 + 1 == slot => last.1 = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        ranges
    }
}

impl std::fmt::Display for SlotSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ranges = self.ranges().into_iter().map(|(first, last)| match first {
            _ if first == last => first.to_string(),
            _ => format!("{first}-{last}"),
        });
        f.write_str(&ranges.collect::<Vec<_>>().join(","))
    }
}

/// The slot of a key, as a number.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    key_slot(key).number()
}

/// One node as another knows it, or it itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    id: String,
    address: HostPort,
    is_self: bool,
    is_master: bool,
    has_failed: bool,
    follows: Option<String>,
    epoch: u64,
    slots: Vec<(u16, u16)>,
    /// Slots that leave for another node.
    leaving: Vec<(u16, String)>,
    /// Slots that come from another node.
    coming: Vec<(u16, String)>,
}

/// A slot whose keys are on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) from: HostPort,
    pub(super) to: HostPort,
}

/// Which node holds which slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotMap {
    owners: Vec<Option<usize>>,
    /// Masters that hold slots, in the order of their addresses.
    masters: Vec<HostPort>,
    /// Slots that move.
    pub(super) moving: BTreeMap<u16, Move>,
    /// The replicas of each master, by its address.
    replicas: BTreeMap<HostPort, Vec<HostPort>>,
    /// The identity of the cluster: the least of its nodes'.
    pub(super) identity: String,
}

impl SlotMap {
    /// Puts together what some nodes say; `views` are what each answered and where it was asked. Nodes that have names
    /// are called by them where `by_name` says so, for certificates are made out to names.
    pub(super) fn of(views: &[(HostPort, String)], by_name: bool) -> Self {
        let mut nodes: BTreeMap<String, Line> = BTreeMap::new();
        for (asked, text) in views {
            for line in text.lines().filter_map(|line| parse(line, asked, by_name)) {
                match nodes.get(&line.id) {
                    Some(known) if known.is_self || !line.is_self => {}
                    _ => {
                        nodes.insert(line.id.clone(), line);
                    }
                }
            }
        }
        Self::from_lines(&nodes)
    }

    fn from_lines(nodes: &BTreeMap<String, Line>) -> Self {
        let claims = |line: &&Line| line.is_master && !line.slots.is_empty();
        let works = |line: &&Line| line.is_self || !line.has_failed;
        let mut holders: Vec<&Line> = nodes.values().filter(claims).filter(works).collect();
        holders.sort_by(|one, other| one.address.cmp(&other.address));
        let mut owners: Vec<Option<usize>> = vec![None; usize::from(Slot::COUNT)];
        for (index, holder) in holders.iter().enumerate() {
            for slot in holder.slots.iter().flat_map(|(first, last)| *first..=*last) {
                let owner = &mut owners[usize::from(slot)];
                let later = owner.is_none_or(|known: usize| holders[known].epoch < holder.epoch);
                if later {
                    *owner = Some(index);
                }
            }
        }
        let mut replicas: BTreeMap<HostPort, Vec<HostPort>> = BTreeMap::new();
        for line in nodes.values().filter(|line| !line.has_failed) {
            let master = line.follows.as_ref().and_then(|id| nodes.get(id));
            if let Some(master) = master {
                let of_master = replicas.entry(master.address.clone()).or_default();
                of_master.push(line.address.clone());
            }
        }
        let mut map = Self {
            owners,
            masters: holders.iter().map(|one| one.address.clone()).collect(),
            moving: BTreeMap::new(),
            replicas,
            identity: nodes.keys().next().cloned().unwrap_or_default(),
        };
        map.take_moves(nodes);
        map
    }

    /// A move begins where it is known at either end, and ends where the slot has arrived.
    fn take_moves(&mut self, nodes: &BTreeMap<String, Line>) {
        let at = |id: &String| nodes.get(id).map(|line| line.address.clone());
        for line in nodes.values().filter(|line| line.is_self) {
            let leaving = line.leaving.iter();
            let leaving = leaving.map(|(slot, to)| (*slot, Some(line.address.clone()), at(to)));
            let coming = line.coming.iter();
            let coming = coming.map(|(slot, from)| (*slot, at(from), Some(line.address.clone())));
            for (slot, from, to) in leaving.chain(coming) {
                if let (Some(from), Some(to)) = (from, to)
                    && self.owner(slot) == Some(&from)
                {
                    self.moving.insert(slot, Move { from, to });
                }
            }
        }
    }

    /// The master that holds a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<&HostPort> {
        let index = self.owners[usize::from(slot)]?;
        self.masters.get(index)
    }

    /// The masters that hold slots.
    pub(super) fn masters(&self) -> &[HostPort] {
        &self.masters
    }

    /// All nodes that are known to work, masters first.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &HostPort> {
        let replicas = self.replicas.values().flatten();
        self.masters.iter().chain(replicas)
    }

    /// The replicas of a master.
    pub(super) fn replicas_of(&self, master: &HostPort) -> &[HostPort] {
        self.replicas.get(master).map_or(&[], Vec::as_slice)
    }

    /// The slots of these that a master holds.
    pub(super) fn held(&self, master: &HostPort, among: &SlotSet) -> SlotSet {
        let mut held = SlotSet::none();
        for slot in among
            .iter()
            .filter(|slot| self.owner(*slot) == Some(master))
        {
            held.insert(slot);
        }
        held
    }

    /// The slots that no master holds.
    pub(super) fn uncovered(&self) -> SlotSet {
        let mut uncovered = SlotSet::none();
        for slot in (0..Slot::COUNT).filter(|slot| self.owner(*slot).is_none()) {
            uncovered.insert(slot);
        }
        uncovered
    }

    /// The slots that are elsewhere, or move otherwise, in a later map.
    pub(super) fn changed(&self, later: &Self) -> SlotSet {
        let mut changed = SlotSet::none();
        for slot in 0..Slot::COUNT {
            let elsewhere = self.owner(slot) != later.owner(slot);
            if elsewhere || self.moving.get(&slot) != later.moving.get(&slot) {
                changed.insert(slot);
            }
        }
        changed
    }

    /// What people are shown.
    pub(super) fn topology(&self) -> Topology {
        let all = SlotSet::all();
        let shard = |master: &HostPort| Shard {
            address: master.clone(),
            slots: self.held(master, &all).ranges(),
            replicas: self.replicas_of(master).to_vec(),
        };
        Topology {
            masters: self.masters.iter().map(shard).collect(),
            moving: self.moving.keys().copied().collect(),
        }
    }
}

/// `ID HOST:PORT@BUS[,NAME] FLAGS MASTER PING PONG EPOCH LINK SLOT...`; nothing where there is no address.
fn parse(line: &str, asked: &HostPort, by_name: bool) -> Option<Line> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [id, address, flags, master, _, _, epoch, _, slots @ ..] = words.as_slice() else {
        return None;
    };
    let flags: BTreeSet<&str> = flags.split(',').collect();
    if flags.contains("noaddr") || flags.contains("handshake") {
        return None;
    }
    let mut parsed = Line {
        id: (*id).to_owned(),
        address: address_of(address, asked, by_name)?,
        is_self: flags.contains("myself"),
        is_master: flags.contains("master"),
        has_failed: flags.contains("fail"),
        follows: (*master != "-").then(|| (*master).to_owned()),
        epoch: epoch.parse().ok()?,
        slots: Vec::new(),
        leaving: Vec::new(),
        coming: Vec::new(),
    };
    slots.iter().for_each(|slot| take_slot(&mut parsed, slot));
    Some(parsed)
}

/// `HOST:PORT@BUS[,NAME]`; a node alone does not know its host.
fn address_of(text: &str, asked: &HostPort, by_name: bool) -> Option<HostPort> {
    let mut parts = text.split(',');
    let address = parts.next()?.split('@').next()?;
    let name = parts.next();
    let name = name.filter(|name| by_name && !name.is_empty() && !name.contains('='));
    let (host, port) = address.rsplit_once(':')?;
    let host = match (name, host) {
        (Some(name), _) => name,
        (None, "") => &asked.host,
        (None, host) => host,
    };
    Some(HostPort {
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

/// `5`, `5-9`, `[5->-ID]` or `[5-<-ID]`.
fn take_slot(line: &mut Line, text: &str) {
    let number = |text: &str| text.parse().ok().filter(|slot: &u16| *slot < Slot::COUNT);
    if let Some(moving) = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        if let Some((slot, to)) = moving.split_once("->-")
            && let Some(slot) = number(slot)
        {
            line.leaving.push((slot, to.to_owned()));
        } else if let Some((slot, from)) = moving.split_once("-<-")
            && let Some(slot) = number(slot)
        {
            line.coming.push((slot, from.to_owned()));
        }
        return;
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    if let (Some(first), Some(last)) = (number(first), number(last)) {
        line.slots.push((first, last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> HostPort {
        HostPort {
            host: "10.0.0.1".into(),
            port,
        }
    }

    fn map(views: &[(u16, &str)]) -> SlotMap {
        let views: Vec<_> = views
            .iter()
            .map(|(port, text)| (at(*port), (*text).to_owned()))
            .collect();
        SlotMap::of(&views, true)
    }

    #[test]
    fn every_slot_has_the_owner_that_the_nodes_name() {
        let text = "\
a 10.0.0.1:1@11,one.example myself,master - 0 0 1 connected 0-8191
b 10.0.0.1:2@12 master - 0 0 2 connected 8192-16382
c 10.0.0.1:3@13 slave a 0 0 1 connected
d :0@0 master,noaddr - 0 0 3 disconnected
e 10.0.0.1:5@15 master,fail - 0 0 3 disconnected 16383";
        let map = map(&[(1, text)]);
        assert_eq!(map.owner(0).unwrap().host, "one.example");
        assert_eq!(map.owner(8192), Some(&at(2)));
        assert_eq!(map.uncovered().to_string(), "16383");
        assert_eq!(map.replicas_of(&map.masters()[1]), [at(3)]);
        assert_eq!(map.identity, "a");
    }

    #[test]
    fn of_two_that_claim_a_slot_the_later_epoch_counts() {
        let old = "a 10.0.0.1:1@11 myself,master - 0 0 1 connected 0-16383";
        let new = "\
a 10.0.0.1:1@11 master,fail - 0 0 1 connected
b 10.0.0.1:2@12 myself,master - 0 0 7 connected 0-16383";
        let map = map(&[(1, old), (2, new)]);
        assert_eq!(map.owner(5), Some(&at(2)));
        assert_eq!(map.held(&at(1), &SlotSet::all()).len(), 0);
    }

    #[test]
    fn a_slot_that_moves_is_known_from_either_end_until_it_has_arrived() {
        let from = "\
a 10.0.0.1:1@11 myself,master - 0 0 1 connected 0-16383 [5->-b]
b 10.0.0.1:2@12 master - 0 0 2 connected";
        let to = "\
a 10.0.0.1:1@11 master - 0 0 1 connected 0-16383
b 10.0.0.1:2@12 myself,master - 0 0 2 connected [6-<-a]";
        let moving = Move {
            from: at(1),
            to: at(2),
        };
        let before = map(&[(1, from), (2, to)]);
        assert_eq!(
            before.moving,
            BTreeMap::from([(5, moving.clone()), (6, moving)])
        );
        let arrived = "\
a 10.0.0.1:1@11 master - 0 0 1 connected
b 10.0.0.1:2@12 myself,master - 0 0 3 connected 5 7-9";
        let after = map(&[(1, from), (2, arrived)]);
        assert_eq!(after.owner(5), Some(&at(2)));
        assert!(after.moving.is_empty());
        assert_eq!(before.changed(&after).to_string(), "5-9");
    }

    #[test]
    fn lines_that_cannot_be_read_are_left_out() {
        for text in [
            "",
            "a",
            "a b c d e f g h",
            "a 10.0.0.1:x@1 master - 0 0 1 connected 0",
        ] {
            assert_eq!(map(&[(1, text)]).masters(), [], "{text}");
        }
    }
}
