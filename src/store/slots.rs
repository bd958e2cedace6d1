//! The keys that a scan is at, each in a slot that the next key takes over together with its memory.
//!
//! A scan is at a few hundred keys at a time and comes by millions: a key that is allocated anew at each step would
//! cost more than digesting its value.

use bytes::Bytes;

use crate::model::{Expiry, Key, Kind};

use super::page::Described;
use super::resp::pack_arg;

/// Where a key stands among the keys of its scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotIndex(u32);

/// One key, and what is known of it.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Its name as an argument of a command: packed once, copied into each.
    pub(crate) argument: Vec<u8>,
    name_start: usize,
    /// How often its type had changed.
    pub(crate) changes: u8,
    /// How often a clock ticked while its end was asked.
    pub(crate) moments: u8,
    /// Its kind, once described.
    pub(crate) kind: Kind,
    /// What TYPE answered, if it is a module's.
    pub(crate) type_name: Bytes,
    /// When it ends, once described.
    pub(crate) expiry: Expiry,
    /// The fields of a hash as they came, while it is asked when they end.
    pub(crate) page: Vec<u8>,
}

impl Slot {
    /// Its name.
    pub(crate) fn key(&self) -> &[u8] {
        &self.argument[self.name_start..self.argument.len() - ARGUMENT_END]
    }

    /// The key with its description, for a read outside of the scan.
    pub(crate) fn to_described(&self) -> Described {
        Described {
            key: Key::copied(self.key()),
            kind: self.kind,
            type_name: self.type_name.clone(),
            expiry: self.expiry,
        }
    }
}

/// The slots of a scan.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<SlotIndex>,
}

/// Bytes behind the name in an argument: CRLF.
const ARGUMENT_END: usize = 2;

/// Arguments up to this length leave their memory to the next key.
const NAME_KEPT: usize = 1024;

impl Slots {
    /// Takes a slot for a key of which the name alone is known.
    pub(crate) fn take(&mut self, key: &[u8]) -> SlotIndex {
        let index = self.free.pop().unwrap_or_else(|| self.add());
        let slot = self.get_mut(index);
        pack_arg(&mut slot.argument, key);
        slot.name_start = slot.argument.len() - ARGUMENT_END - key.len();
        index
    }

    /// Gives a slot back whose key is done.
    pub(crate) fn give_back(&mut self, index: SlotIndex) {
        let slot = self.get_mut(index);
        slot.argument.clear();
        slot.argument.shrink_to(NAME_KEPT);
        (slot.changes, slot.moments) = (0, 0);
        slot.type_name = Bytes::new();
        slot.page = Vec::new();
        self.free.push(index);
    }

    /// A slot that was taken.
    pub(crate) fn get(&self, index: SlotIndex) -> &Slot {
        &self.slots[index.0 as usize]
    }

    /// A slot that was taken, to be changed.
    pub(crate) fn get_mut(&mut self, index: SlotIndex) -> &mut Slot {
        &mut self.slots[index.0 as usize]
    }

    fn add(&mut self) -> SlotIndex {
        let index = u32::try_from(self.slots.len()).expect("a scan is at a bounded number of keys");
        self.slots.push(Slot {
            argument: Vec::new(),
            name_start: 0,
            changes: 0,
            moments: 0,
            kind: Kind::String,
            type_name: Bytes::new(),
            expiry: Expiry::Never,
            page: Vec::new(),
        });
        SlotIndex(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_given_back_is_taken_again_and_knows_nothing_of_its_last_key() {
        let mut slots = Slots::default();
        let [first, second] = [b"first", b"other"].map(|key| slots.take(key));
        slots.get_mut(first).changes = 2;
        slots.get_mut(first).type_name = Bytes::from_static(b"ReJSON-RL");
        slots.give_back(first);
        assert_eq!(slots.take(b"x"), first);
        assert_eq!(
            (slots.get(first).key(), slots.get(first).changes),
            (&b"x"[..], 0)
        );
        assert!(slots.get(first).type_name.is_empty());
        assert_eq!(slots.get(second).key(), b"other");
    }
}
