//! Reading keys afresh, and the elements of large ones.

use bytes::Bytes;

use crate::model::{
    DbIndex, DigestKey, Digester, EntryRef, Expiry, Key, Kind, Position, State, Value,
};
use crate::store::{EntrySink, LargeState, Observed, StoreError, alone, only};

use super::{Fault, Inner, Step};

impl Inner {
    pub(super) fn fetch(
        &mut self,
        db: Option<DbIndex>,
        keys: &[Key],
        digest_key: &DigestKey,
    ) -> Result<Vec<Observed>, StoreError> {
        let db = self.db(db);
        let mut digester = Digester::new(digest_key.clone());
        let mut observed = Vec::with_capacity(keys.len());
        for key in keys {
            observed.push(match self.fault(Step::ReadKey(key), db) {
                Fault::Disconnect => return Err(self.unreachable("reading keys")),
                Fault::Unreadable(reason) => Observed::Unreadable(reason),
                _ => self.observe(db, key, &mut digester),
            });
        }
        self.count_round_trip(3 * keys.len() as u64);
        Ok(observed)
    }

    /// Whether a value is too large to be held whole.
    pub(super) fn is_large(&self, value: &Value) -> bool {
        value.element_count() > self.portions.whole_elements
            || value.payload_bytes() > self.portions.whole_bytes
    }

    pub(super) fn elements(
        &mut self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        digest_key: &DigestKey,
        sink: &mut dyn EntrySink,
    ) -> Result<Option<LargeState>, StoreError> {
        let db = self.db(db);
        self.connection(Step::ReadPart(key), db, "reading elements")?;
        let Some(state) = self.read_state(db, key, kind) else {
            return Ok(None);
        };
        let mut digester = Digester::new(digest_key.clone());
        for name in element_names(&state.value) {
            let Some(element) = alone(&state.value, &name) else {
                continue;
            };
            sink.entry(EntryRef {
                position: Position::of_element(&name),
                key: &name,
                kind,
                digest: digester.value(&element),
                expiry: Expiry::Never,
            });
        }
        Ok(Some(large(&state, &mut digester)))
    }

    pub(super) fn fetch_elements(
        &mut self,
        db: Option<DbIndex>,
        key: &Key,
        kind: Kind,
        names: &[Bytes],
    ) -> Result<Option<State>, StoreError> {
        let db = self.db(db);
        self.connection(Step::ReadPart(key), db, "reading elements")?;
        self.count_round_trip(1);
        let state = self
            .data
            .get(db, key)
            .filter(|state| state.value.kind() == kind);
        Ok(state.and_then(|state| {
            Some(State {
                value: only(&state.value, names)?,
                expiry: state.expiry,
            })
        }))
    }

    fn observe(&mut self, db: DbIndex, key: &Key, digester: &mut Digester) -> Observed {
        let Some(state) = self.data.get(db, key) else {
            return Observed::Absent;
        };
        self.usage.keys_read += 1;
        self.usage.bytes_read += state.value.payload_bytes() as u64;
        if self.is_large(&state.value) {
            Observed::Large(large(&state, digester))
        } else {
            Observed::Whole(state)
        }
    }

    /// The whole state if it is of this kind, with what reading it page by page costs.
    fn read_state(&mut self, db: DbIndex, key: &Key, kind: Kind) -> Option<State> {
        let state = self
            .data
            .get(db, key)
            .filter(|state| state.value.kind() == kind)?;
        let pages = state
            .value
            .element_count()
            .div_ceil(self.portions.page_elements)
            .max(1);
        (0..pages).for_each(|_| self.count_round_trip(1));
        self.usage.keys_read += 1;
        self.usage.bytes_read += state.value.payload_bytes() as u64;
        Some(state)
    }
}

fn large(state: &State, digester: &mut Digester) -> LargeState {
    LargeState {
        kind: state.value.kind(),
        digest: digester.value(&state.value),
        expiry: state.expiry,
        length: match &state.value {
            Value::String(bytes) => bytes.len() as u64,
            other => other.element_count() as u64,
        },
    }
}

/// The names of a collection's elements; none for values that have no named elements.
pub(super) fn element_names(value: &Value) -> Vec<Bytes> {
    match value {
        Value::Set(members) => members.iter().cloned().collect(),
        Value::Hash(fields) => fields.keys().cloned().collect(),
        Value::SortedSet(members) => members.keys().cloned().collect(),
        Value::Stream(stream) => stream
            .entries
            .keys()
            .map(|id| Bytes::from(id.to_string()))
            .collect(),
        Value::String(_) | Value::List(_) | Value::Module(_) => Vec::new(),
    }
}
