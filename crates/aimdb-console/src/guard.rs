//! The callers and their rights.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::caller::{Caller, Peer, host_name};
use crate::grants::Grants;
use crate::reply::Refusal;

/// Passes a request on with the rights of its caller, or refuses it. Refused requests are counted.
pub(crate) async fn guard(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    match caller(&app, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            let response = next.run(request).await;
            if matches!(response.status(), StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) {
                app.refused.fetch_add(1, Relaxed);
            }
            secured(response)
        }
        Err(refusal) => {
            app.refused.fetch_add(1, Relaxed);
            secured(refusal.into_response())
        }
    }
}

/// Passes a request for a file of the page on, or refuses it: the files are for every caller.
pub(crate) async fn guard_page(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let is_owner = request.extensions().get::<Peer>().is_some_and(|peer| peer.is_owner);
    match check_host(&app, request.headers()) {
        Err(refusal) if !is_owner => {
            app.refused.fetch_add(1, Relaxed);
            secured(refusal.into_response())
        }
        _ => secured(next.run(request).await),
    }
}

/// Adds the headers that browsers obey.
fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; \
             img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn caller(app: &App, request: &Request) -> Result<Caller, Refusal> {
    let Some(peer) = request.extensions().get::<Peer>() else {
        return Err(Refusal::forbidden(
            "the connection has no known peer",
            "report this as a fault",
        ));
    };
    let headers = request.headers();
    if !peer.is_owner {
        check_host(app, headers)?;
        check_origin(request.method(), headers)?;
    }
    let grants = match token(headers)? {
        Some(presented) => granted(app, presented)?,
        None if peer.grants.is_none() => {
            let help = TOKEN_HELP;
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "a token is needed here", help));
        }
        None => Arc::clone(&peer.grants),
    };
    Ok(Caller { grants, is_owner: peer.is_owner })
}

/// A foreign page can give its own name this machine's address, and read the console through the browser. The browser then
/// sends that name.
fn check_host(app: &App, headers: &HeaderMap) -> Result<(), Refusal> {
    let host = single(headers, header::HOST)?.unwrap_or_default().to_ascii_lowercase();
    let name = host_name(&host);
    // A page that is reached by an address has no name that could be given another one.
    let is_own = |address: IpAddr| address.is_loopback() || app.acceptor.is_some();
    let is_known = name == "localhost"
        || name.trim_matches(['[', ']']).parse().is_ok_and(is_own)
        || app.hosts.iter().any(|known| known == name);
    if is_known {
        return Ok(());
    }
    let help = match app.acceptor {
        None => {
            "call it by `localhost` or 127.0.0.1; the program can allow a name: `Console::host`"
        }
        Some(_) => "call it by its address; the program can allow a name: `Console::host`",
    };
    Err(Refusal::forbidden(format!("the header `Host` names `{name}`, not this console"), help))
}

/// A browser names the page that sends a request.
fn check_origin(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    let help = "open the console's own page";
    if let Some(origin) = single(headers, header::ORIGIN)? {
        let host = single(headers, header::HOST)?.unwrap_or_default();
        let is_own = ["http://", "https://"].iter().any(|scheme| {
            origin.strip_prefix(scheme).is_some_and(|rest| rest.eq_ignore_ascii_case(host))
        });
        if !is_own {
            return Err(Refusal::forbidden("the request comes from a foreign page", help));
        }
    }
    // Browsers send it with every request; a link on a foreign page may still open this one.
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    let navigates = *method == Method::GET
        && headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    if matches!(site, Some("cross-site" | "same-site")) && !navigates {
        return Err(Refusal::forbidden("the request comes from a foreign page", help));
    }
    Ok(())
}

/// The value of a header that may occur once.
fn single(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(&name).iter();
    let bad = || Refusal::bad(format!("the header `{name}` is not valid"), "send it once, as text");
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad());
    }
    value.to_str().map(Some).map_err(|_| bad())
}

/// How the callers that there are send a token.
const TOKEN_HELP: &str = "give a token of the program's `Console::token`: `aimdb --token-file FILE`; the page at `/#token=TOKEN`; \
                          others send `Authorization: Bearer TOKEN`";

/// The token of the header `Authorization`.
fn token(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = single(headers, header::AUTHORIZATION)? else { return Ok(None) };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => {
            let help = TOKEN_HELP;
            Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "the header `Authorization` is not valid",
                help,
            ))
        }
    }
}

/// The grants of the token. All tokens are compared, in constant time.
fn granted(app: &App, presented: &str) -> Result<Arc<Grants>, Refusal> {
    let mut grants = None;
    for token in &app.tokens {
        if bool::from(token.secret.as_bytes().ct_eq(presented.as_bytes())) {
            grants = Some(Arc::new(token.grants.clone()));
        }
    }
    let unknown = || Refusal::new(StatusCode::UNAUTHORIZED, "the token is not known", TOKEN_HELP);
    grants.ok_or_else(unknown)
}
