//! What several nodes of a scan share: a sink that keeps aside the keys that were found on the move, and a pace.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::model::{EntryRef, Key};
use crate::store::observe::is_elsewhere;
use crate::store::{EntrySink, Pace};

/// What the nodes of a scan have in common.
pub(super) struct Joined<'a>(Mutex<Inner<'a>>);

struct Inner<'a> {
    sink: &'a mut dyn EntrySink,
    strays: BTreeSet<Key>,
}

impl<'a> Joined<'a> {
    pub(super) fn new(sink: &'a mut dyn EntrySink) -> Self {
        let strays = BTreeSet::new();
        Self(Mutex::new(Inner { sink, strays }))
    }

    /// Runs with the sink.
    fn with<T>(&self, run: impl FnOnce(&mut Inner<'a>) -> T) -> T {
        run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps keys aside, to be read one by one.
    pub(super) fn stray(&self, keys: impl IntoIterator<Item = Key>) {
        self.with(|inner| inner.strays.extend(keys));
    }

    /// The keys that were kept aside.
    pub(super) fn take_strays(&self) -> Vec<Key> {
        let strays = self.with(|inner| std::mem::take(&mut inner.strays));
        strays.into_iter().collect()
    }

    /// The sink of one node.
    pub(super) fn sink(&self) -> OfNode<'_, 'a> {
        OfNode(self)
    }
}

/// The sink of one node.
pub(super) struct OfNode<'j, 'a>(&'j Joined<'a>);

impl EntrySink for OfNode<'_, '_> {
    fn entry(&mut self, entry: EntryRef<'_>) {
        self.0.with(|inner| inner.sink.entry(entry));
    }

    fn unreadable(&mut self, key: &[u8], reason: &str) {
        self.0.with(|inner| match is_elsewhere(reason) {
            true => {
                inner.strays.insert(Key::copied(key));
            }
            false => inner.sink.unreadable(key, reason),
        });
    }
}

/// A pace that was made for one reader, kept by several: they wait one after the other.
pub(super) struct InTurn<'a> {
    pace: &'a dyn Pace,
    turn: tokio::sync::Mutex<()>,
}

impl<'a> InTurn<'a> {
    pub(super) fn new(pace: &'a dyn Pace) -> Self {
        let turn = tokio::sync::Mutex::new(());
        Self { pace, turn }
    }
}

#[async_trait]
impl Pace for InTurn<'_> {
    async fn keys(&self, count: u64) {
        let _turn = self.turn.lock().await;
        self.pace.keys(count).await;
    }

    async fn bytes(&self, count: u64) {
        let _turn = self.turn.lock().await;
        self.pace.bytes(count).await;
    }
}
