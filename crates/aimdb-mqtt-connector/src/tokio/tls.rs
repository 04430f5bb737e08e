//! TLS by rustls. This module alone chooses its crypto provider, ring.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The source of a PEM text.
#[derive(Clone)]
pub(crate) enum Pem {
    Text(Vec<u8>),
    /// Read for each connection: certificates expire and are replaced.
    File(PathBuf),
}

impl Pem {
    fn read(&self) -> Result<Cow<'_, [u8]>, String> {
        match self {
            Self::Text(text) => Ok(Cow::Borrowed(text)),
            Self::File(path) => std::fs::read(path)
                .map(Cow::Owned)
                .map_err(|error| format!("`{}` cannot be read: {error}", path.display())),
        }
    }

    pub(crate) const fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

/// A client configuration that trusts `ca` alone, or the system's roots without one, and presents `identity`
/// (certificate chain and key) to a broker that requests a client certificate.
///
/// # Errors
///
/// The reasons why certificates and keys cannot be used, one for each of them.
pub(crate) fn client_config(
    ca: Option<&Pem>,
    identity: Option<&(Pem, Pem)>,
    alpn: &[Vec<u8>],
) -> Result<Arc<ClientConfig>, Vec<String>> {
    let roots = match ca {
        Some(pem) => private_roots(pem),
        None => system_roots(),
    };
    let identity = identity.map(|(chain, key)| {
        let chain = chain.read().and_then(|pem| certificates(&pem, "the client's certificate"));
        let key = key.read().and_then(|pem| {
            PrivateKeyDer::from_pem_slice(&pem)
                .map_err(|error| format!("the client's key cannot be read: {error}"))
        });
        (chain, key)
    });
    let (roots, identity) = match (roots, identity) {
        (Ok(roots), None) => (roots, None),
        (Ok(roots), Some((Ok(chain), Ok(key)))) => (roots, Some((chain, key))),
        (roots, identity) => {
            let (chain, key) = identity.map(|(c, k)| (c.err(), k.err())).unwrap_or_default();
            return Err(roots.err().into_iter().chain(chain).chain(key).collect());
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| vec![format!("TLS cannot be set up: {error}")])?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
            vec![format!("the client's certificate and key do not fit: {error}")]
        })?,
    };
    config.alpn_protocols = alpn.to_vec();
    Ok(Arc::new(config))
}

fn private_roots(ca: &Pem) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&ca.read()?, "the CA")? {
        roots.add(certificate).map_err(|error| format!("the CA cannot be used: {error}"))?;
    }
    Ok(roots)
}

/// The roots that the system trusts. Roots that rustls cannot parse are skipped, which is common practice: one of them
/// must not disable all.
fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (usable, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if usable == 0 {
        return Err("the system has no root certificates".into());
    }
    Ok(roots)
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{what} cannot be read: {error}"))?;
    if found.is_empty() {
        return Err(format!("{what} has no certificate in it"));
    }
    Ok(found)
}
