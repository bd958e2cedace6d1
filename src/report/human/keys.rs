//! The first differing keys: what each replica holds, where they differ, and what became of it.

use bytes::Bytes;

use crate::model::{Datacenter, Expiry, Kind, Millis, ReplicaName};
use crate::repair::{Change, Detail, DifferenceKind, Fate, Finding, Holding, Summary, Verdict};

use super::super::explain::Standing;
use super::super::shape::Shape;
use super::super::text::{count, cut, expiry, holding, list, quoted, thousands, time, wrapped};
use super::grid::{Row, grid};
use super::paint::{Paint, Tone};

/// How many operations of one replica are listed.
const OPERATIONS: usize = 8;

/// The keys that were kept, under a line that says how many there are.
pub(super) fn keys(
    shape: &Shape,
    replicas: &[(ReplicaName, Datacenter)],
    summary: &Summary,
    kept: &[Finding],
) -> String {
    let all: u64 = summary.verdicts.values().sum();
    if kept.is_empty() {
        return String::new();
    }
    let shown = kept.len() as u64;
    let title = if shown < all {
        format!(
            "first {} of {}",
            thousands(shown),
            count(all, "differing key")
        )
    } else {
        count(all, "differing key")
    };
    let names: Vec<&ReplicaName> = replicas.iter().map(|(name, _)| name).collect();
    let blocks = kept.iter().map(|finding| key(shape, &names, finding));
    std::iter::once(Paint(shape.colour).bold(&title))
        .chain(blocks)
        .collect::<Vec<_>>()
        .join("\n\n")
}

fn key(shape: &Shape, names: &[&ReplicaName], finding: &Finding) -> String {
    let paint = Paint(shape.colour);
    let mut lines = vec![title(shape, names, finding)];
    lines.push(grid(
        shape,
        names.iter().map(ToString::to_string).collect(),
        &rows(finding),
    ));
    for line in reasons(finding) {
        lines.extend(told(shape, &line));
    }
    if let Some((tone, text)) = verdict(finding) {
        lines.extend(told(shape, &text).iter().map(|line| paint.tone(tone, line)));
    }
    lines.join("\n")
}

/// A sentence below a key.
fn told(shape: &Shape, text: &str) -> Vec<String> {
    wrapped(text, usize::from(shape.width), "    ")
}

fn title(shape: &Shape, names: &[&ReplicaName], finding: &Finding) -> String {
    let kind = finding.kind().map_or("unreadable", Kind::name);
    let about = format!(
        "({kind}, db {}, keyspace {})  {}",
        finding.db,
        finding.keyspace,
        difference(names, finding)
    );
    let room = usize::from(shape.width).saturating_sub(about.chars().count() + 4);
    let name = cut(&quoted(finding.key.as_bytes()), room.max(32));
    format!("  {}  {about}", Paint(shape.colour).bold(&name))
}

/// In which way they differ, in words.
fn difference(names: &[&ReplicaName], finding: &Finding) -> String {
    let without = |standing: Standing| -> Vec<&str> {
        names
            .iter()
            .zip(&finding.holdings)
            .filter(|(_, holding)| Standing::of(holding.as_ref()) == standing)
            .map(|(name, _)| name.0.as_str())
            .collect()
    };
    match finding.difference {
        DifferenceKind::Missing if without(Standing::Absent).is_empty() => "missing".into(),
        DifferenceKind::Missing => format!("missing on {}", list(&without(Standing::Absent))),
        DifferenceKind::Type => "types differ".into(),
        DifferenceKind::Value => "values differ".into(),
        DifferenceKind::Expiry => "only expiries differ".into(),
    }
}

fn rows(finding: &Finding) -> Vec<Row> {
    let holdings = finding.holdings.iter().map(Option::as_ref);
    let standings: Vec<Standing> = holdings.clone().map(Standing::of).collect();
    let mut rows = vec![Row {
        is_whole: false,
        label: "holds".into(),
        cells: holdings.map(held_text).collect(),
    }];
    rows.extend(expiries(&finding.holdings));
    // The expiry has its row already.
    let details = finding
        .details
        .iter()
        .filter(|detail| detail.what != "expiry");
    rows.extend(details.map(|detail| detail_row(detail, &standings)));
    rows
}

fn held_text(found: Option<&Holding>) -> String {
    match found.and_then(Holding::held) {
        Some(held) => holding(held.kind, held.length),
        None => Standing::of(found).name().into(),
    }
}

/// A row for expiries, where any replica has one.
fn expiries(holdings: &[Option<Holding>]) -> Option<Row> {
    let held = |one: &Option<Holding>| Some(one.as_ref()?.held()?.expiry);
    let any = holdings
        .iter()
        .filter_map(held)
        .any(|one| one != Expiry::Never);
    any.then(|| Row {
        is_whole: false,
        label: "expires".into(),
        cells: holdings
            .iter()
            .map(|one| held(one).map_or_else(String::new, expiry))
            .collect(),
    })
}

