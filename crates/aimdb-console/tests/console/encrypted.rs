//! HTTPS: callers with a token, with a certificate, with neither, and what is refused at build.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aimdb_console::{Console, Grants, Tls};
use aimdb_core::{AimDbBuilder, DbError};
use aimdb_tokio_adapter::TokioAdapter;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::*;

const SECRET: &str = "a-token-of-32-random-characters!";

/// An authority, and the files of the certificates that it has signed.
struct Authority {
    directory: tempfile::TempDir,
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let (directory, key) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = Self { directory, params, key };
        let pem = authority.params.self_signed(&authority.key).unwrap().pem();
        std::fs::write(authority.file("ca.pem"), pem).unwrap();
        authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let files = (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
        std::fs::write(&files.0, leaf.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    fn server(&self) -> Tls {
        let (certificate, key) = self.sign("server");
        Tls::files(certificate, key)
    }

    /// A client that trusts this authority, with a certificate of `identity`'s.
    fn client(&self, identity: Option<&Authority>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let (certificate, key) = authority.sign("client");
                let certificate = CertificateDer::from_pem_file(certificate).unwrap();
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

async fn connect(
    fixture: &Fixture,
    client: &TlsConnector,
) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    within(client.connect(name, fixture.tcp().await)).await
}

async fn get(fixture: &Fixture, client: &TlsConnector, path: &str, lines: &str) -> Answer {
    let stream = connect(fixture, client).await.unwrap();
    exchange(stream, &head("GET", path, lines, b"")).await
}

const COUNT: &str = "/api/v1/records/count";

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_by_https_proves_itself_by_a_token_or_a_certificate() {
    let (authority, operators) = (Authority::new(), Authority::new());
    let tls = authority.server().clients(operators.file("ca.pem"), Grants::none().read("count"));
    let fixture = start(three, |console| {
        console.http_grants(Grants::none()).tls(tls).token(SECRET, Grants::read_only())
    })
    .await;
    assert!(fixture.at.https && fixture.at.to_string().contains("https://127.0.0.1:"));
    fixture.produce(0..3);
    let anonymous = authority.client(None);
    assert_eq!(get(&fixture, &anonymous, COUNT, "").await.status, 401);
    let bearer = format!("Authorization: Bearer {SECRET}\r\n");
    let answer = get(&fixture, &anonymous, COUNT, &bearer).await;
    assert_eq!((answer.status, &answer.json()["latest"]["value"]), (200, &2.into()));
    let wrong = "Authorization: Bearer another-token-of-32-characters!!\r\n";
    assert_eq!(get(&fixture, &anonymous, COUNT, wrong).await.status, 401);
    // A certificate grants what its authority's callers may, and no more.
    let operator = authority.client(Some(&operators));
    assert_eq!(get(&fixture, &operator, COUNT, "").await.status, 200);
    let observed = get(&fixture, &operator, &format!("{COUNT}/stream"), "").await;
    assert_eq!(observed.status, 403, "{}", observed.text());
    // A client learns of the refusal of its certificate with the first bytes.
    let foreign = authority.client(Some(&authority));
    let refused = match connect(&fixture, &foreign).await {
        Err(_) => true,
        Ok(mut stream) => {
            _ = stream.write_all(&head("GET", COUNT, "", b"")).await;
            let mut bytes = Vec::new();
            within(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes)).await.is_err()
        }
    };
    assert!(refused, "a certificate of another authority");
    fixture.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_encryption_is_closed_and_counted() {
    let authority = Authority::new();
    let limit = Duration::from_millis(200);
    let fixture =
        start(three, |console| console.tls(authority.server()).timeouts(limit, LIMIT, LIMIT)).await;
    for bytes in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", b""] {
        let mut stream = fixture.tcp().await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        _ = within(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer)).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    let client = authority.client(None);
    assert_eq!(get(&fixture, &client, "/api/v1/info", "").await.json()["refused"], 3);
    fixture.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_needs_no_restart_and_a_broken_one_changes_nothing() {
    let (old, new) = (Authority::new(), Authority::new());
    let fixture = start(three, |console| console.tls(old.server())).await;
    let (old_client, new_client) = (old.client(None), new.client(None));
    assert_eq!(get(&fixture, &old_client, COUNT, "").await.status, 200);
    assert!(connect(&fixture, &new_client).await.is_err());
    // As a tool that keeps the times of files: each has the same time as the one before it.
    let write = |name: &str, bytes: &[u8]| {
        let (path, new) = (old.file(name), old.file("new"));
        std::fs::write(&new, bytes).unwrap();
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::File::options().write(true).open(&new).unwrap().set_modified(time).unwrap();
        std::fs::rename(new, path).unwrap();
    };
    write("server.pem", b"half a cert");
    assert_eq!(get(&fixture, &old_client, COUNT, "").await.status, 200);
    let (certificate, key) = new.sign("renewed");
    write("server.key", &std::fs::read(key).unwrap());
    write("server.pem", &std::fs::read(certificate).unwrap());
    assert_eq!(get(&fixture, &new_client, COUNT, "").await.status, 200);
    assert!(connect(&fixture, &old_client).await.is_err());
    fixture.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_client_is_verified_at_each_connection() {
    let (authority, operators) = (Authority::new(), Authority::new());
    let tls = authority.server().clients(operators.file("ca.pem"), Grants::read_only());
    let fixture = start(three, |console| console.tls(tls)).await;
    let operator = authority.client(Some(&operators));
    for _ in 0..3 {
        let mut stream = connect(&fixture, &operator).await.unwrap();
        stream.write_all(&head("GET", COUNT, "", b"")).await.unwrap();
        let mut answer = Vec::new();
        _ = within(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer)).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        // A resumed session has the certificate of its first handshake, whatever has become of it.
        let kind = stream.get_ref().1.handshake_kind();
        assert_ne!(kind, Some(rustls::HandshakeKind::Resumed));
    }
    fixture.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_a_page_may_be_reached_by_any_address_but_not_by_any_name() {
    let authority = Authority::new();
    let fixture =
        start(three, |console| console.tls(authority.server()).host("gateway.example")).await;
    let client = authority.client(None);
    for (host, status) in [
        ("192.0.2.7:8443", 200),
        ("[2001:db8::7]:8443", 200),
        ("gateway.example:8443", 200),
        ("evil.example", 403),
        ("192.0.2.7.evil.example", 403),
    ] {
        let stream = connect(&fixture, &client).await.unwrap();
        let request = format!("GET {COUNT} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(exchange(stream, request.as_bytes()).await.status, status, "{host}");
    }
    let origin = "Origin: https://localhost\r\nSec-Fetch-Site: same-origin\r\n";
    assert_eq!(get(&fixture, &client, COUNT, origin).await.status, 200);
    fixture.shut_down().await;
}

/// The findings of a console, as text.
fn findings(console: Console) -> String {
    let mut builder = AimDbBuilder::on(TokioAdapter);
    three(&mut builder);
    builder.service(console.name("test"));
    match builder.build() {
        Ok(_) => String::new(),
        Err(DbError::Build(findings)) => findings.to_string(),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_address_off_loopback_needs_encryption_and_callers_that_prove_themselves() {
    let authority = Authority::new();
    let tls = || authority.server();
    let off = || Console::new().http("0.0.0.0:8443");
    assert_eq!(findings(off().tls(tls()).token(SECRET, Grants::all())), "");
    let clients = tls().clients(authority.file("ca.pem"), Grants::all());
    assert_eq!(findings(off().tls(clients)), "");
    for (console, expected) in [
        (off(), "the console has no TLS there"),
        (off().token(SECRET, Grants::all()), "the console has no TLS there"),
        (off().tls(tls()), "no caller of theirs may do anything"),
        (
            off().tls(tls()).token(SECRET, Grants::all()).http_grants(Grants::read_only()),
            "lets their callers in without a token",
        ),
        (Console::new().tls(tls()), "it has TLS and no address"),
    ] {
        let findings = findings(console);
        assert!(findings.contains(expected) && findings.contains("help: "), "{findings}");
    }
}

#[tokio::test]
async fn files_that_are_no_certificate_and_key_are_findings() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.sign("server");
    let foreign_key = other.sign("server").1;
    let empty = authority.file("empty.pem");
    std::fs::write(&empty, "no PEM").unwrap();
    let missing = authority.file("missing.pem");
    for (tls, expected) in [
        (Tls::files(&missing, &key), "missing.pem` cannot be read: No such file"),
        (Tls::files(&certificate, &missing), "missing.pem` cannot be read: No such file"),
        (Tls::files(&empty, &key), "empty.pem` cannot be used: there is no certificate in it"),
        (Tls::files(&key, &key), "server.key` cannot be used: there is no certificate in it"),
        (Tls::files(&certificate, &certificate), "there is no private key in it"),
        (Tls::files(&certificate, &foreign_key), "do not fit"),
        (
            Tls::files(&certificate, &key).clients(&empty, Grants::all()),
            "empty.pem` cannot be used",
        ),
    ] {
        let findings = findings(Console::new().http("127.0.0.1:0").tls(tls));
        assert!(findings.contains(expected), "{expected}: {findings}");
        assert!(!findings.contains("PRIVATE KEY"), "{findings}");
    }
}
