//! One key that waits, as bytes. Pure.

use crate::crdt::Evidence;
use crate::model::{DbIndex, Expiry, Key, Kind, ReplicaName, ValueDigest};

use super::super::finding::{
    Change, Detail, DifferenceKind, Fate, Finding, Held, Holding, Verdict,
};
use super::super::look::Look;
use super::super::loss::{Loss, Losses};
use super::super::round::{Candidate, Deferred};
use super::super::scope::Scope;
use super::codec::{In, Out};

/// Words of the program, by number: there are a few dozen.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<&'static str>);

impl Words {
    fn number(&mut self, word: &'static str) -> u64 {
        let known = self.0.iter().position(|known| *known == word);
        let number = known.unwrap_or_else(|| {
            self.0.push(word);
            self.0.len() - 1
        });
        number as u64
    }

    fn word(&self, number: u64) -> Option<&'static str> {
        self.0.get(usize::try_from(number).ok()?).copied()
    }
}

pub(super) fn encode(deferred: &Deferred<'_>, words: &mut Words, detailed: bool) -> Vec<u8> {
    let mut out = Out::default();
    let Deferred {
        candidate,
        finding,
        losses,
    } = deferred;
    out.option(candidate.keyspace.db, |out, db| out.number(db.0.into()));
    out.bytes(candidate.key.as_bytes());
    out.list(&candidate.looks, |out, look| {
        out.option(look.as_ref(), put_look);
    });
    out.list(
        &losses.iter().collect::<Vec<_>>(),
        |out, (replica, loss)| {
            out.number(**replica as u64);
            out.tag(u8::from(**loss == Loss::Deleted));
        },
    );
    put_finding(&mut out, finding, words, detailed);
    out.0
}

/// Nothing where the bytes are not those of a record, or the key is in no keyspace.
pub(super) fn decode<'a>(bytes: &[u8], words: &Words, scope: &'a Scope) -> Option<Deferred<'a>> {
    let mut from = In(bytes);
    let db = from.option(|from| u32::try_from(from.number()?).ok().map(DbIndex))?;
    let key = Key::new(from.bytes()?);
    let candidate = Candidate {
        keyspace: scope.owner(db, key.as_bytes())?,
        looks: from.list(|from| from.option(look))?,
        key,
    };
    let pairs = from.list(|from| {
        let replica = usize::try_from(from.number()?).ok()?;
        let deleted = from.tag()? == 1;
        Some((
            replica,
            if deleted {
                Loss::Deleted
            } else {
                Loss::Overwritten
            },
        ))
    })?;
    let finding = finding(&mut from, &candidate, words)?;
    from.0.is_empty().then_some(Deferred {
        candidate,
        finding,
        losses: Losses::from_iter(pairs),
    })
}

fn put_look(out: &mut Out, look: &Look) {
    match look {
        Look::Absent => out.tag(0),
        Look::Unreadable => out.tag(1),
        Look::Present {
            kind,
            digest,
            expiry,
        } => {
            out.tag(2);
            out.tag(*kind as u8);
            out.0.extend_from_slice(digest.as_bytes());
            out.signed(expiry.as_millis());
        }
    }
}

fn look(from: &mut In<'_>) -> Option<Look> {
    Some(match from.tag()? {
        0 => Look::Absent,
        1 => Look::Unreadable,
        2 => Look::Present {
            kind: kind(from)?,
            digest: ValueDigest::from_bytes(from.array()?),
            expiry: Expiry::from_millis(from.signed()?),
        },
        _ => return None,
    })
}

fn evidence(from: &mut In<'_>) -> Option<Evidence> {
    Evidence::ALL.get(usize::from(from.tag()?)).copied()
}

fn kind(from: &mut In<'_>) -> Option<Kind> {
    Kind::ALL.get(usize::from(from.tag()?)).copied()
}

fn put_finding(out: &mut Out, finding: &Finding, words: &mut Words, detailed: bool) {
    out.number(finding.db.0.into());
    out.tag(finding.difference as u8);
    out.list(&finding.holdings, |out, holding| {
        out.option(holding.as_ref(), put_holding);
    });
    let details = if detailed { &finding.details[..] } else { &[] };
    out.list(details, |out, detail| {
        out.number(words.number(detail.what));
        out.option(detail.name.as_ref(), |out, name| out.bytes(name));
        out.list(&detail.values, |out, value| {
            out.option(value.as_ref(), |out, value| out.bytes(value));
        });
    });
    out.option(finding.rule, |out, rule| out.number(words.number(rule)));
    out.option(finding.evidence, |out, evidence| out.tag(evidence as u8));
    let text = |out: &mut Out, text: &String| out.bytes(text.as_bytes());
    out.option(finding.decided.as_ref(), text);
    out.list(&finding.notes, text);
    out.list(&finding.changes, |out, change| {
        out.bytes(change.replica.0.as_bytes());
        out.list(&change.ops, text);
        out.tag(change.fate as u8);
    });
}

fn finding(from: &mut In<'_>, candidate: &Candidate<'_>, words: &Words) -> Option<Finding> {
    Some(Finding {
        key: candidate.key.clone(),
        keyspace: candidate.keyspace.name.clone(),
        db: u32::try_from(from.number()?).ok().map(DbIndex)?,
        difference: *DifferenceKind::ALL.get(usize::from(from.tag()?))?,
        holdings: from.list(|from| from.option(holding))?,
        details: from.list(|from| {
            Some(Detail {
                what: words.word(from.number()?)?,
                name: from.option(In::bytes)?,
                values: from.list(|from| from.option(In::bytes))?,
            })
        })?,
        rule: match from.option(In::number)? {
            Some(number) => Some(words.word(number)?),
            None => None,
        },
        evidence: from.option(evidence)?,
        decided: from.option(In::text)?,
        notes: from.list(In::text)?,
        changes: from.list(|from| {
            Some(Change {
                replica: ReplicaName(from.text()?),
                ops: from.list(In::text)?,
                fate: *Fate::ALL.get(usize::from(from.tag()?))?,
            })
        })?,
        verdict: Verdict::HeldBack,
    })
}

fn put_holding(out: &mut Out, holding: &Holding) {
    match holding {
        Holding::Absent => out.tag(0),
        Holding::Unreadable => out.tag(1),
        Holding::Held(held) => {
            out.tag(2);
            out.tag(held.kind as u8);
            out.signed(held.expiry.as_millis());
            out.number(held.length);
        }
    }
}

fn holding(from: &mut In<'_>) -> Option<Holding> {
    Some(match from.tag()? {
        0 => Holding::Absent,
        1 => Holding::Unreadable,
        2 => Holding::Held(Held {
            kind: kind(from)?,
            expiry: Expiry::from_millis(from.signed()?),
            length: from.number()?,
        }),
        _ => return None,
    })
}
