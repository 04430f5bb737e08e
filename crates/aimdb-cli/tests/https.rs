//! The command calls a console by HTTPS.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use aimdb_console::{Console, Grants, Tls};
use aimdb_core::{AimDbBuilder, BufferCfg, Json};
use aimdb_tokio_adapter::TokioAdapter;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// Writes `ca.pem`, and `server.pem` and `client.pem` with their keys.
fn certificates(directory: &Path) {
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", authority.self_signed(&authority_key).unwrap().pem());
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        let issuer = Issuer::from_params(&authority, &authority_key);
        write(&format!("{name}.pem"), leaf.signed_by(&key, &issuer).unwrap().pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_read_and_set_over_https_by_token_or_certificate() {
    let temporary = tempfile::tempdir().unwrap();
    let file = |name: &str| temporary.path().join(name);
    certificates(temporary.path());
    std::fs::write(file("token"), "a-token-of-32-random-characters!\n").unwrap();
    let (sender, listening) = tokio::sync::oneshot::channel();
    let mut builder = AimDbBuilder::on(TokioAdapter);
    builder.configure::<u32>("config.limit", |reg| {
        reg.buffer(BufferCfg::latest()).expose(Json).settable();
    });
    let tls = Tls::files(file("server.pem"), file("server.key"));
    builder.service(
        Console::new()
            .without_socket()
            .http("127.0.0.1:0")
            .http_grants(Grants::none())
            .tls(tls.clients(file("ca.pem"), Grants::all()))
            .token("a-token-of-32-random-characters!", Grants::read_only())
            .on_listening(|at| sender.send(at.http.unwrap()).unwrap()),
    );
    let db = builder.build().unwrap();
    db.start();
    let url = format!("https://{}", listening.await.unwrap());
    let run = async |args: &[&str], files: &[(&str, PathBuf)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aimdb"));
        command.args(["--url", &url]).args(args).env_remove("XDG_RUNTIME_DIR");
        for (option, path) in files {
            command.arg(option).arg(path);
        }
        let Output { status, stdout, stderr } =
            tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    };
    let (ca, token) = (("--ca", file("ca.pem")), ("--token-file", file("token")));
    let certificate = [("--cert", file("client.pem")), ("--key", file("client.key"))];

    let operator = [&[ca.clone()][..], &certificate].concat();
    let done = (0, String::new(), String::new());
    assert_eq!(run(&["set", "config.limit", "12"], &operator).await, done);
    let reader = [ca.clone(), token.clone()];
    assert_eq!(run(&["get", "config.limit"], &reader).await.1, "12\n");
    let (code, _, error) = run(&["set", "config.limit", "13"], &reader).await;
    assert!(code == 1 && error.contains("may not set `config.limit`"), "{error}");
    let (code, _, error) = run(&["ls"], std::slice::from_ref(&ca)).await;
    assert!(code == 1 && error.contains("a token is needed here"), "{error}");
    // The system does not know the authority.
    let (code, _, error) = run(&["ls"], &[token]).await;
    assert!(code == 1 && error.contains("name its authority by `--ca FILE`"), "{error}");
    let (code, _, error) = run(&["ls"], &[("--ca", file("client.key"))]).await;
    assert!(code == 2 && error.contains("client.key: there is no certificate in it"), "{error}");
    let (code, _, error) = run(&["ls"], &[ca, ("--cert", file("client.pem"))]).await;
    assert!(code == 2 && error.contains("--cert and --key belong together"), "{error}");
}
