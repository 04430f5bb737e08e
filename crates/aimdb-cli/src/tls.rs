//! HTTPS to a console.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::outcome::Failure;

/// Whom the command trusts, and how it proves itself. All files are PEM.
#[derive(Default)]
pub(crate) struct Trust {
    /// The authority of the console's certificate; without one, those that the system trusts.
    pub(crate) authority: Option<PathBuf>,
    /// The command's own certificate and key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

impl Trust {
    pub(crate) fn is_default(&self) -> bool {
        self.authority.is_none() && self.identity.is_none()
    }

    /// Reads the files, once: one of them may be a pipe.
    pub(crate) fn connector(&self) -> Result<Connector, Failure> {
        Ok(Connector(TlsConnector::from(Arc::new(self.config()?))))
    }

    fn config(&self) -> Result<ClientConfig, Failure> {
        let mut roots = RootCertStore::empty();
        match &self.authority {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| unusable(path, error))?;
                }
            }
            None => {
                let system = rustls_native_certs::load_native_certs().certs;
                roots.add_parsable_certificates(system);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::Failed(format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots);
        let Some((certificate, key)) = &self.identity else {
            return Ok(config.with_no_client_auth());
        };
        let chain = certificates(certificate)?;
        let key_of = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error))?;
        config.with_client_auth_cert(chain, key_of).map_err(|error| unusable(key, error))
    }
}

/// Encrypts connections.
pub(crate) struct Connector(TlsConnector);

impl Connector {
    /// Encrypts a connection to the console at `host:port`.
    pub(crate) async fn connect(
        &self,
        address: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|error| Failure::Usage(format!("`{host}`: {error}")))?;
        self.0.connect(name, stream).await.map_err(|error| {
            let help = "with a certificate of its own, name its authority by `--ca FILE`";
            Failure::Failed(format!("the console at https://{address}: {error}\n{help}"))
        })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(path, error))?;
    if found.is_empty() {
        return Err(unusable(path, "there is no certificate in it"));
    }
    Ok(found)
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::Usage(format!("{}: {why}", path.display()))
}
