//! Scanning: names in a shuffled order, page by page, with what SCAN may do to them.

use std::collections::BTreeSet;

use crate::model::{DbIndex, Digester, EntryRef, Key, MARKER_PREFIX, Position};
use crate::store::{EntrySink, Pace, ScanReport, ScanRequest, StoreError};

use super::{Fault, Inner, MemoryReplica, Step};

/// A walk through one database.
struct Walk<'a> {
    request: &'a ScanRequest<'a>,
    db: DbIndex,
    digester: Digester,
    /// Whatever was touched after this was written meanwhile.
    began: u64,
    report: ScanReport,
}

impl MemoryReplica {
    pub(super) async fn scan_all(
        &self,
        request: &ScanRequest<'_>,
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError> {
        let mut walk = Walk::new(&self.lock(), request);
        let names = self.lock().shuffled_names(walk.db);
        self.walk_names(&mut walk, &names, pace, sink).await?;
        // What was created since the walk began is listed at its end, or not at all.
        let created = self.lock().created_since(&walk, &names);
        if !created.is_empty() {
            self.walk_names(&mut walk, &created, pace, sink).await?;
        }
        Ok(walk.report)
    }

    async fn walk_names(
        &self,
        walk: &mut Walk<'_>,
        names: &[Key],
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<(), StoreError> {
        let mut rest = names;
        loop {
            let page = walk.list(&mut self.lock(), rest)?;
            rest = &rest[page.taken..];
            walk.read(self, &page.keys, pace, sink).await?;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    pub(super) async fn scan_named(
        &self,
        request: &ScanRequest<'_>,
        keys: &[Key],
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<ScanReport, StoreError> {
        let mut walk = Walk::new(&self.lock(), request);
        let page_names = self.lock().portions.page_names;
        for page in keys.chunks(page_names) {
            let wanted: Vec<Key> = page.iter().filter(|key| walk.wants(key)).cloned().collect();
            walk.read(self, &wanted, pace, sink).await?;
        }
        Ok(walk.report)
    }
}

/// The names of one page that are to be read, and how many names the page took.
struct Page {
    keys: Vec<Key>,
    taken: usize,
}

impl<'a> Walk<'a> {
    fn new(inner: &Inner, request: &'a ScanRequest<'a>) -> Self {
        Self {
            request,
            db: inner.db(request.db),
            digester: Digester::new(request.digest_key.clone()),
            began: inner.data.touches(),
            report: ScanReport::default(),
        }
    }

    /// Lists the next page of names, as SCAN does: written ones may be missing, any may stand twice.
    fn list(&mut self, inner: &mut Inner, names: &[Key]) -> Result<Page, StoreError> {
        inner.connection(Step::ScanPage, self.db, "SCAN")?;
        inner.count_round_trip(1);
        let taken = names.len().min(inner.portions.page_names);
        let mut keys = Vec::new();
        for key in &names[..taken] {
            let written_meanwhile = inner.data.last_touch(self.db, key) > self.began;
            let step = Step::ScanName {
                key,
                written_meanwhile,
            };
            let times = match inner.fault(step, self.db) {
                Fault::Disconnect => return Err(inner.unreachable("SCAN")),
                Fault::ListTwice => 2,
                Fault::LeaveOut if written_meanwhile => 0,
                _ => 1,
            };
            if self.listed(key, times) {
                keys.extend((0..times).map(|_| key.clone()));
            }
        }
        Ok(Page { keys, taken })
    }

    /// Notes that a name was listed so many times; whether its value is wanted.
    fn listed(&mut self, key: &Key, times: u64) -> bool {
        let pattern = self.request.pattern.as_ref();
        if !pattern.is_none_or(|pattern| pattern.matches(key.as_bytes())) {
            return false;
        }
        self.report.names_seen += times;
        self.report.markers_seen |= times > 0 && key.as_bytes().starts_with(MARKER_PREFIX);
        self.wants(key)
    }

    fn wants(&self, key: &Key) -> bool {
        !key.is_own() && (self.request.wanted)(key.as_bytes())
    }

    /// Reads and digests the keys of a page.
    async fn read(
        &mut self,
        replica: &MemoryReplica,
        keys: &[Key],
        pace: &dyn Pace,
        sink: &mut dyn EntrySink,
    ) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        pace.keys(keys.len() as u64).await;
        let bytes = self.read_page(&mut replica.lock(), keys, sink)?;
        pace.bytes(bytes).await;
        Ok(())
    }

    fn read_page(
        &mut self,
        inner: &mut Inner,
        keys: &[Key],
        sink: &mut dyn EntrySink,
    ) -> Result<u64, StoreError> {
        let before = inner.usage.bytes_read;
        for key in keys {
            match inner.fault(Step::ReadKey(key), self.db) {
                Fault::Disconnect => return Err(inner.unreachable("reading keys")),
                Fault::Unreadable(reason) => sink.unreadable(key.as_bytes(), &reason),
                _ => self.read_key(inner, key, sink),
            }
        }
        // TYPE, PEXPIRETIME and a typed read per key, in one pipeline.
        inner.count_round_trip(3 * keys.len() as u64);
        Ok(inner.usage.bytes_read - before)
    }

    fn read_key(&mut self, inner: &mut Inner, key: &Key, sink: &mut dyn EntrySink) {
        let Some(state) = inner.data.get(self.db, key) else {
            return;
        };
        self.report.keys_read += 1;
        inner.usage.keys_read += 1;
        inner.usage.bytes_read += state.value.payload_bytes() as u64;
        sink.entry(EntryRef {
            position: Position::of(key.as_bytes()),
            key: key.as_bytes(),
            kind: state.value.kind(),
            digest: self.digester.value(&state.value),
            expiry: state.expiry,
        });
    }
}

impl Inner {
    /// All names in an order that follows from the seed and the names alone.
    fn shuffled_names(&mut self, db: DbIndex) -> Vec<Key> {
        let mut names = self.data.keys(db);
        let seed = self.seed;
        names.sort_by_cached_key(|key| seeded(seed, key.as_bytes()));
        names
    }

    /// Keys that were created since a walk began and are not on its list, in order.
    fn created_since(&mut self, walk: &Walk<'_>, listed: &[Key]) -> Vec<Key> {
        if self.data.touches() == walk.began {
            return Vec::new();
        }
        let listed: BTreeSet<&Key> = listed.iter().collect();
        let mut names = self.shuffled_names(walk.db);
        names.retain(|key| !listed.contains(key));
        names
    }
}

/// 64 bits that look random, from a seed and bytes (FNV-1a, then the finalizer of splitmix64).
fn seeded(seed: u64, bytes: &[u8]) -> u64 {
    let start = seed ^ 0xcbf2_9ce4_8422_2325;
    let mixed = bytes.iter().fold(start, |state, &byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
