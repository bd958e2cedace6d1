//! Limits, guards, the agreement's bounds and the state directory, from their raw form.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::time::Duration;

use super::YamlPath;
use super::error::Contradiction;
use super::raw::{
    RawAgreement, RawClock, RawDynomite, RawGuards, RawLimits, RawReplicates, RawState,
};
use super::scalar::{YamlDuration, YamlNumber};
use crate::model::{
    AgreementBounds, Guards, Intensity, JournalBounds, Limits, Ratio, StampBounds, StateDir,
};

/// Reads the limits.
pub(super) fn limits(raw: &RawLimits) -> Result<Limits, Contradiction> {
    let at = YamlPath::of("limits");
    let default = Limits::default();
    Ok(Limits {
        keys_per_second: raw.keys_per_second.and_then(NonZeroU64::new),
        bytes_per_second: raw
            .bytes_per_second
            .and_then(|size| NonZeroU64::new(size.0.as_u64())),
        intensity: intensity(raw.intensity, at.key("intensity"))?,
        pipeline: pipeline(raw.pipeline, at.key("pipeline"))?,
        memory: match raw.memory {
            Some(size) if size.0.as_u64() == 0 => {
                let advice = "write one like 512MiB or 1GiB";
                return Err(Contradiction::new(
                    at.key("memory"),
                    "nothing works in no memory",
                    advice,
                ));
            }
            Some(size) => size.0,
            None => default.memory,
        },
        segment: segment(raw.segment, at.key("segment"))?,
    })
}

fn segment(raw: Option<YamlDuration>, at: YamlPath) -> Result<Duration, Contradiction> {
    let found = raw.map_or(Limits::DEFAULT_SEGMENT, |found| found.0);
    if found < Limits::SHORTEST_SEGMENT {
        let what = "a segment of less than a second costs more than it saves";
        let advice = "write what may be read again after a run was cut off, such as 5m";
        return Err(Contradiction::new(at, what, advice));
    }
    Ok(found)
}

fn intensity(raw: Option<YamlNumber>, at: YamlPath) -> Result<Intensity, Contradiction> {
    let Some(YamlNumber(number)) = raw else {
        return Ok(Intensity::FULL);
    };
    Intensity::new(number).ok_or_else(|| {
        let what = format!("intensity {number} is not between 0.001 and 1");
        Contradiction::new(
            at,
            what,
            "write the share of time spent working, such as 0.5",
        )
    })
}

fn pipeline(raw: Option<usize>, at: YamlPath) -> Result<NonZeroUsize, Contradiction> {
    let Some(number) = raw else {
        return Ok(Limits::DEFAULT_PIPELINE);
    };
    NonZeroUsize::new(number)
        .filter(|found| found.get() <= Limits::MAX_PIPELINE)
        .ok_or_else(|| {
            let what = format!(
                "pipeline {number} is not between 1 and {}",
                Limits::MAX_PIPELINE
            );
            Contradiction::new(at, what, "10 is gentle, 100 is fast")
        })
}

/// Reads the guards; where datacenters replicate to each other, settle waits at least for their lag.
pub(super) fn guards(raw: &RawGuards, lag: Option<Duration>) -> Result<Guards, Contradiction> {
    let at = YamlPath::of("guards");
    let default = Guards::default();
    let settle = raw.settle.map_or(default.settle, |found| found.0);
    if settle > Guards::MAX_SETTLE {
        let what = "the pause is longer than an hour";
        let advice = "write the time that writes are under way, such as 1s";
        return Err(Contradiction::new(at.key("settle"), what, advice));
    }
    Ok(Guards {
        max_delete_ratio: ratio(
            raw.max_delete_ratio,
            default.max_delete_ratio,
            at.key("max_delete_ratio"),
        )?,
        max_overwrite_ratio: ratio(
            raw.max_overwrite_ratio,
            default.max_overwrite_ratio,
            at.key("max_overwrite_ratio"),
        )?,
        settle: settle.max(lag.unwrap_or_default()),
    })
}

fn ratio(raw: Option<YamlNumber>, default: Ratio, at: YamlPath) -> Result<Ratio, Contradiction> {
    let Some(YamlNumber(number)) = raw else {
        return Ok(default);
    };
    Ratio::new(number).ok_or_else(|| {
        let what = format!("ratio {number} is not between 0 and 1");
        Contradiction::new(at, what, "write 0.01 for one key in a hundred")
    })
}

/// Reads how late the datacenters' own replication may be.
pub(super) fn lag(raw: Option<&RawReplicates>) -> Result<Option<Duration>, Contradiction> {
    match raw.map(|raw| raw.lag) {
        None => Ok(None),
        Some(Some(lag)) => Ok(Some(lag.0)),
        Some(None) => Err(Contradiction::new(
            YamlPath::of("replicates"),
            "nothing says how late the datacenters' own replication may be",
            "write replicates: { lag: 5s }",
        )),
    }
}

/// Reads the agreement's bounds.
pub(super) fn agreement(raw: &RawAgreement) -> AgreementBounds {
    let default = AgreementBounds::default();
    AgreementBounds {
        elements: raw.elements.unwrap_or(default.elements),
        history: raw.history.map_or(default.history, |found| found.0),
    }
}

/// Reads how stamps are taken.
pub(super) fn stamps(clock: &RawClock, dynomite: &RawDynomite) -> StampBounds {
    let default = StampBounds::default();
    StampBounds {
        max_skew: clock.max_skew.map_or(default.max_skew, |found| found.0),
        tombstone_grace: dynomite
            .tombstone_grace
            .map_or(default.tombstone_grace, |found| found.0),
    }
}

/// Reads where memory is kept.
pub(super) fn state(raw: Option<&RawState>, base_dir: &Path) -> Result<StateDir, Contradiction> {
    let at = YamlPath::of("state");
    match raw {
        None => Ok(StateDir::default()),
        Some(RawState::Word(word)) if word == "none" => Ok(StateDir::Nowhere),
        Some(RawState::Word(_)) => Err(Contradiction::new(
            at,
            "this is neither `none` nor a map",
            "write state: none, or state: { dir: /var/lib/reknit }",
        )),
        Some(RawState::Map(map)) => match map.dir.as_deref() {
            None => Ok(StateDir::default()),
            Some("none") => Ok(StateDir::Nowhere),
            Some("") => Err(Contradiction::new(
                at.key("dir"),
                "the directory's name is empty",
                "name a directory, or write state: none",
            )),
            Some(dir) => Ok(StateDir::At(base_dir.join(dir))),
        },
    }
}

/// Reads how much of the journal is kept.
pub(super) fn journal(raw: Option<&RawState>) -> Result<JournalBounds, Contradiction> {
    let default = JournalBounds::default();
    let Some(RawState::Map(map)) = raw else {
        return Ok(default);
    };
    let nowhere = map.dir.as_deref() == Some("none");
    if nowhere && (map.journal_age.is_some() || map.journal_size.is_some()) {
        return Err(Contradiction::new(
            YamlPath::of("state"),
            "without a directory there is no journal",
            "name a directory, or write state: none",
        ));
    }
    Ok(JournalBounds {
        age: map.journal_age.map_or(default.age, |found| found.0),
        size: map.journal_size.map_or(default.size, |found| found.0),
    })
}