fn detail_row(detail: &Detail, standings: &[Standing]) -> Row {
    let cell = |(value, standing): (&Option<Bytes>, &Standing)| match (value, standing) {
        (Some(value), _) => detail_value(detail.what, value),
        (None, Standing::Unknown | Standing::Unreadable) => "?".into(),
        (None, Standing::Held | Standing::Absent) => "–".into(),
    };
    Row {
        is_whole: false,
        label: element_label(detail.what, detail.name.as_ref()),
        cells: detail.values.iter().zip(standings).map(cell).collect(),
    }
}

/// What an element is, and its name.
pub(super) fn element_label(what: &str, name: Option<&Bytes>) -> String {
    match name {
        Some(name) => format!("{} {}", label_of(what), detail_name(what, name)),
        None => label_of(what).into(),
    }
}

fn label_of(what: &str) -> &str {
    match what {
        "score" => "score of",
        "last-id" => "last ID",
        "field-expiry" => "end of field",
        "index" => "element",
        "counted-since" => "counted since",
        "counted-from" => "counted from",
        other => other,
    }
}

/// Numbers and IDs need no quotes.
fn detail_name(what: &str, name: &Bytes) -> String {
    match what {
        "index" | "entry" | "counted" => crate::model::escape(name),
        _ => quoted(name),
    }
}

/// Whether it is a stamp, or was counted: a number that says nothing when it is cut.
pub(super) fn is_recorded(what: &str) -> bool {
    matches!(
        what,
        "added" | "removed" | "counted" | "counted-since" | "counted-from"
    )
}

/// What reknit wrote itself needs no quotes; a value that was cut shows that it goes on.
pub(super) fn detail_value(what: &str, value: &Bytes) -> String {
    match what {
        "score" | "last-id" | "member" | "group" | "field-expiry" => crate::model::escape(value),
        _ if is_recorded(what) => crate::model::escape(value),
        _ if value.len() >= Detail::SHOWN_BYTES => format!("{}…", quoted(value)),
        _ => quoted(value),
    }
}

/// The rule, what is written where, and what else there is to know.
fn reasons(finding: &Finding) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(rule) = finding.rule {
        let decided = finding
            .decided
            .as_ref()
            .map_or_else(String::new, |how| format!(", decided: {how}"));
        lines.push(format!("rule {rule}{decided}"));
    }
    let changes = finding.changes.iter();
    lines.extend(changes.map(|change| change_line(&finding.verdict, change)));
    lines.extend(finding.notes.iter().map(|note| format!("note: {note}")));
    lines
}

fn change_line(verdict: &Verdict, change: &Change) -> String {
    let verb = match change.fate {
        Fate::Planned if *verdict == Verdict::Planned => "would write to",
        Fate::Planned => "to write to",
        Fate::Applied => "wrote to",
        Fate::Superseded => "superseded on",
        Fate::Refused => "refused by",
        Fate::Unknown => "may have written to",
    };
    let mut ops: Vec<String> = change
        .ops
        .iter()
        .take(OPERATIONS)
        .map(|op| readable(op))
        .collect();
    let more = change.ops.len().saturating_sub(OPERATIONS);
    if more > 0 {
        ops.push(format!("{more} more"));
    }
    format!("{verb} {}: {}", change.replica, ops.join(", "))
}

/// An operation whose expiry is a time of the calendar; operations give it in milliseconds, as the server takes it.
pub(super) fn readable(op: &str) -> String {
    let parts = op.rsplit_once(" at ").filter(|_| op.starts_with("expire "));
    match parts.map(|(what, at)| (what, at.parse())) {
        Some((what, Ok(at))) => format!("{what} at {}", time(Millis(at))),
        Some((_, Err(_))) | None => op.into(),
    }
}

/// What became of it; nothing where nothing was to become of it.
fn verdict(finding: &Finding) -> Option<(Tone, String)> {
    match &finding.verdict {
        Verdict::Diverged | Verdict::Planned => None,
        Verdict::Repaired => Some((Tone::Good, "repaired and verified".into())),
        Verdict::Superseded => Some((
            Tone::Mixed,
            "superseded: clients kept writing it, nothing of theirs was overwritten".into(),
        )),
        Verdict::Unresolved(reason) => Some((Tone::Mixed, format!("left as it is: {reason}"))),
        Verdict::Refused(replica, words) => {
            Some((Tone::Bad, format!("{replica} refused the write: {words}")))
        }
        Verdict::Unreadable(replica, words) => {
            Some((Tone::Bad, format!("{replica} cannot read it: {words}")))
        }
        Verdict::Unfinished(reason) => Some((Tone::Bad, format!("not finished: {reason}"))),
        Verdict::OverLimit => Some((
            Tone::Mixed,
            "not repaired: the limit was reached before".into(),
        )),
        Verdict::HeldBack => Some((
            Tone::Bad,
            "held back: a guard stopped the run before anything was overwritten or removed".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_name_times_of_the_calendar() {
        assert_eq!(
            readable("expire at 1790000000000"),
            "expire at 2026-09-21 14:13:20Z"
        );
        assert_eq!(
            readable("expire field a at b at 1790000000000"),
            "expire field a at b at 2026-09-21 14:13:20Z"
        );
        assert_eq!(readable("append 1 stream entry"), "append 1 stream entry");
    }
}
