//! Results that are one document: written whole, in any of the forms.

use std::io::{self, Write};

use serde::Serialize;

use crate::cli::args::Format;

use super::output::forgive;
use super::shape::Shape;

/// A result with its schema in front and the exit code behind.
#[derive(Serialize)]
struct Document<'a, T> {
    schema: &'static str,
    #[serde(flatten)]
    body: &'a T,
    exit_code: u8,
}

/// Writes a result: `page` for people, else its fields as JSON, on several lines or on one.
pub(super) fn write<T: Serialize>(
    shape: &Shape,
    schema: &'static str,
    body: &T,
    page: impl FnOnce() -> String,
    exit_code: u8,
    out: &mut dyn Write,
) -> io::Result<()> {
    let document = Document {
        schema,
        body,
        exit_code,
    };
    let mut text = match shape.format {
        Format::Human => page(),
        Format::Json => serde_json::to_string_pretty(&document)?,
        Format::Ndjson => serde_json::to_string(&document)?,
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    forgive(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}
