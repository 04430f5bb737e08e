//! TLS, by rustls.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::grants::Grants;

/// How a console proves itself to its callers, and they themselves to it.
///
/// [`Console::tls`](crate::Console::tls) takes it. The files are PEM, and are read again when they have changed: a renewed
/// certificate needs no restart. If they cannot be used then, the console keeps those it has, and the log says so. A connection
/// keeps its grants until it ends.
///
/// ```
/// use aimdb_console::{Console, Grants, Tls};
///
/// let operators = Grants::read_only().set("config.*");
/// let console = Console::new()
///     .http("0.0.0.0:8443")
///     .host("gateway.plant.example")
///     .tls(Tls::files("server.pem", "server.key").clients("operators.pem", operators));
/// # let _ = console;
/// ```
#[derive(Clone)]
#[must_use = "it has an effect once `Console::tls` has it"]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    clients: Option<(PathBuf, Grants)>,
}

impl Tls {
    /// The server's certificate, with those of the authorities between it and its root behind it, and its key.
    pub fn files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: key.into(), clients: None }
    }

    /// Lets callers with a certificate of this authority do what `grants` says, without a token. Others still need one.
    pub fn clients(mut self, authority: impl Into<PathBuf>, grants: Grants) -> Self {
        self.clients = Some((authority.into(), grants));
        self
    }

    /// Whether a caller can prove itself by a certificate.
    pub(crate) fn knows_clients(&self) -> bool {
        self.clients.is_some()
    }

    /// Why the files cannot be used.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.load().map(drop)
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let authority = self.clients.as_ref().map(|(authority, _)| authority);
        [&self.certificate, &self.key].into_iter().chain(authority).map(PathBuf::as_path)
    }

    /// What tells the files from those that were read before: a renewed one may have the time of its elder.
    fn marks(&self) -> Vec<Option<Mark>> {
        let mark = |path| {
            let data = std::fs::metadata(path).ok()?;
            Some((
                data.ino(),
                data.len(),
                (data.mtime(), data.mtime_nsec()),
                (data.ctime(), data.ctime_nsec()),
            ))
        };
        self.paths().map(mark).collect()
    }

    fn load(&self) -> Result<Arc<ServerConfig>, String> {
        let chain = certificates(&self.certificate)?;
        let unusable = |path: &Path, error: &dyn fmt::Display| {
            format!("`{}` cannot be used: {error}", path.display())
        };
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?)
            .map_err(|_| unusable(&self.key, &"there is no private key in it"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some((path, _)) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(path)? {
                    roots.add(authority).map_err(|error| unusable(path, &error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .allow_unauthenticated()
                        .build()
                        .map_err(|error| unusable(path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let path = self.key.display();
            format!("`{}` and `{path}` do not fit: {error}", self.certificate.display())
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if self.clients.is_some() {
            // A resumed session is not verified again: it would outlive the client's certificate.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("`{}` cannot be read: {error}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("`{}` cannot be used: there is no certificate in it", path.display())),
    }
}

/// Accepts connections with TLS.
pub(crate) struct Acceptor {
    tls: Tls,
    clients: Option<Arc<Grants>>,
    current: Mutex<Current>,
}

/// The node, the size, and the times of a file's content and of its entry.
type Mark = (u64, u64, (i64, i64), (i64, i64));

/// The configuration that was read last, and the marks of the files that were tried last.
struct Current {
    marks: Vec<Option<Mark>>,
    config: Arc<ServerConfig>,
}

impl Acceptor {
    pub(crate) fn new(tls: Tls) -> Result<Self, String> {
        // First: a file that is written meanwhile is read again.
        let marks = tls.marks();
        let current = Mutex::new(Current { marks, config: tls.load()? });
        let clients = tls.clients.as_ref().map(|(_, grants)| Arc::new(grants.clone()));
        Ok(Self { tls, clients, current })
    }

    /// Makes a connection of a stream. Returns the grants of its certificate, if it has one.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        warn: impl Fn(&str),
    ) -> io::Result<(TlsStream<TcpStream>, Option<Arc<Grants>>)> {
        let stream = TlsAcceptor::from(self.config(warn)).accept(stream).await?;
        let (_, session) = stream.get_ref();
        let is_known = session.peer_certificates().is_some_and(|chain| !chain.is_empty());
        let grants = self.clients.as_ref().filter(|_| is_known).map(Arc::clone);
        Ok((stream, grants))
    }

    /// The configuration of the files as they are; one that cannot be used is tried once, and changes nothing.
    fn config(&self, warn: impl Fn(&str)) -> Arc<ServerConfig> {
        let marks = self.tls.marks();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.marks != marks {
            current.marks = marks;
            match self.tls.load() {
                Ok(config) => current.config = config,
                Err(error) => warn(&format!("the certificate in use stays: {error}")),
            }
        }
        Arc::clone(&current.config)
    }
}
