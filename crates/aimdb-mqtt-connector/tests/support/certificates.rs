//! A private CA and certificates that it signed, generated for each test.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// PEM texts.
pub struct Certificates {
    pub ca: String,
    pub server: (String, String),
    pub client: (String, String),
}

impl Certificates {
    /// Certificates for a server at `127.0.0.1` and `localhost`, and for a client.
    pub fn new() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "a private CA");
        let certificate = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::from_params(&ca, &ca_key);
        let sign = |names: &[&str]| {
            let key = KeyPair::generate().unwrap();
            let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
            let mut leaf = CertificateParams::new(names).unwrap();
            leaf.distinguished_name.push(DnType::CommonName, "a leaf");
            (leaf.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
        };
        Self {
            server: sign(&["localhost", "127.0.0.1"]),
            client: sign(&["client"]),
            ca: certificate,
        }
    }
}
