//! A value as one string of bytes, as DUMP and RESTORE have it. The format is this program's own and lives in memory.

use bytes::Bytes;

use crate::model::{Expiry, Field, Opaque, Score, Stream, StreamId, Value};

/// The value as bytes.
pub(crate) fn encode(value: &Value) -> Bytes {
    let mut out = vec![tag(value)];
    match value {
        Value::String(bytes) => put(&mut out, bytes),
        Value::List(elements) => elements.iter().for_each(|element| put(&mut out, element)),
        Value::Set(members) => members.iter().for_each(|member| put(&mut out, member)),
        Value::Hash(fields) => fields.iter().for_each(|(name, field)| {
            put(&mut out, name);
            put(&mut out, &field.value);
            put(&mut out, &field.expiry.as_millis().to_be_bytes());
        }),
        Value::SortedSet(members) => members.iter().for_each(|(member, score)| {
            put(&mut out, member);
            put(&mut out, score.to_text().as_bytes());
        }),
        Value::Stream(stream) => encode_stream(&mut out, stream),
        Value::Module(opaque) => {
            put(&mut out, &opaque.type_name);
            put(&mut out, &opaque.payload);
        }
    }
    out.into()
}

/// The value that bytes of [`encode`] stand for; nothing for any others.
pub(crate) fn decode(payload: &[u8]) -> Option<Value> {
    let (&tag, rest) = payload.split_first()?;
    let mut parts = Parts(rest);
    let value = match tag {
        b's' => Value::String(parts.next()?),
        b'l' => Value::List(parts.all(Parts::next)?),
        b'm' => Value::Set(parts.all(Parts::next)?.into_iter().collect()),
        b'h' => Value::Hash(parts.all(Parts::field)?.into_iter().collect()),
        b'z' => Value::SortedSet(parts.all(Parts::scored)?.into_iter().collect()),
        b'x' => Value::Stream(parts.stream()?),
        b'o' => Value::Module(Opaque {
            type_name: parts.next()?,
            payload: parts.next()?,
        }),
        _ => return None,
    };
    parts.0.is_empty().then_some(value)
}

fn tag(value: &Value) -> u8 {
    match value {
        Value::String(_) => b's',
        Value::List(_) => b'l',
        Value::Set(_) => b'm',
        Value::Hash(_) => b'h',
        Value::SortedSet(_) => b'z',
        Value::Stream(_) => b'x',
        Value::Module(_) => b'o',
    }
}

/// Each entry is an ID, the number of its pairs, and those; the groups come behind all entries.
fn encode_stream(out: &mut Vec<u8>, stream: &Stream) {
    put(out, stream.last_id.to_string().as_bytes());
    put(out, &(stream.entries.len() as u64).to_be_bytes());
    for (id, pairs) in &stream.entries {
        put(out, id.to_string().as_bytes());
        put(out, &(pairs.len() as u64).to_be_bytes());
        for (name, value) in pairs {
            put(out, name);
            put(out, value);
        }
    }
    for (name, from) in &stream.groups {
        put(out, name);
        put(out, from.to_string().as_bytes());
    }
}

/// A part with its length before it.
fn put(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&(part.len() as u64).to_be_bytes());
    out.extend_from_slice(part);
}

/// What is left to be read.
struct Parts<'a>(&'a [u8]);

impl Parts<'_> {
    fn next(&mut self) -> Option<Bytes> {
        let (length, rest) = self.0.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
        let (part, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Bytes::copy_from_slice(part))
    }

    fn number(&mut self) -> Option<u64> {
        let bytes: [u8; 8] = self.next()?.as_ref().try_into().ok()?;
        Some(u64::from_be_bytes(bytes))
    }

    fn pair(&mut self) -> Option<(Bytes, Bytes)> {
        Some((self.next()?, self.next()?))
    }

    fn id(&mut self) -> Option<StreamId> {
        StreamId::parse(&self.next()?)
    }

    fn field(&mut self) -> Option<(Bytes, Field)> {
        let (name, value) = self.pair()?;
        let expiry = Expiry::from_millis(self.number()?.cast_signed());
        Some((name, Field { value, expiry }))
    }

    fn scored(&mut self) -> Option<(Bytes, Score)> {
        Some((self.next()?, Score::parse(&self.next()?)?))
    }

    fn stream(&mut self) -> Option<Stream> {
        let mut stream = Stream {
            last_id: self.id()?,
            ..Stream::default()
        };
        for _ in 0..self.number()? {
            let id = self.id()?;
            let pairs = (0..self.number()?).map(|_| self.pair());
            stream.entries.insert(id, pairs.collect::<Option<_>>()?);
        }
        let groups = self.all(|parts| Some((parts.next()?, parts.id()?)))?;
        stream.groups = groups.into_iter().collect();
        Some(stream)
    }

    /// Everything to the end.
    fn all<T>(&mut self, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut found = Vec::new();
        while !self.0.is_empty() {
            found.push(one(self)?);
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;
    use crate::model::arbitrary::value;

    proptest! {
        #[test]
        fn a_value_comes_back_as_it_was(value in value()) {
            assert_eq!(decode(&encode(&value)), Some(value));
        }

        #[test]
        fn other_bytes_are_no_value_and_no_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            if let Some(value) = decode(&bytes) {
                assert_eq!(decode(&encode(&value)), Some(value));
            }
        }
    }
}
