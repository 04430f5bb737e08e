//! Where databases are: the sockets of this user.

use std::fmt;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

use crate::outcome::Failure;

/// Where one database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Socket {
        name: String,
        path: PathBuf,
    },
    /// `host:port`.
    Http(String),
    /// `host:port`.
    Https(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { name, .. } => write!(f, "database `{name}`"),
            Self::Http(address) => write!(f, "the console at http://{address}"),
            Self::Https(address) => write!(f, "the console at https://{address}"),
        }
    }
}

/// A socket of this user.
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// Whether a process listens there.
    pub(crate) is_alive: bool,
}

impl Place {
    /// The database that the command line names, or the only one that runs.
    pub(crate) async fn find(
        db: Option<&str>,
        url: Option<&str>,
        socket: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        if let Some(url) = url {
            return http(url);
        }
        if let Some(path) = socket {
            let stem = path.file_stem().unwrap_or(path.as_os_str());
            let name = stem.to_string_lossy().into_owned();
            return Ok(Self::Socket { name, path });
        }
        let directory = aimdb_console::socket_directory();
        let found = sockets(&directory).await?;
        let alive: Vec<&Found> = found.iter().filter(|found| found.is_alive).collect();
        let names = || alive.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ");
        let place = |it: &Found| Self::Socket { name: it.name.clone(), path: it.path.clone() };
        match (db, &alive[..]) {
            (Some(name), _) => match alive.iter().find(|found| found.name == name) {
                Some(found) => Ok(place(found)),
                None if alive.is_empty() => Err(nothing(&directory)),
                None => {
                    let text = format!("no database is called `{name}`; there are: {}", names());
                    Err(Failure::Usage(text))
                }
            },
            (None, []) => Err(nothing(&directory)),
            (None, [only]) => Ok(place(only)),
            (None, _) => {
                let text = format!("several databases run: {}; choose one: `--db NAME`", names());
                Err(Failure::Usage(text))
            }
        }
    }
}

fn nothing(directory: &Path) -> Failure {
    Failure::Usage(format!(
        "no database of this user shows itself (looked in {})\n\
         A program does with `builder.service(Console::new())`, feature `console` of aimdb. One with another \
         XDG_RUNTIME_DIR, as services of the system have, is found by `--socket PATH`: its log has the path. One that has \
         only HTTP is found by `--url`.",
        directory.display()
    ))
}

fn http(url: &str) -> Result<Place, Failure> {
    let bad = |why: &str| {
        Failure::Usage(format!("`{url}` {why}: write http://127.0.0.1:8080 or https://HOST:8443"))
    };
    type Make = fn(String) -> Place;
    let (make, port, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (Place::Http as Make, 80, rest),
        (_, Some(rest)) => (Place::Https as Make, 443, rest),
        _ => return Err(bad("is no address of a console")),
    };
    let address = rest.strip_suffix('/').unwrap_or(rest);
    if address.is_empty() || address.contains('/') {
        return Err(bad("has a path, or no host"));
    }
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(make(if has_port { address.to_owned() } else { format!("{address}:{port}") }))
}

/// All sockets in the directory, by name.
pub(crate) async fn sockets(directory: &Path) -> Result<Vec<Found>, Failure> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::Failed(format!("{}: {error}", directory.display()))),
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".sock"));
        if let Some(name) = name.map(str::to_owned) {
            let is_alive = UnixStream::connect(&path).await.is_ok();
            found.push(Found { name, path, is_alive });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The token in a file, without the line's end.
pub(crate) fn read_token(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::Usage(format!(
            "{} holds no token: it is one line of ASCII without spaces",
            path.display()
        )));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_host_and_maybe_a_port() {
        let parsed = |url: &str| http(url).ok();
        assert_eq!(parsed("http://127.0.0.1:8080"), Some(Place::Http("127.0.0.1:8080".into())));
        assert_eq!(parsed("http://127.0.0.1:8080/"), Some(Place::Http("127.0.0.1:8080".into())));
        assert_eq!(parsed("http://localhost"), Some(Place::Http("localhost:80".into())));
        assert_eq!(parsed("http://[::1]:80"), Some(Place::Http("[::1]:80".into())));
        assert_eq!(parsed("https://a"), Some(Place::Https("a:443".into())));
        assert_eq!(parsed("https://[::1]:8443/"), Some(Place::Https("[::1]:8443".into())));
        for url in ["", "http://", "https://", "127.0.0.1:80", "http://a/b", "ftp://a"] {
            assert_eq!(parsed(url), None, "{url}");
        }
    }
}
