//! The URL of a broker.

use http::Uri;
use percent_encoding::percent_decode_str;

use crate::config::Fault;

/// A parsed URL.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BrokerUrl {
    pub(crate) transport: Transport,
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Only a WebSocket has one.
    pub(crate) path: String,
    pub(crate) credentials: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    WebSocket,
}

const SHAPE: &str = "write `mqtt://host:port` or `mqtts://user:password@host:port`";

impl BrokerUrl {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// The fault. The text shows nothing that may be a part of the credentials.
    pub(crate) fn parse(url: &str) -> Result<Self, Fault> {
        let fail = |problem: &str| (problem.to_string(), SHAPE);
        let (scheme, rest) = url.split_once("://").ok_or_else(|| fail("the URL has no scheme"))?;
        let (transport, tls) = match scheme {
            "mqtt" => (Transport::Tcp, false),
            "mqtts" => (Transport::Tcp, true),
            "ws" => (Transport::WebSocket, false),
            "wss" => (Transport::WebSocket, true),
            other if other.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                return Err(fail(&format!("the URL's scheme is `{other}`")));
            }
            _ => return Err(fail("the URL's scheme is unknown")),
        };
        if transport == Transport::WebSocket && cfg!(not(feature = "ws")) {
            let remedy = "enable the feature `ws` of aimdb-mqtt-connector (`mqtt-ws` of aimdb)";
            return Err(("the URL asks for a WebSocket, which this build has not".into(), remedy));
        }
        // A parser of URLs ends the host at one of these, and would connect to the text before it.
        let secret = "a `#`, `?`, `/` or `@` in a user or password ends them too early";
        let remedy =
            "percent-encode it: `%23` for `#`, `%3F` for `?`, `%2F` for `/`, `%40` for `@`";
        if rest.contains('#') || rest.matches('@').count() > 1 {
            return Err((secret.into(), remedy));
        }
        let (authority, after) = match rest.find(['/', '?']) {
            Some(end) => rest.split_at(end),
            None => (rest, ""),
        };
        if after.contains('@') {
            return Err((secret.into(), remedy));
        }
        if transport == Transport::Tcp && !matches!(after, "" | "/") {
            return Err(fail("the URL has a path or a query, which a broker does not have"));
        }
        let (user_info, host_port) = match authority.split_once('@') {
            Some((user_info, host_port)) => (Some(user_info), host_port),
            None => (None, authority),
        };
        // The rest without the credentials, so that no error can show them.
        let uri: Uri = format!("{scheme}://{host_port}{after}")
            .parse()
            .map_err(|_| fail("the URL's host, port or path cannot be read"))?;
        let host = uri.host().unwrap_or_default();
        if host.is_empty() {
            return Err(fail("the URL has no host"));
        }
        // Not `Uri::port`: it treats a number that is too large as a missing port.
        let port = match host_port[host.len()..].strip_prefix(':') {
            Some(digits) => digits.parse().ok().filter(|port| *port != 0),
            None => Some(default_port(transport, tls)),
        };
        let port = port.ok_or_else(|| fail("the URL's port is not between 1 and 65535"))?;
        let credentials = user_info.map(parse_credentials).transpose()?;
        let host = host.trim_start_matches('[').trim_end_matches(']').into();
        let path = if after.is_empty() { "/" } else { after }.into();
        Ok(Self { transport, tls, host, port, path, credentials })
    }

    /// The URL as it was understood, without credentials and without the default port. A query may contain a token: it is
    /// not shown.
    pub(crate) fn shown(&self) -> String {
        self.plain().split('?').next().unwrap_or_default().into()
    }

    /// The URL without user and password.
    pub(crate) fn plain(&self) -> String {
        let scheme = match (self.transport, self.tls) {
            (Transport::Tcp, false) => "mqtt",
            (Transport::Tcp, true) => "mqtts",
            (Transport::WebSocket, false) => "ws",
            (Transport::WebSocket, true) => "wss",
        };
        let path = if matches!(&*self.path, "/") { "" } else { &self.path };
        let address = self.address();
        let port = format!(":{}", default_port(self.transport, self.tls));
        format!("{scheme}://{}{path}", address.strip_suffix(&port).unwrap_or(&address))
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub(crate) fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

const fn default_port(transport: Transport, tls: bool) -> u16 {
    match (transport, tls) {
        (Transport::Tcp, false) => 1883,
        (Transport::Tcp, true) => 8883,
        (Transport::WebSocket, false) => 80,
        (Transport::WebSocket, true) => 443,
    }
}

fn parse_credentials(user_info: &str) -> Result<(String, String), Fault> {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let decode =
        |text: &str| percent_decode_str(text).decode_utf8().map(|decoded| decoded.into_owned());
    match (decode(user), decode(password)) {
        (Ok(user), Ok(password)) => Ok((user, password)),
        _ => Err((
            "user or password in the URL are not UTF-8".into(),
            "set them with `.credentials(…)`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> Result<String, String> {
        BrokerUrl::parse(url).map(|url| url.shown()).map_err(|(problem, _)| problem)
    }

    #[test]
    fn a_url_has_host_port_and_credentials() {
        for (url, understood) in [
            ("mqtt://localhost", "mqtt://localhost"),
            ("mqtt://localhost:1883", "mqtt://localhost"),
            ("mqtt://127.0.0.1:2883/", "mqtt://127.0.0.1:2883"),
            ("mqtt://[::1]:2883", "mqtt://[::1]:2883"),
            ("mqtts://me:secret@broker.example", "mqtts://broker.example"),
        ] {
            assert_eq!(shown(url).as_deref(), Ok(understood));
        }
        let secured = BrokerUrl::parse("mqtts://me:p%40ss%23@broker.example").ok().unwrap();
        assert_eq!(secured.credentials, Some(("me".into(), "p@ss#".into())));
    }

    #[cfg(feature = "ws")]
    #[test]
    fn a_websocket_has_a_path() {
        assert_eq!(shown("ws://u:p@host/mqtt").as_deref(), Ok("ws://host/mqtt"));
        assert_eq!(shown("ws://host/mqtt?token=s3cret").as_deref(), Ok("ws://host/mqtt"));
        assert_eq!(shown("wss://host").as_deref(), Ok("wss://host"));
    }

    #[test]
    fn the_error_of_an_invalid_url_names_the_fault() {
        for (url, problem) in [
            ("http://host", "the URL's scheme is `http`"),
            ("localhost", "the URL has no scheme"),
            ("mqtt://host/path", "the URL has a path or a query, which a broker does not have"),
            ("mqtt://host:0", "the URL's port is not between 1 and 65535"),
            ("mqtt://host:99999", "the URL's port is not between 1 and 65535"),
            ("mqtt://host:", "the URL's port is not between 1 and 65535"),
        ] {
            assert_eq!(shown(url).unwrap_err(), problem, "{url}");
        }
        assert!(shown("mqtt://").is_err() && shown("").is_err());
    }

    #[test]
    fn no_error_shows_a_part_of_the_credentials() {
        for url in [
            "admin:s3cret@10.0.0.2:1883",
            "mqtt:/admin:s3cret@host",
            "mqtt//admin:s3cret@host",
            "mqtt://admin:s3c#ret@host",
            "mqtt://admin:s3c/ret@host",
            "mqtt://admin:s3c?ret@host",
            "mqtt://admin:s3c@ret@host",
            "mqtt://admin:s3c ret@ho st",
            "mqtt://admin:s3cret@host:x1",
            "mqtt://admin:%ff@host",
            "s3cret://host",
            "S3CRET://host",
        ] {
            let (problem, remedy) = BrokerUrl::parse(url).err().expect(url);
            let text = format!("{problem} {remedy}").to_lowercase();
            for part in ["admin", "s3c"] {
                assert!(!text.contains(part), "{url}: {text}");
            }
        }
    }
}
