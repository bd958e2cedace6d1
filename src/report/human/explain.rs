//! One key from every side, for people.

use super::super::explain::{
    ExplainReport, ExplainedElement, ExplainedResult, ExplainedSibling, ExplainedVersion, Standing,
};
use super::super::shape::Shape;
use super::super::text::{count, expiry, holding, quoted, time, without_name};
use super::grid::{Row, grid};
use super::joined;
use super::keys::{detail_value, element_label, is_recorded, readable};
use super::paint::{Paint, Tone};
use crate::model::Expiry;

pub(in crate::report) fn explain(shape: &Shape, report: &ExplainReport) -> String {
    let paint = Paint(shape.colour);
    joined([
        title(paint, report),
        side_by_side(shape, report),
        agreement(report),
        why(paint, report),
        writes(paint, report),
    ])
}

fn title(paint: Paint, report: &ExplainReport) -> String {
    let (tone, state) = match report.difference {
        None if report.siblings.iter().all(is_absent) => (
            Tone::Good,
            "no replica holds it: is the key written as redis-cli shows it, and the database right?"
                .to_owned(),
        ),
        None if report.siblings.iter().all(is_known) => {
            (Tone::Good, "equal on every replica".to_owned())
        }
        None => (
            Tone::Mixed,
            "equal on every replica that could be read".to_owned(),
        ),
        Some("missing") => (Tone::Mixed, "some replicas lack it".to_owned()),
        Some(what) => (Tone::Mixed, format!("the replicas differ in its {what}")),
    };
    format!(
        "{}  (db {}, keyspace {}, slot {}, position {})\n{}",
        paint.bold(&quoted(report.key.as_bytes())),
        report.db,
        report.keyspace,
        report.slot,
        report.position,
        paint.tone(tone, &state)
    )
}

fn is_absent(sibling: &ExplainedSibling) -> bool {
    sibling.state == Standing::Absent
}

fn is_known(sibling: &ExplainedSibling) -> bool {
    matches!(sibling.state, Standing::Held | Standing::Absent)
}

fn side_by_side(shape: &Shape, report: &ExplainReport) -> String {
    let head = report
        .siblings
        .iter()
        .map(|sibling| sibling.replica.to_string());
    let head = head.chain(std::iter::once("result".into())).collect();
    let mut rows = vec![holds(report), expires(report)];
    rows.extend(
        report
            .elements
            .iter()
            .map(|element| element_row(report, element)),
    );
    let mut lines = vec![grid(shape, head, &rows)];
    if report.elements_left_out > 0 {
        lines.push(format!(
            "    {} more",
            count(report.elements_left_out, "element")
        ));
    }
    let problems = report.siblings.iter().filter_map(|sibling| {
        let problem = sibling.problem.as_ref()?;
        let problem = without_name(&sibling.replica, problem);
        let line = format!("    {}: {problem}", sibling.replica);
        Some(Paint(shape.colour).tone(Tone::Bad, &line))
    });
    lines.extend(problems);
    lines.join("\n")
}

fn holds(report: &ExplainReport) -> Row {
    let sibling = report
        .siblings
        .iter()
        .map(|one| match (one.state, one.kind) {
            (Standing::Held, Some(kind)) => holding(kind, one.length),
            (standing, _) => standing.name().into(),
        });
    let result = match &report.result {
        None => "open".into(),
        Some(ExplainedResult { kind: None, .. }) => "absent".into(),
        Some(ExplainedResult {
            kind: Some(kind),
            length,
            ..
        }) => holding(*kind, *length),
    };
    Row {
        is_whole: false,
        label: "holds".into(),
        cells: sibling.chain(std::iter::once(result)).collect(),
    }
}

fn expires(report: &ExplainReport) -> Row {
    let siblings = report.siblings.iter().map(|one| match one.state {
        Standing::Held => expiry(one.expiry),
        Standing::Absent | Standing::Unreadable | Standing::Unknown => String::new(),
    });
    let result = report
        .result
        .as_ref()
        .filter(|result| result.kind.is_some());
    let result = result.map_or_else(String::new, |result| expiry(result.expiry));
    Row {
        is_whole: false,
        label: "expires".into(),
        cells: siblings.chain(std::iter::once(result)).collect(),
    }
}

