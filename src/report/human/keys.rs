//! The first differing keys: what each replica holds, where they differ, and what became of it.

use bytes::Bytes;

use crate::model::{Datacenter, Expiry, Kind, ReplicaName};
use crate::repair::{Change, Detail, DifferenceKind, Finding, Holding, Summary, Verdict};

use super::super::explain::Standing;
use super::super::shape::Shape;
use super::super::text::{count, cut, expiry, holding, list, quoted, thousands};
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
        &rows(names, finding),
    ));
    lines.extend(reasons(finding).iter().map(|line| format!("    {line}")));
    lines.extend(verdict(finding).map(|(tone, text)| format!("    {}", paint.tone(tone, &text))));
    lines.join("\n")
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
            .filter(|(name, held)| Standing::of(name, held.as_ref(), &finding.verdict) == standing)
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

fn rows(names: &[&ReplicaName], finding: &Finding) -> Vec<Row> {
    let standings: Vec<Standing> = names
        .iter()
        .zip(&finding.holdings)
        .map(|(name, held)| Standing::of(name, held.as_ref(), &finding.verdict))
        .collect();
    let holds = standings.iter().zip(&finding.holdings);
    let mut rows = vec![Row {
        label: "holds".into(),
        cells: holds
            .map(|(standing, held)| held_text(*standing, held.as_ref()))
            .collect(),
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

fn held_text(standing: Standing, held: Option<&Holding>) -> String {
    match (standing, held) {
        (
            Standing::Held,
            Some(Holding {
                kind: Some(kind),
                length,
                ..
            }),
        ) => holding(*kind, *length),
        _ => standing.name().into(),
    }
}

/// A row for expiries, where any replica has one.
fn expiries(holdings: &[Option<Holding>]) -> Option<Row> {
    let held = |one: &Option<Holding>| {
        one.as_ref()
            .filter(|one| one.kind.is_some())
            .map(|one| one.expiry)
    };
    let any = holdings
        .iter()
        .filter_map(held)
        .any(|one| one != Expiry::Never);
    any.then(|| Row {
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
        "index" => "element",
        other => other,
    }
}

/// Numbers and IDs need no quotes.
fn detail_name(what: &str, name: &Bytes) -> String {
    match what {
        "index" | "entry" => crate::model::escape(name),
        _ => quoted(name),
    }
}

/// What reknit wrote itself needs no quotes; a value that was cut shows that it goes on.
pub(super) fn detail_value(what: &str, value: &Bytes) -> String {
    match what {
        "score" | "last-id" | "member" | "group" => crate::model::escape(value),
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
    let verb = match finding.verdict {
        Verdict::Planned => "would write to",
        Verdict::Repaired => "wrote to",
        Verdict::Diverged
        | Verdict::Superseded
        | Verdict::Unresolved(_)
        | Verdict::Refused(..)
        | Verdict::Unreadable(..)
        | Verdict::Unfinished(_)
        | Verdict::OverLimit => "to write to",
    };
    lines.extend(
        finding
            .changes
            .iter()
            .map(|change| change_line(verb, change)),
    );
    lines.extend(finding.notes.iter().map(|note| format!("note: {note}")));
    lines
}

fn change_line(verb: &str, change: &Change) -> String {
    let mut ops: Vec<String> = change.ops.iter().take(OPERATIONS).cloned().collect();
    let more = change.ops.len().saturating_sub(OPERATIONS);
    if more > 0 {
        ops.push(format!("{more} more"));
    }
    format!("{verb} {}: {}", change.replica, ops.join(", "))
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
    }
}
