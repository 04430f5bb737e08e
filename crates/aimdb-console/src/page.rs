//! The page: its HTML, and the script and the style that `page/build.mjs` bundles. Cargo only includes them.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::get;

use crate::reply::with_type;

const HTML: &str = include_str!("../page/src/index.html");
const SCRIPT: &str = include_str!("page/page.js");
const STYLE: &str = include_str!("page/page.css");
const LICENSES: &str = include_str!("page/LICENSES");

/// The files of the page. They hold no values, so a caller needs no rights for them.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let file = |media_type, text| get(move || async move { cached(with_type(media_type, text)) });
    Router::new()
        .route("/", file("text/html; charset=utf-8", HTML))
        .route("/page.js", file("text/javascript; charset=utf-8", SCRIPT))
        .route("/page.css", file("text/css; charset=utf-8", STYLE))
        .route("/licenses", file("text/plain; charset=utf-8", LICENSES))
}

/// A browser asks again each time: the next release of a program may have the same address.
fn cached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