fn element_row(report: &ExplainReport, element: &ExplainedElement) -> Row {
    let shown = |value| detail_value(&element.what, value);
    let values = element.values.iter().zip(&report.siblings);
    let values = values.map(|(value, sibling)| match (value, sibling.state) {
        (Some(value), _) => shown(value),
        (None, Standing::Unreadable | Standing::Unknown) => "?".into(),
        (None, Standing::Held | Standing::Absent) => "–".into(),
    });
    let result = match &report.result {
        None => "open".into(),
        Some(_) => element.result.as_ref().map_or_else(|| "–".into(), shown),
    };
    let mark = if element.differs { "≠ " } else { "= " };
    Row {
        is_whole: is_recorded(&element.what),
        label: format!(
            "{mark}{}",
            element_label(&element.what, element.name.as_ref())
        ),
        cells: values.chain(std::iter::once(result)).collect(),
    }
}

/// What is remembered of it, and what each replica did since.
fn agreement(report: &ExplainReport) -> String {
    let Some(memory) = &report.memory else {
        return String::new();
    };
    let agreed = match &memory.agreed {
        None => "nothing yet".into(),
        Some(agreed) => version(agreed),
    };
    let mut lines = vec![format!("agreed    {agreed}")];
    let pasts = memory.replicas.iter().map(|past| {
        let lags = if past.lags { ", lags" } else { "" };
        let lost = if past.rolled_back {
            ", lost its last writes"
        } else {
            ""
        };
        format!("{} {}{lags}{lost}", past.replica, past.did)
    });
    lines.push(format!(
        "since     {}",
        pasts.collect::<Vec<_>>().join("; ")
    ));
    let told = report.elements.iter().filter(|element| element.differs);
    for element in told.filter(|element| !element.since.is_empty()) {
        lines.push(format!("          {}", element_since(report, element)));
    }
    lines.join("\n")
}

fn version(agreed: &ExplainedVersion) -> String {
    let what = match (agreed.kind, agreed.number, agreed.elements) {
        (None, _, _) => "gone".into(),
        (Some(_), Some(number), _) => format!("the number {number}"),
        (Some(kind), None, Some(elements)) => holding(kind, elements),
        (Some(kind), None, None) => format!("a {kind}, as a whole"),
    };
    let until = match agreed.expiry {
        Expiry::Never => String::new(),
        Expiry::At(_) => format!(", until {}", expiry(agreed.expiry)),
    };
    let since = time(agreed.since);
    format!("version {}: {what}{until}, since {since}", agreed.version)
}

fn element_since(report: &ExplainReport, element: &ExplainedElement) -> String {
    let label = element_label(&element.what, element.name.as_ref());
    let sides = report.siblings.iter().zip(&element.since);
    let did = sides.map(|(sibling, did)| format!("{} {}", sibling.replica, did.unwrap_or("?")));
    format!("{label}: {}", did.collect::<Vec<_>>().join(", "))
}

fn why(paint: Paint, report: &ExplainReport) -> String {
    let mut lines = vec![
        format!("rule      {}", report.rule),
        format!("evidence  {}", report.evidence),
    ];
    lines.extend(report.decided.iter().map(|how| format!("decided   {how}")));
    lines.extend(
        report
            .unresolved
            .iter()
            .map(|reason| paint.tone(Tone::Mixed, &format!("open      {reason}"))),
    );
    lines.extend(report.notes.iter().map(|note| format!("note      {note}")));
    lines.join("\n")
}

fn writes(paint: Paint, report: &ExplainReport) -> String {
    if report.writes.is_empty() {
        return "a repair would write nothing".into();
    }
    let lines = report
        .writes
        .iter()
        .map(|write| format!("  {}: {}", write.replica, operations(&write.operations)));
    std::iter::once(paint.bold("a repair would write"))
        .chain(lines)
        .collect::<Vec<_>>()
        .join("\n")
}

fn operations(operations: &[String]) -> String {
    let shown: Vec<String> = operations.iter().map(|op| readable(op)).collect();
    shown.join(", ")
}
