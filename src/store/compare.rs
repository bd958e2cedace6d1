//! The comparison before a write: do the keys, watched by now, hold what is expected?
//!
//! Counters and stamped keys are left out: their comparison is a script's, at the moment of the write (see
//! [`super::counter`] and [`super::stamped`]). A stamped value that is too large for that is compared here, and its
//! stamps there.

use crate::model::{Digester, Expect, Key, Write};

use super::Observed;
use super::elements::watched_elements;
use super::observe::observe;
use super::wire::{Wire, WireError};

/// The keys of the members that are to be watched.
pub(crate) fn watched<'a>(writes: &'a [Write], members: &[usize]) -> Vec<&'a [u8]> {
    let members = members.iter().map(|&index| &writes[index]);
    members
        .filter(|write| write.expect.is_watched())
        .map(|write| write.key.as_bytes())
        .collect()
}

/// Splits the members, by index: those that hold what is expected, what a script looks at among them, and those that do not.
pub(crate) async fn compare(
    wire: &mut Wire,
    writes: &[Write],
    members: &[usize],
    depth: usize,
    digester: &mut Digester,
) -> Result<(Vec<usize>, Vec<usize>), WireError> {
    let whole: Vec<usize> = members
        .iter()
        .copied()
        .filter(|&index| is_whole(&writes[index].expect))
        .collect();
    let keys: Vec<Key> = whole
        .iter()
        .map(|&index| writes[index].key.clone())
        .collect();
    let observed = observe(wire, &keys, depth, false, digester).await?;
    let mut observed = observed.iter();
    let (mut matching, mut superseded) = (Vec::new(), Vec::new());
    for &index in members {
        let write = &writes[index];
        let as_expected = match &write.expect {
            Expect::Stamped(witness) if witness.watched.is_none() => true,
            Expect::Counter { .. } | Expect::Counters { .. } => true,
            Expect::Elements { .. } => watched_elements(wire, write, digester).await?,
            Expect::Absent | Expect::Exactly { .. } | Expect::Stamped(_) => observed
                .next()
                .is_some_and(|found| is_as_expected(&write.expect, found)),
        };
        if as_expected {
            matching.push(index);
        } else {
            superseded.push(index);
        }
    }
    Ok((matching, superseded))
}

fn is_whole(expect: &Expect) -> bool {
    match expect {
        Expect::Absent | Expect::Exactly { .. } => true,
        Expect::Stamped(_) => expect.is_watched(),
        Expect::Elements { .. } | Expect::Counter { .. } | Expect::Counters { .. } => false,
    }
}

fn is_as_expected(expect: &Expect, observed: &Observed) -> bool {
    match (expect, observed) {
        (Expect::Absent, Observed::Absent) => true,
        (Expect::Exactly { digest, expiry }, Observed::Large(found)) => {
            *digest == found.digest && *expiry == found.expiry
        }
        (Expect::Stamped(witness), Observed::Large(found)) => {
            witness.watched == Some((found.digest, found.expiry))
        }
        _ => false,
    }
}
