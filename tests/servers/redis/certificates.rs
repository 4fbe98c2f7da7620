//! Certificates of a CA that nobody else knows.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::{USER, own};
use crate::servers::directory_of;

/// A CA's certificate, and a server's with its key.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// A new CA, and a certificate of it for these names and addresses.
    pub fn for_names(names: &[&str]) -> Self {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Else both have the same name, and OpenSSL takes the server's for one that it signed itself.
        ca.distinguished_name.push(DnType::CommonName, "A CA of the tests");
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("a CA");
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let server = CertificateParams::new(names).expect("names").signed_by(&key, &ca).expect("a certificate");
        let certificates = Self { directory: directory_of(USER) };
        for (name, pem) in [("ca", ca.pem()), ("server", server.pem()), ("key", key.serialize_pem())] {
            std::fs::write(certificates.file(name), pem).expect("a file");
            own(USER, &certificates.file(name));
        }
        certificates
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What clients verify servers with.
    pub fn ca(&self) -> PathBuf {
        self.file("ca")
    }

    /// What makes a server at `port` speak TLS only.
    pub fn settings(&self, port: u16) -> Vec<String> {
        let file = |name| self.file(name).display().to_string();
        let settings = [
            ("--port", "0".to_owned()),
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", file("server")),
            ("--tls-key-file", file("key")),
            ("--tls-ca-cert-file", file("ca")),
            ("--tls-auth-clients", "no".to_owned()),
            ("--tls-replication", "yes".to_owned()),
            ("--tls-cluster", "yes".to_owned()),
        ];
        settings.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}
