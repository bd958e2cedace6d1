//! Whether a replica forgot something: its marker against what is remembered of it.

use crate::model::{Lane, Marker, RunNumber, Sequence, StateId};

/// What a replica's marker tells at the beginning of a run or after a reconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memorable {
    /// It forgot nothing that was acknowledged. The step of its last transaction may be newer than what is known to be
    /// acknowledged.
    Intact(Sequence),
    /// It lost what came after this step.
    RolledBack(Sequence),
    /// It was never seen, or lost everything: what it lacks is no evidence.
    Newcomer,
}

/// Why these replicas are not the ones that the state directory remembers, or not alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongState {
    /// Another state directory repairs them.
    #[error("the marker there belongs to another state directory ({0})")]
    Foreign(StateId),
    /// The state directory is older than the marker: it was restored from a backup.
    #[error(
        "the marker there was set by run {found}, and the last run that the state directory knows is {known}"
    )]
    NewerRun {
        /// The run that set the marker.
        found: RunNumber,
        /// The last one that is known.
        known: RunNumber,
    },
    /// The marker's step was never taken by this state directory.
    #[error("the marker there is of step {0}, which this state directory never took")]
    UnknownStep(u64),
    /// What stands under the marker's name is no marker.
    #[error("what stands there is no marker of this version of reknit")]
    NoMarker,
}

/// What the state directory knows when it meets a marker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Knowledge {
    /// Its identity.
    pub(crate) state: StateId,
    /// The last run that was begun.
    pub(crate) last_run: RunNumber,
    /// The last step that may have been taken.
    pub(crate) last_step: Sequence,
    /// What was acknowledged by the lane; nothing if the replica was never written to.
    pub(crate) lane: Option<Lane>,
}

/// Compares a marker with what is remembered.
///
/// # Errors
/// When the state directory is not the one of this replica: nothing may be written.
pub(crate) fn compare(found: Option<&[u8]>, known: &Knowledge) -> Result<Memorable, WrongState> {
    let Some(bytes) = found else {
        return Ok(Memorable::Newcomer);
    };
    let marker = Marker::decode(bytes).ok_or(WrongState::NoMarker)?;
    if marker.state != known.state {
        return Err(WrongState::Foreign(marker.state));
    }
    if marker.run > known.last_run {
        return Err(WrongState::NewerRun {
            found: marker.run,
            known: known.last_run,
        });
    }
    if marker.sequence > known.last_step {
        return Err(WrongState::UnknownStep(marker.sequence.0));
    }
    Ok(match known.lane {
        // A marker without a lane: it was set, and the run died before it remembered that.
        None => Memorable::Newcomer,
        Some(lane) if marker.sequence < lane.acknowledged => Memorable::RolledBack(marker.sequence),
        Some(_) => Memorable::Intact(marker.sequence),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OwnerToken;

    const STATE: StateId = StateId([1; 16]);

    fn marker(state: StateId, run: u64, step: u64) -> String {
        let marker = Marker {
            state,
            owner: OwnerToken([0; 8]),
            run: RunNumber(run),
            sequence: Sequence(step),
            written: 0,
        };
        marker.encode()
    }

    fn known(lane: Option<(u64, u64)>) -> Knowledge {
        Knowledge {
            state: STATE,
            last_run: RunNumber(7),
            last_step: Sequence(100),
            lane: lane.map(|(first, acknowledged)| Lane {
                first: Sequence(first),
                acknowledged: Sequence(acknowledged),
            }),
        }
    }

    fn of(text: Option<&str>, lane: Option<(u64, u64)>) -> Result<Memorable, WrongState> {
        compare(text.map(str::as_bytes), &known(lane))
    }

    #[test]
    fn a_marker_tells_who_forgot_what() {
        let at = |step| marker(STATE, 7, step);
        assert_eq!(of(None, None), Ok(Memorable::Newcomer));
        assert_eq!(of(None, Some((1, 50))), Ok(Memorable::Newcomer));
        assert_eq!(
            of(Some(&at(50)), Some((1, 50))),
            Ok(Memorable::Intact(Sequence(50)))
        );
        assert_eq!(
            of(Some(&at(60)), Some((1, 50))),
            Ok(Memorable::Intact(Sequence(60)))
        );
        assert_eq!(
            of(Some(&at(49)), Some((1, 50))),
            Ok(Memorable::RolledBack(Sequence(49)))
        );
        assert_eq!(of(Some(&at(49)), None), Ok(Memorable::Newcomer));
    }

    #[test]
    fn another_state_directory_or_an_older_copy_of_ours_is_refused() {
        let foreign = marker(StateId([2; 16]), 7, 50);
        assert_eq!(
            of(Some(&foreign), Some((1, 50))),
            Err(WrongState::Foreign(StateId([2; 16])))
        );
        let newer = marker(STATE, 8, 50);
        assert!(matches!(
            of(Some(&newer), Some((1, 50))),
            Err(WrongState::NewerRun { .. })
        ));
        let unknown = marker(STATE, 7, 101);
        assert_eq!(
            of(Some(&unknown), Some((1, 50))),
            Err(WrongState::UnknownStep(101))
        );
        assert_eq!(of(Some("x"), Some((1, 50))), Err(WrongState::NoMarker));
    }
}
