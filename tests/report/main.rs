//! What reports look like, situation by situation, and that `docs/json.md` names every field of them.
//!
//! The golden files stand in `tests/golden/report`; `REKNIT_UPDATE=1` writes them anew.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod cases;
mod fields;
#[path = "../support/golden.rs"]
mod golden;
mod inspections;
mod logs;
mod samples;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use reknit::cli::args::Format;
use reknit::repair::Listener;
use reknit::report::{Report, Shape};

use cases::Case;

const FORMATS: [(Format, &str); 3] = [
    (Format::Human, "human"),
    (Format::Json, "json"),
    (Format::Ndjson, "ndjson"),
];

/// An output that can be read while it is written.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn shape(format: Format) -> Shape {
    Shape {
        format,
        colour: false,
        width: 100,
    }
}

fn told(case: &Case, shape: Shape) -> String {
    let page = Page::default();
    let mut report = Report::new(
        shape,
        case.mode,
        cases::replicas(),
        case.show,
        Box::new(page.clone()),
    );
    for finding in &case.findings {
        report.finding(finding);
    }
    match &case.summary {
        Ok(summary) => report.finish(summary, case.exit_code).unwrap(),
        Err(error) => report.fail(error, case.exit_code).unwrap(),
    }
    page.text()
}

fn check_golden(name: &str, found: &str) {
    golden::check_golden(&format!("report/{name}"), found);
}

/// Everything that is printed as JSON, document by document.
fn documents() -> Vec<serde_json::Value> {
    let mut texts = Vec::new();
    for case in cases::all() {
        texts.push(told(&case, shape(Format::Json)));
        texts.push(told(&case, shape(Format::Ndjson)));
    }
    texts.extend(
        inspections::all(shape(Format::Json))
            .into_iter()
            .map(|(_, text)| text),
    );
    for format in [Format::Json, Format::Ndjson] {
        texts.extend(logs::all(shape(format)).into_iter().map(|(_, text)| text));
    }
    texts
        .iter()
        .flat_map(|text| serde_json::Deserializer::from_str(text).into_iter())
        .map(|document| document.unwrap())
        .collect()
}

#[test]
fn runs_are_told_as_in_the_golden_files() {
    for case in cases::all() {
        for (format, ending) in FORMATS {
            let name = format!("{}.{ending}", case.name);
            check_golden(&name, &told(&case, shape(format)));
        }
    }
}

#[test]
fn inspections_are_told_as_in_the_golden_files() {
    for (format, ending) in FORMATS {
        for (name, text) in inspections::all(shape(format)) {
            check_golden(&format!("{name}.{ending}"), &text);
        }
    }
}

#[test]
fn logs_and_undos_are_told_as_in_the_golden_files() {
    for (format, ending) in FORMATS {
        for (name, text) in logs::all(shape(format)) {
            check_golden(&format!("{name}.{ending}"), &text);
        }
    }
}

#[test]
fn narrow_pages_and_colours_are_told_as_in_the_golden_files() {
    let case = cases::repair_with_all_verdicts();
    let narrow = Shape {
        width: Shape::NARROWEST,
        ..shape(Format::Human)
    };
    check_golden("narrow.human", &told(&case, narrow));
    let coloured = Shape {
        colour: true,
        ..shape(Format::Human)
    };
    let text = told(&case, coloured);
    assert!(text.contains("\x1b["));
    check_golden("coloured.human", &text.replace('\x1b', "ESC"));
}

#[test]
fn nothing_is_coloured_unless_it_was_asked_for() {
    for case in cases::all() {
        assert!(!told(&case, shape(Format::Human)).contains('\x1b'));
    }
}

#[test]
fn every_line_of_ndjson_is_a_document_and_the_last_is_the_summary() {
    for case in cases::all() {
        let text = told(&case, shape(Format::Ndjson));
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), case.findings.len() + 1);
        assert_eq!(lines[lines.len() - 1]["schema"], "reknit.summary/1");
        assert_eq!(lines[lines.len() - 1]["exit_code"], case.exit_code);
    }
}

#[test]
fn a_reader_that_leaves_is_no_error_and_hears_no_more() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let case = cases::repair_with_all_verdicts();
    let replicas = cases::replicas();
    let mut report = Report::new(shape(Format::Json), case.mode, replicas, 1, Box::new(Gone));
    assert!(!report.is_closed());
    report.finding(&case.findings[0]);
    assert!(report.is_closed());
    report.finding(&case.findings[1]);
    report.finish(&case.summary.unwrap(), 0).unwrap();
    inspections::clean()
        .write(&shape(Format::Human), 0, &mut Gone)
        .unwrap();
}

#[test]
fn the_documentation_names_every_field_and_no_other() {
    let printed = fields::printed(&documents());
    let documented = fields::documented(include_str!("../../docs/json.md"));
    let missing: Vec<_> = printed.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&printed).collect();
    assert!(missing.is_empty(), "not in docs/json.md: {missing:#?}");
    assert!(
        stale.is_empty(),
        "in docs/json.md and never printed: {stale:#?}"
    );
}
