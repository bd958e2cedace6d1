//! Whether a run could be made, for people.

use super::super::check::{
    CheckReport, CheckedCapabilities, CheckedReplica, Estimate, Remark, Severity,
};
use super::super::shape::Shape;
use super::super::text::{count, duration, list, size, thousands};
use super::joined;
use super::paint::{Paint, Tone};

pub(in crate::report) fn check(shape: &Shape, report: &CheckReport, is_partial: bool) -> String {
    let paint = Paint(shape.colour);
    let mut parts = vec![headline(paint, report, is_partial)];
    parts.extend(report.replicas.iter().map(|one| replica(paint, one)));
    parts.push(remarks(paint, &report.remarks, ""));
    parts.extend(report.estimate.as_ref().map(estimate));
    parts.push(rules(paint, report));
    joined(parts)
}

fn headline(paint: Paint, report: &CheckReport, is_partial: bool) -> String {
    let on = count(report.replicas.len() as u64, "replica");
    let warnings = count(report.count(Severity::Warn), "warning");
    match (report.count(Severity::Error), report.count(Severity::Warn)) {
        (0, 0) => paint.tone(Tone::Good, &format!("ready: {on}")),
        (0, _) => paint.tone(Tone::Mixed, &format!("ready, with {warnings}: {on}")),
        (errors, _) => {
            let (tone, state) = match is_partial {
                true => (Tone::Mixed, "ready for a partial run"),
                false => (Tone::Bad, "not ready"),
            };
            let errors = count(errors, "error");
            paint.tone(tone, &format!("{state}: {errors}, {warnings} on {on}"))
        }
    }
}

fn replica(paint: Paint, replica: &CheckedReplica) -> String {
    let mut lines = vec![format!(
        "{}  {} in {}",
        paint.bold(&replica.name.0),
        replica.endpoint,
        replica.datacenter
    )];
    let about = about(replica);
    if !about.is_empty() {
        lines.push(format!("  {}", about.join(", ")));
    }
    lines.extend(replica.keyspaces.iter().map(|one| {
        format!(
            "  keyspace {}, db {}: about {}",
            one.keyspace,
            one.db,
            count(one.keys, "key")
        )
    }));
    lines.extend(replica.capabilities.iter().flat_map(lacking));
    lines.push(remarks(paint, &replica.remarks, "  "));
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

/// What it lacks, each with what that comes to.
fn lacking(capabilities: &CheckedCapabilities) -> Vec<String> {
    let lacks = capabilities.lacks.iter().zip(&capabilities.instead);
    let by = match capabilities.told_by {
        "COMMAND INFO" => String::new(),
        other => format!(", as far as {other} tells"),
    };
    lacks
        .map(|(name, instead)| format!("  without {name}{by}: {instead}"))
        .collect()
}

fn about(replica: &CheckedReplica) -> Vec<String> {
    let mut parts: Vec<String> = replica
        .version
        .iter()
        .chain(&replica.role)
        .cloned()
        .collect();
    parts.extend(
        replica
            .memory_bytes
            .map(|used| match replica.memory_limit_bytes {
                Some(limit) => format!("{} of {} memory", size(used), size(limit)),
                None => format!("{} memory", size(used)),
            }),
    );
    parts.extend(replica.clock_skew_ms.map(skew));
    parts
}

fn skew(ahead: i64) -> String {
    match ahead {
        0 => "clock equal to ours".into(),
        1.. => format!("clock {} ms ahead", thousands(ahead.unsigned_abs())),
        _ => format!("clock {} ms behind", thousands(ahead.unsigned_abs())),
    }
}

fn remarks(paint: Paint, remarks: &[Remark], indent: &str) -> String {
    let lines = remarks.iter().flat_map(|remark| {
        let (tone, mark) = match remark.severity {
            Severity::Ok => (Tone::Good, "ok   "),
            Severity::Warn => (Tone::Mixed, "warn "),
            Severity::Error => (Tone::Bad, "error"),
        };
        let first = format!("{indent}{} {}", paint.tone(tone, mark), remark.text);
        let advice = remark
            .advice
            .iter()
            .map(move |text| format!("{indent}      → {text}"));
        std::iter::once(first).chain(advice)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn estimate(estimate: &Estimate) -> String {
    format!(
        "a run would read about {} and {} in about {}, with up to {} of memory",
        count(estimate.keys, "key"),
        size(estimate.bytes),
        duration(std::time::Duration::from_millis(estimate.duration_ms)),
        size(estimate.memory_bytes)
    )
}

/// Each ACL rule once, with the replicas that take it.
fn rules(paint: Paint, report: &CheckReport) -> String {
    let mut rules: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for replica in &report.replicas {
        let (Some(rule), Some(diff)) = (&replica.acl_rule, &replica.acl_rule_diff) else {
            continue;
        };
        match rules.iter_mut().find(|(known, _, _)| known == rule) {
            Some((_, _, names)) => names.push(&replica.name.0),
            None => rules.push((rule, diff, vec![&replica.name.0])),
        }
    }
    let blocks = rules.iter().map(|(rule, diff, names)| {
        let on = list(names);
        let title = format!("the smallest ACL rule that reknit needs on {on}:");
        let part = format!("and for diff alone on {on}:");
        let (title, part) = (paint.bold(&title), paint.bold(&part));
        format!("{title}\n  {rule}\n\n{part}\n  {diff}")
    });
    blocks.collect::<Vec<_>>().join("\n\n")
}
