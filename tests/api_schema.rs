//! What the document of the API allows is taken, and what is not taken the document does not allow: one by one, what a
//! tester that reads the document alone once found.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should
#![allow(clippy::disallowed_methods)] // real time is measured here

mod api_support;
mod support;

use serde_json::{Value, json};

use api_support::daemon::Daemon;
use api_support::schema::{faults, resolve};

const LAST: &str = "18446744073709551615";
const BEHIND_LAST: &str = "18446744073709551616";

/// The schema of a body, or of a parameter of a query.
fn schema<'a>(document: &'a Value, (method, path): (&str, &str), parameter: &str) -> &'a Value {
    let operation = &document["paths"][path][method];
    if parameter.is_empty() {
        return &operation["requestBody"]["content"]["application/json"]["schema"];
    }
    let parameters = operation["parameters"].as_array().unwrap();
    let named = parameters.iter().find(|one| one["name"] == parameter);
    &named.unwrap()["schema"]
}

#[test]
fn a_query_is_refused_where_the_document_forbids_it_and_only_there() {
    let daemon = Daemon::start();
    let run = daemon.until_idle()["last"]["id"].to_string();
    let document = daemon.get("/api/v1/openapi.json");
    for (path, parameter, texts, wrong) in [
        (
            "/api/v1/runs/{id}/writes",
            "after",
            &["7-3", "0-0", "99999999999999999999-1"][..],
            &["", "7", "-", "7-", "a-b", "%2B7-1", "7-1-1"][..],
        ),
        (
            "/api/v1/runs/{id}/undone",
            "offset",
            &["0", LAST],
            &[BEHIND_LAST, "8943107939859845690909786112", "-1", "x"],
        ),
        (
            "/api/v1/runs",
            "offset",
            &["0", LAST],
            &[BEHIND_LAST, "1.5"],
        ),
        (
            "/api/v1/runs",
            "limit",
            &["1", "1000"],
            &["0", "1001", LAST],
        ),
        (
            "/api/v1/explain",
            "key",
            &["", "a", "%5Cx00%5C%22%5C%5C", "%C3%A9"],
            &["%5C", "%5Cq", "%5Cx0", "%5Cx%2B1"],
        ),
    ] {
        let schema = schema(&document, ("get", path), parameter);
        let is_number = resolve(&document, schema)["type"] == "integer";
        for (text, is_right) in
            (texts.iter().map(|text| (text, true))).chain(wrong.iter().map(|text| (text, false)))
        {
            let plain = text.replace("%5C", "\\").replace("%2B", "+");
            let plain = plain.replace("%22", "\"").replace("%C3%A9", "é");
            let value = match is_number {
                true => serde_json::from_str(&plain).unwrap_or(json!(plain)),
                false => json!(plain),
            };
            let faults = faults(&document, schema, &value, parameter);
            assert_eq!(
                faults.is_empty(),
                is_right,
                "{path} {parameter}={text}: {faults:?}"
            );
            let asked = format!("{}?{parameter}={text}", path.replace("{id}", &run));
            let status = daemon.request("GET", &asked).send(daemon.address).status;
            assert_eq!(status != 400, is_right, "{asked}: {status}");
        }
    }
}

type Asked = (&'static str, &'static str);

/// Runs that are asked for, and what is answered.
fn runs() -> Vec<(Asked, Value, &'static [u16])> {
    let runs = ("post", "/api/v1/runs");
    let selected = |selection: Value| json!({ "mode": "diff", "selection": selection });
    let long = "x".repeat(1025);
    vec![
        (
            runs,
            selected(json!({ "types": ["string", "zset"] })),
            &[202, 409],
        ),
        (runs, selected(json!({ "types": [""] })), &[400]),
        (runs, selected(json!({ "types": [] })), &[400]),
        (runs, selected(json!({ "slots": "7" })), &[202, 409]),
        (runs, selected(json!({ "slots": "0-16384" })), &[400]),
        (runs, selected(json!({ "slots": " 1-2" })), &[400]),
        (runs, selected(json!({ "slots": "5-2" })), &[404]),
        (runs, selected(json!({ "from": "b", "to": "a" })), &[404]),
        (runs, selected(json!({ "from": "\\q" })), &[400]),
        (runs, selected(json!({ "keys": [] })), &[400]),
        (runs, selected(json!({ "keyspaces": ["nobody"] })), &[404]),
        (runs, json!({ "mode": "diff", "limit": 3.0 }), &[202, 409]),
        (runs, json!({ "mode": "diff", "limit": 0 }), &[400]),
        (runs, json!({ "mode": "diff", "force_deletes": 2 }), &[400]),
        (
            runs,
            json!({ "mode": "diff", "force_deletes": 2, "reason": "why" }),
            &[202, 409],
        ),
        (
            runs,
            json!({ "mode": "diff", "reason": "two\nlines" }),
            &[400],
        ),
        (runs, json!({ "mode": "diff", "reason": long }), &[400]),
    ]
}

/// Undos and limits that are asked for, and what is answered.
fn undos_and_limits() -> Vec<(Asked, Value, &'static [u16])> {
    let undo = ("post", "/api/v1/runs/{id}/undo");
    let limits = ("put", "/api/v1/limits");
    vec![
        (
            undo,
            json!({ "dry_run": true, "replica": "nobody" }),
            &[404],
        ),
        (undo, json!({ "dry_run": true, "replica": "" }), &[404]),
        (
            undo,
            json!({ "dry_run": true, "force_overwrites": 1 }),
            &[400],
        ),
        (undo, json!({ "dry_run": true, "keys": ["\\"] }), &[400]),
        (
            limits,
            json!({ "keys_per_second": 436.0, "bytes_per_second": 3798.0 }),
            &[200],
        ),
        (
            limits,
            json!({ "keys_per_second": 0, "bytes_per_second": 0, "intensity": 1 }),
            &[200],
        ),
        (limits, json!({ "keys_per_second": 436.5 }), &[400]),
        (limits, json!({ "bytes_per_second": 1e300 }), &[400]),
    ]
}

#[test]
fn a_body_is_refused_where_the_document_forbids_it_and_only_there() {
    let daemon = Daemon::start();
    let run = daemon.until_idle()["last"]["id"].to_string();
    let document = daemon.get("/api/v1/openapi.json");
    for (route, body, statuses) in runs().into_iter().chain(undos_and_limits()) {
        let (method, path) = route;
        let faults = faults(&document, schema(&document, route, ""), &body, "body");
        assert_eq!(
            faults.is_empty(),
            !statuses.contains(&400),
            "{path} {body}: {faults:?}"
        );
        let request = daemon.request(&method.to_uppercase(), &path.replace("{id}", &run));
        let answer = request.json(&body).send(daemon.address);
        assert!(
            statuses.contains(&answer.status),
            "{path} {body}: {}",
            answer.text()
        );
        let said = &document["paths"][path][method]["responses"][answer.status.to_string()];
        assert!(
            !said.is_null(),
            "{path}: {} is not in the document",
            answer.status
        );
    }
    let limits = daemon.get("/api/v1/limits");
    assert_eq!(limits["now"], limits["configured"]);
}
