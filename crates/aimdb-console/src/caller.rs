//! The caller of a request: where it comes from, and its rights.

use std::sync::Arc;

use aimdb_core::health::Health;
use aimdb_core::metrics::Metrics;

use crate::grants::Grants;

/// The other end of a connection.
#[derive(Clone)]
pub(crate) struct Peer {
    /// Its rights without a token.
    pub(crate) grants: Arc<Grants>,
    /// It came by the Unix socket.
    pub(crate) is_owner: bool,
}

/// The caller of a request, with its rights.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) grants: Arc<Grants>,
    /// It came by the Unix socket.
    pub(crate) is_owner: bool,
}

/// The text in the place of an error that may quote a value.
pub(crate) const HIDDEN: &str = "(shown to who may read the record)";

impl Caller {
    /// Hides the errors of links that may quote values which the caller may not read.
    pub(crate) fn hide_metrics(&self, metrics: &mut Metrics) {
        metrics.links.iter_mut().for_each(|link| self.hide(&link.key, &mut link.last_error));
    }

    /// [`hide_metrics`](Self::hide_metrics), for the health.
    pub(crate) fn hide_health(&self, health: &mut Health) {
        health.links.iter_mut().for_each(|link| self.hide(&link.key, &mut link.last_error));
    }

    fn hide(&self, key: &str, error: &mut Option<String>) {
        if error.is_some() && !self.grants.may_read(key) {
            *error = Some(HIDDEN.to_owned());
        }
    }
}

/// The host of `host:port`, `[v6]:port` or a host alone.
pub(crate) fn host_name(host: &str) -> &str {
    let behind_v6 = host.find(']').map_or(0, |at| at + 1);
    let port = host[behind_v6..].rfind(':').map_or(host.len(), |at| at + behind_v6);
    &host[..port]
}

#[cfg(test)]
mod tests {
    use super::host_name;

    #[test]
    fn a_host_is_named_with_or_without_a_port() {
        for (host, name) in [
            ("localhost", "localhost"),
            ("localhost:80", "localhost"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("evil.example:80", "evil.example"),
            ("", ""),
            (":80", ""),
        ] {
            assert_eq!(host_name(host), name, "{host}");
        }
    }
}
