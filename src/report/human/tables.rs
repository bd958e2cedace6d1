//! The counts: by keyspace and type, and by replica.

use comfy_table::modifiers::UTF8_ROUND_CORNERS;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, CellAlignment, Table};

use crate::model::{Datacenter, ReplicaName};
use crate::repair::{Mode, ReplicaSummary, Summary, Tally};

use super::super::shape::Shape;
use super::super::text::{size, thousands};
use super::paint::Tone;

/// A table with this head; the first columns hold text, the others numbers.
pub(super) fn table(shape: &Shape, head: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_FULL_CONDENSED)
        .apply_modifier(UTF8_ROUND_CORNERS)
        .set_width(shape.width)
        .set_content_arrangement(comfy_table::ContentArrangement::Dynamic)
        .set_header(
            head.iter()
                .map(|name| Cell::new(name).add_attribute(Attribute::Bold)),
        );
    if shape.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

/// A number, right-aligned; zero is a dash that the eye passes over.
pub(super) fn number(number: u64) -> Cell {
    let text = if number == 0 {
        "–".into()
    } else {
        thousands(number)
    };
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn toned(amount: u64, tone: Tone) -> Cell {
    let cell = number(amount);
    if amount == 0 {
        cell
    } else {
        cell.fg(tone.colour())
    }
}

/// Keys by keyspace and type; nothing where there are none.
pub(super) fn keyspaces(shape: &Shape, mode: Mode, summary: &Summary) -> String {
    let rows: Vec<(Vec<String>, Tally)> = summary
        .tallies
        .iter()
        .flat_map(|((db, keyspace), kinds)| {
            kinds.iter().map(move |(kind, tally)| {
                let kind = kind.map_or("unreadable", |kind| kind.name());
                let labels = vec![keyspace.to_string(), db.to_string(), kind.to_owned()];
                (labels, *tally)
            })
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut head = vec![
        "keyspace",
        "db",
        "type",
        "keys",
        "missing",
        "type differs",
        "value",
        "expiry",
    ];
    if mode != Mode::Diff {
        head.extend(["repaired", "left"]);
    }
    let mut table = table(shape, &head);
    let many = rows.len() > 1;
    for (labels, tally) in rows {
        table.add_row(
            labels
                .into_iter()
                .map(Cell::new)
                .chain(tally_cells(&tally, mode)),
        );
    }
    if many {
        let labels = ["total", "", ""].map(Cell::new);
        let cells = labels
            .into_iter()
            .chain(tally_cells(&summary.total(), mode));
        table.add_row(cells.map(|cell| cell.add_attribute(Attribute::Bold)));
    }
    table.trim_fmt()
}

fn tally_cells(tally: &Tally, mode: Mode) -> Vec<Cell> {
    let mut cells = vec![number(tally.keys)];
    cells.extend(
        [tally.missing, tally.types, tally.values, tally.expiries]
            .map(|amount| toned(amount, Tone::Mixed)),
    );
    if mode != Mode::Diff {
        cells.push(toned(tally.repaired, Tone::Good));
        cells.push(toned(tally.left, Tone::Bad));
    }
    cells
}

/// Who is behind, who is ahead, and what it took.
pub(super) fn replicas(
    shape: &Shape,
    mode: Mode,
    summary: &Summary,
    replicas: &[(ReplicaName, Datacenter)],
) -> String {
    let mut head = vec![
        "replica",
        "keys",
        "behind (lacks)",
        "ahead (alone has)",
        "different",
    ];
    if mode == Mode::Repair {
        head.push("written");
    }
    head.extend(["commands", "read", "sent"]);
    let mut table = table(shape, &head);
    for replica in &summary.replicas {
        let datacenter = replicas
            .iter()
            .find(|(name, _)| *name == replica.name)
            .map(|(_, datacenter)| datacenter.0.as_str());
        table.add_row(replica_cells(replica, datacenter, mode));
    }
    table.trim_fmt()
}

fn replica_cells(replica: &ReplicaSummary, datacenter: Option<&str>, mode: Mode) -> Vec<Cell> {
    let name = match datacenter {
        Some(datacenter) if datacenter != replica.name.0 => {
            format!("{} ({datacenter})", replica.name)
        }
        _ => replica.name.to_string(),
    };
    let name = if replica.lost.is_some() {
        Cell::new(format!("{name}, lost")).fg(Tone::Bad.colour())
    } else {
        Cell::new(name)
    };
    let mut cells = vec![name, number(replica.keys)];
    cells.extend(
        [replica.missing, replica.alone, replica.differing]
            .map(|amount| toned(amount, Tone::Mixed)),
    );
    if mode == Mode::Repair {
        cells.push(toned(replica.written, Tone::Good));
    }
    cells.push(number(replica.usage.commands));
    cells.extend(
        [replica.usage.bytes_read, replica.usage.bytes_written]
            .map(|bytes| Cell::new(size(bytes)).set_alignment(CellAlignment::Right)),
    );
    cells
}
