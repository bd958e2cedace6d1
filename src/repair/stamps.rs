//! The stamps of a batch's keys on all replicas, and what keeps a key from being judged by them.

use futures::future::join_all;

use crate::model::{Layout, Millis, Stamps, escape};
use crate::state::JournalEntry;
use crate::store::{Observed, StampQuery, StampReading};

use super::finding::Verdict;
use super::reading::{is_large, state};
use super::round::Candidate;
use super::run::Shared;

/// The stamps of one key, by replica; nothing for replicas that are lost, or where none are kept.
pub(super) type Stampings = Vec<Option<StampReading>>;

/// Reads the stamps of keys, given what every replica was seen to hold of them.
pub(super) async fn read_stamps(
    shared: &Shared<'_>,
    keys: &[(&Candidate<'_>, &[Option<Observed>])],
) -> Vec<Stampings> {
    let queries = keys.iter().map(|key| query(key)).collect();
    ask(shared, keys.first().map(|(first, _)| *first), queries).await
}

/// A key that is to be undone, what is held of it, and what the run wrote.
type Undone<'a> = (
    &'a Candidate<'a>,
    &'a [Option<Observed>],
    &'a [JournalEntry],
);

/// The same for keys that are to be undone: also of the elements whose stamps the run wrote.
pub(super) async fn stamps_of_journal(
    shared: &Shared<'_>,
    keys: Vec<Undone<'_>>,
) -> Vec<Stampings> {
    let first = keys.first().map(|(first, ..)| *first);
    let queries = keys.into_iter().map(|(candidate, observed, entries)| {
        let mut query = query(&(candidate, observed));
        let restampings = entries.iter().filter_map(|entry| entry.stamps.as_ref());
        let written = restampings.flat_map(|one| one.wrote.elements.keys());
        query.elements.extend(written.cloned());
        query
    });
    ask(shared, first, queries.collect()).await
}

async fn ask(
    shared: &Shared<'_>,
    first: Option<&Candidate<'_>>,
    queries: Vec<StampQuery>,
) -> Vec<Stampings> {
    let mut all: Vec<Stampings> = vec![vec![None; shared.run.participants.len()]; queries.len()];
    let Some(first) = first else {
        return all;
    };
    if shared.run.scope.layout() == Layout::Plain {
        return all;
    }
    let db = first.keyspace.db;
    let asked = shared.active().into_iter().map(|index| {
        let (replica, queries) = (&shared.run.participants[index].replica, &queries);
        async move { (index, replica.stamps(db, queries).await) }
    });
    for (index, answer) in join_all(asked).await {
        match answer {
            Ok(readings) => {
                for (stampings, reading) in all.iter_mut().zip(readings) {
                    stampings[index] = Some(reading);
                }
            }
            Err(error) => shared.lose(index, &error),
        }
    }
    all
}

fn query((candidate, observed): &(&Candidate<'_>, &[Option<Observed>])) -> StampQuery {
    let states = observed.iter().filter_map(state);
    let names: std::collections::BTreeSet<_> = states
        .flat_map(|state| state.value.element_names())
        .collect();
    StampQuery {
        key: candidate.key.clone(),
        elements: names.into_iter().collect(),
        // A large value is read a few elements at a time, and so are its stamps.
        only: is_large(observed),
    }
}

/// The stamps of a replica, if they could be read.
pub(super) fn stamps(reading: Option<&StampReading>) -> Option<&Stamps> {
    reading.and_then(|reading| reading.as_ref().ok())
}

/// Why a key is left alone: a set of stamps is none, a stamp lies in the future, or counts have no owner.
pub(super) fn doubt(shared: &Shared<'_>, stampings: &Stampings) -> Option<Verdict> {
    let skew = shared.run.settings.max_skew;
    let latest = Millis(
        shared
            .run
            .clock
            .now()
            .0
            .saturating_add(skew.as_millis() as i64),
    );
    let participants = shared.run.participants.iter();
    let of_reading = participants
        .zip(stampings)
        .find_map(|(participant, reading)| {
            let name = participant.replica.name();
            match reading.as_ref()? {
                Err(words) => Some(Verdict::Unreadable(name.clone(), words.clone())),
                Ok(stamps) => {
                    let words = ahead(stamps, latest)?;
                    Some(Verdict::Unresolved(format!(
                        "quarantined: replica {name} {words}"
                    )))
                }
            }
        });
    of_reading.or_else(|| shared.namesakes.doubt(stampings).map(Verdict::Unresolved))
}

/// What is wrong with a stamp that lies behind this time.
fn ahead(stamps: &Stamps, latest: Millis) -> Option<String> {
    let (element, stamp) = stamps
        .latest()
        .filter(|(_, stamp)| stamp.is_after(latest))?;
    let of = element.map_or_else(|| "the key".to_owned(), |name| escape(name));
    Some(format!(
        "has a stamp of {of} from the future ({stamp}), see to the clock that gave it, or raise clock.max_skew"
    ))
}
