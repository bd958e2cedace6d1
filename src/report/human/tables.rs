//! The counts: by keyspace and type, and by replica.
//!
//! A cell is never broken. A table that is too wide loses what matters least, then its frame.

use comfy_table::modifiers::UTF8_ROUND_CORNERS;
use comfy_table::presets::{NOTHING, UTF8_FULL_CONDENSED};
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table};

use crate::model::{Datacenter, ReplicaName};
use crate::repair::{Mode, ReplicaSummary, Summary, Tally};

use super::super::shape::Shape;
use super::super::text::{cut, size, thousands};
use super::paint::Tone;

/// How much of a keyspace's or replica's name is shown.
const NAME: usize = 32;

/// A table with this head.
pub(super) fn table(shape: &Shape, head: &[&str]) -> Table {
    let bold = |name: &&str| Cell::new(name).add_attribute(Attribute::Bold);
    let mut table = Table::new();
    table
        .load_preset(UTF8_FULL_CONDENSED)
        .apply_modifier(UTF8_ROUND_CORNERS)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head.iter().map(bold));
    if shape.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

/// The table as text, without its frame where that does not fit.
pub(super) fn framed(shape: &Shape, mut table: Table) -> String {
    if !fits(shape, &table) {
        table.load_preset(NOTHING);
        for column in table.column_iter_mut() {
            column.set_padding((0, 1));
        }
    }
    table.trim_fmt()
}

fn fits(shape: &Shape, table: &Table) -> bool {
    let widths = table.column_max_content_widths();
    // Each has two of padding and a bar, and one bar more closes the last.
    let width: usize = widths.iter().map(|width| usize::from(*width) + 3).sum();
    width < usize::from(shape.width)
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
    if summary.tallies.is_empty() {
        return String::new();
    }
    let mut head = vec!["keyspace", "db", "type", "keys"];
    head.extend(["missing", "types", "values", "expiries"]);
    if mode == Mode::Repair {
        head.extend(["repaired", "left"]);
    }
    let mut table = table(shape, &head);
    for ((db, keyspace), kinds) in &summary.tallies {
        for (kind, tally) in kinds {
            let kind = kind.map_or("unreadable", |kind| kind.name());
            let labels = [cut(&keyspace.0, NAME), db.to_string(), kind.to_owned()];
            table.add_row(tally_row(labels, tally, mode));
        }
    }
    if table.row_count() > 1 {
        let labels = ["total".to_owned(), String::new(), String::new()];
        let cells = tally_row(labels, &summary.total(), mode).into_iter();
        table.add_row(cells.map(|cell| cell.add_attribute(Attribute::Bold)));
    }
    framed(shape, table)
}

fn tally_row(labels: [String; 3], tally: &Tally, mode: Mode) -> Vec<Cell> {
    let mut cells: Vec<Cell> = labels.into_iter().map(Cell::new).collect();
    cells.push(number(tally.keys));
    let differing = [tally.missing, tally.types, tally.values, tally.expiries];
    cells.extend(differing.map(|amount| toned(amount, Tone::Mixed)));
    if mode == Mode::Repair {
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
    let whole = replica_table(shape, mode, summary, replicas, true);
    let table = if fits(shape, &whole) {
        whole
    } else {
        replica_table(shape, mode, summary, replicas, false)
    };
    let behind = "behind: lacks the key, ahead: alone has it, different: holds it otherwise";
    let any = summary.total().differing() > 0;
    let legend = if any { behind } else { "" };
    format!("{}\n{legend}", framed(shape, table))
}

fn replica_table(
    shape: &Shape,
    mode: Mode,
    summary: &Summary,
    replicas: &[(ReplicaName, Datacenter)],
    with_traffic: bool,
) -> Table {
    let mut head = vec!["replica", "keys", "behind", "ahead", "different"];
    if mode == Mode::Repair {
        head.push("written");
    }
    if with_traffic {
        head.extend(["commands", "read", "sent"]);
    }
    let mut table = table(shape, &head);
    for replica in &summary.replicas {
        let mut cells = vec![name_cell(replica, replicas), number(replica.keys)];
        let behind = [replica.missing, replica.alone, replica.differing];
        cells.extend(behind.map(|amount| toned(amount, Tone::Mixed)));
        if mode == Mode::Repair {
            cells.push(toned(replica.written, Tone::Good));
        }
        if with_traffic {
            cells.extend(traffic(replica));
        }
        table.add_row(cells);
    }
    table
}

fn name_cell(replica: &ReplicaSummary, replicas: &[(ReplicaName, Datacenter)]) -> Cell {
    let place = replicas.iter().find(|(name, _)| *name == replica.name);
    let place = place.map(|(_, datacenter)| datacenter.0.as_str());
    let name = match place.filter(|place| *place != replica.name.0) {
        Some(place) => format!("{} ({place})", replica.name),
        None => replica.name.to_string(),
    };
    let name = cut(&name, NAME);
    if replica.lost.is_some() {
        Cell::new(format!("{name} lost")).fg(Tone::Bad.colour())
    } else {
        Cell::new(name)
    }
}

fn traffic(replica: &ReplicaSummary) -> [Cell; 3] {
    let usage = &replica.usage;
    let bytes = |bytes: u64| match bytes {
        0 => number(0),
        bytes => Cell::new(size(bytes)).set_alignment(CellAlignment::Right),
    };
    [
        number(usage.commands),
        bytes(usage.bytes_read),
        bytes(usage.bytes_written),
    ]
}
