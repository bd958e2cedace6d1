//! The document that describes the API.
//!
//! What each route answers stands beside the route. What all of them have in common is added here: who is let in,
//! bodies that are too large, a service that ends.

use std::sync::LazyLock;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::{api, explain, limits, undo, writes};

const DESCRIPTION: &str = "Anti-entropy repair of Redis replicas: runs, schedules, limits. Where the configuration \
    names a token, all but /healthz and /readyz need it. A method that a route does \
    not have is answered by 405, an address that there is not by 404. A request that is no HTTP is answered by 400, \
    a head of more than 64 KiB by 431 or 414, both without a body; one whose head takes more than ten seconds is not \
    answered.";

/// The routes; what they have in common is added by [`complete`].
#[derive(OpenApi)]
#[openapi(
    info(title = "reknit", description = DESCRIPTION),
    paths(
        api::status,
        api::runs,
        api::start,
        api::run,
        api::divergences,
        writes::writes,
        api::pause,
        api::resume,
        api::cancel,
        undo::undo,
        undo::undone,
        explain::explain,
        api::schedules,
        api::run_now,
        api::withdraw,
        api::pause_schedule,
        api::resume_schedule,
        api::reload,
        limits::limits,
        limits::set_limits,
        document,
        super::healthy,
        super::ready,
    )
)]
struct Document;

/// As it is served: without a token, and with one.
static TEXTS: LazyLock<[String; 2]> = LazyLock::new(|| {
    let document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    [false, true].map(|guarded| complete(document.clone(), guarded).to_string())
});

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "service", responses(
    (status = 200, description = "What the API takes and answers", body = Object, content_type = "application/json")))]
pub(super) async fn document(guarded: bool) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::OK, json, TEXTS[usize::from(guarded)].as_str()).into_response()
}

/// Adds what routes have in common.
fn complete(mut document: Value, guarded: bool) -> Value {
    name_unsigned(&mut document);
    for asked in ["StartRun", "StartUndo"] {
        document["components"]["schemas"][asked]["anyOf"] = with_reason();
    }
    if guarded {
        document["components"]["securitySchemes"]["bearer"] = json!({
            "type": "http",
            "scheme": "bearer",
            "description": "The token in http.token_file.",
        });
    }
    let paths = document["paths"].as_object_mut();
    for (path, item) in paths.into_iter().flatten() {
        let methods = item.as_object_mut();
        for (method, operation) in methods.into_iter().flatten() {
            if path.starts_with("/api/") {
                complete_route(method, operation, guarded);
            }
        }
    }
    document
}

/// Numbers that are never below zero go up to the last of 64 bits.
fn name_unsigned(part: &mut Value) {
    match part {
        Value::Object(members) => {
            let least = members.get("minimum").and_then(Value::as_u64);
            let format = members.get("format").and_then(Value::as_str);
            if least.is_some() && format.is_none_or(|format| format == "int64") {
                members.insert("format".into(), "uint64".into());
                members.entry("maximum").or_insert(u64::MAX.into());
            }
            members.values_mut().for_each(name_unsigned);
        }
        Value::Array(items) => items.iter_mut().for_each(name_unsigned),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Guards are overruled for a reason, or not at all.
fn with_reason() -> Value {
    let nothing = json!({ "type": "null" });
    json!([
        { "properties": { "force_overwrites": nothing, "force_deletes": nothing } },
        { "properties": { "reason": { "type": "string" } }, "required": ["reason"] },
    ])
}

fn complete_route(method: &str, operation: &mut Value, guarded: bool) {
    let takes_body = operation.get("requestBody").is_some();
    let changes = method != "get";
    let mut add = |status: &str, words: &str| {
        let known = &mut operation["responses"][status];
        if known.is_null() {
            *known = error(words);
        }
    };
    add("408", "It took too long");
    add("500", "Something inside is in the way");
    if changes || !guarded {
        add("403", "It came from a web page");
    }
    if changes {
        add("503", "The service is stopping");
    }
    if takes_body {
        add("413", "The body has more than 1 MiB");
        add("415", "The body is not said to be JSON");
    }
    if guarded {
        let header = json!({ "description": "`Bearer`", "schema": { "type": "string" } });
        let mut unauthorized = error("The token is missing or wrong");
        unauthorized["headers"] = json!({ "WWW-Authenticate": header });
        operation["responses"]["401"] = unauthorized;
        operation["security"] = json!([{ "bearer": [] }]);
    }
}

fn error(words: &str) -> Value {
    let schema = json!({ "$ref": "#/components/schemas/ErrorBody" });
    json!({ "description": words, "content": { "application/json": { "schema": schema } } })
}
