//! TLS, by rustls.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::grants::Grants;

/// How a console proves itself to its callers, and they themselves to it.
///
/// [`Console::tls`](crate::Console::tls) takes it. The files are PEM, and are read again when they have changed: a renewed
/// certificate needs no restart. If they cannot be read then, the console keeps those it has.
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

    /// When the files were written last.
    fn written(&self) -> Vec<Option<SystemTime>> {
        self.paths().map(|path| std::fs::metadata(path).ok()?.modified().ok()).collect()
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
    /// The configuration that was read last, and the times at which its files were written.
    current: Mutex<(Vec<Option<SystemTime>>, Arc<ServerConfig>)>,
}

impl Acceptor {
    pub(crate) fn new(tls: Tls) -> Result<Self, String> {
        // First: a file that is written meanwhile is read again.
        let written = tls.written();
        let current = Mutex::new((written, tls.load()?));
        let clients = tls.clients.as_ref().map(|(_, grants)| Arc::new(grants.clone()));
        Ok(Self { tls, clients, current })
    }

    /// Makes a connection of a stream. Returns the grants of its certificate, if it has one.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Arc<Grants>>)> {
        let stream = TlsAcceptor::from(self.config()).accept(stream).await?;
        let (_, session) = stream.get_ref();
        let is_known = session.peer_certificates().is_some_and(|chain| !chain.is_empty());
        let grants = self.clients.as_ref().filter(|_| is_known).map(Arc::clone);
        Ok((stream, grants))
    }

    fn config(&self) -> Arc<ServerConfig> {
        let written = self.tls.written();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != written
            && let Ok(config) = self.tls.load()
        {
            *current = (written, config);
        }
        Arc::clone(&current.1)
    }
}
