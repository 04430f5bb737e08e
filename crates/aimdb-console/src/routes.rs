//! The paths, from which both the router and the description of the paths are made.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, put};
use serde_json::{Value, json};

use crate::app::App;
use crate::guard::{guard, guard_page};
use crate::reply::Refusal;
use crate::{api, exposition, page, reply, stream, watch};

/// One method of one path.
struct Route {
    path: &'static str,
    method: &'static str,
    summary: &'static str,
    /// The names of the parameters in the query, each with what it is for.
    query: &'static [(&'static str, &'static str)],
    media_type: &'static str,
    handler: fn() -> MethodRouter<Arc<App>>,
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

const ROUTES: &[Route] = &[
    Route {
        path: "/api/v1/info",
        method: "get",
        summary: "The name of the database, its process, and what the caller may do",
        query: &[],
        media_type: JSON,
        handler: || get(api::info),
    },
    Route {
        path: "/api/v1/graph",
        method: "get",
        summary: "The graph: records, stages, links, connectors, services",
        query: &[("format", "`json`, unless it is `mermaid`, `dot` or `text`")],
        media_type: JSON,
        handler: || get(api::graph),
    },
    Route {
        path: "/api/v1/health",
        method: "get",
        summary: "The state of every stage and link; 503 if the database is not healthy",
        query: &[],
        media_type: JSON,
        handler: || get(api::health),
    },
    Route {
        path: "/api/v1/metrics",
        method: "get",
        summary: "All counters of all records and links",
        query: &[],
        media_type: JSON,
        handler: || get(api::metrics),
    },
    Route {
        path: "/api/v1/losses",
        method: "get",
        summary: "Where every value went, for each reader and link, and the losses by cause",
        query: &[],
        media_type: JSON,
        handler: || get(api::losses),
    },
    Route {
        path: "/api/v1/events",
        method: "get",
        summary: "What happened since the start, the last 512 events",
        query: &[],
        media_type: JSON,
        handler: || get(api::events),
    },
    Route {
        path: "/api/v1/records",
        method: "get",
        summary: "All records: key, type, buffer, encoding, and what the caller may do",
        query: &[],
        media_type: JSON,
        handler: || get(api::records),
    },
    Route {
        path: "/api/v1/records/{key}",
        method: "get",
        summary: "One record: its newest value, its schema, its counters",
        query: &[],
        media_type: JSON,
        handler: || get(api::record),
    },
    Route {
        path: "/api/v1/records/{key}",
        method: "put",
        summary: "Sets a settable record: the body is the value in the record's encoding",
        query: &[],
        media_type: JSON,
        handler: || put(api::set),
    },
    Route {
        path: "/api/v1/records/{key}/value",
        method: "get",
        summary: "The newest value alone, in the record's encoding; 204 if there is none",
        query: &[],
        media_type: "application/octet-stream",
        handler: || get(api::value),
    },
    Route {
        path: "/api/v1/records/{key}/stream",
        method: "get",
        summary: "Every value of one record from now on, and how many the caller missed",
        query: &[],
        media_type: EVENTS,
        handler: || get(stream::of_record),
    },
    Route {
        path: "/api/v1/stream",
        method: "get",
        summary: "The values of several records, changes of metrics and health, and events",
        query: &[
            ("key", "keys or patterns of records, separated by commas; a comma in a key is `%2C`"),
            (
                "every",
                "milliseconds between two looks at each value; 0, the default, for every value",
            ),
            (
                "metrics",
                "milliseconds between two snapshots of the metrics; 0, the default, for none",
            ),
        ],
        media_type: EVENTS,
        handler: || get(watch::of_database),
    },
    Route {
        path: "/api/v1/why/{key}",
        method: "get",
        summary: "Why a record has no new values: where upstream they come to a halt",
        query: &[],
        media_type: JSON,
        handler: || get(api::why),
    },
    Route {
        path: "/api/openapi.json",
        method: "get",
        summary: "This description",
        query: &[],
        media_type: JSON,
        handler: || get(openapi),
    },
    Route {
        path: "/metrics",
        method: "get",
        summary: "The counters in the OpenMetrics text format, for Prometheus",
        query: &[],
        media_type: exposition::MEDIA_TYPE,
        handler: || get(exposition::scrape),
    },
];

/// The router of a console.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let routes = ROUTES
        .iter()
        .fold(Router::new(), |router, route| router.route(route.path, (route.handler)()));
    routes
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(whole_bodies))
        .layer(DefaultBodyLimit::max(app.limits.body_bytes))
        .layer(from_fn_with_state(Arc::clone(app), guard))
        .merge(page::router().layer(from_fn_with_state(Arc::clone(app), guard_page)))
        .with_state(Arc::clone(app))
}

async fn unknown_path(uri: Uri) -> Refusal {
    let help = "see /api/openapi.json for the paths; a `/` in a key is written `%2F`";
    Refusal::not_found(format!("there is no `{}`", uri.path()), help)
}

async fn wrong_method() -> Refusal {
    let help = "see /api/openapi.json for the methods";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "the path has no such method", help)
}

/// An answer that axum made, for instance for a query that does not parse, becomes JSON as the others.
async fn whole_bodies(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let is_text = response
        .headers()
        .get("content-type")
        .is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    if !response.status().is_client_error() || !is_text {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = axum::body::to_bytes(body, 4096).await.unwrap_or_default();
    let error = String::from_utf8_lossy(&text).into_owned();
    let help = "see /api/openapi.json for the parameters";
    let mut response = Refusal::new(parts.status, error, help).into_response();
    *response.status_mut() = parts.status;
    response
}

async fn openapi() -> Response {
    reply::json(&document())
}

/// The description of all paths, as an OpenAPI document.
pub(crate) fn document() -> Value {
    let mut paths = serde_json::Map::new();
    for route in ROUTES {
        let in_path = route.path.contains("{key}").then(|| {
            let description = "the record's key, percent-encoded";
            json!({ "name": "key", "in": "path", "required": true, "description": description,
                    "schema": { "type": "string" } })
        });
        let in_query = route.query.iter().map(|(name, description)| {
            json!({ "name": name, "in": "query", "description": description, "schema": { "type": "string" } })
        });
        let parameters: Vec<Value> = in_path.into_iter().chain(in_query).collect();
        let mut operation = json!({
            "summary": route.summary,
            "parameters": parameters,
            "responses": {
                "200": { "description": route.summary, "content": { route.media_type: {} } },
                "default": { "description": "a refusal", "content": {
                    JSON: { "schema": { "$ref": "#/components/schemas/Refusal" } } } },
            },
        });
        if route.method == "put" {
            operation["requestBody"] = json!({ "required": true, "content": { "*/*": {} } });
        }
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "AimDB console", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": { "Refusal": {
            "type": "object",
            "required": ["error", "help"],
            "properties": {
                "error": { "type": "string", "description": "what is wrong" },
                "help": { "type": "string", "description": "what to do" },
            },
        } } },
    })
}
