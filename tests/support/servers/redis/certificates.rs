//! The certificates of a Redis server, of a private CA.

use std::path::PathBuf;

use tempfile::TempDir;

use super::{USER, own};
use crate::support::servers::{certificates::Authority, directory_of};

/// A CA's certificate, and a server's with its key.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// A new CA, and its certificate for these names and addresses.
    pub fn for_names(names: &[&str]) -> Self {
        let authority = Authority::new();
        let server = authority.issue(names);
        let certificates = Self { directory: directory_of(USER) };
        for (name, pem) in [("ca", authority.pem()), ("server", server.pem), ("key", server.key_pem)] {
            std::fs::write(certificates.file(name), pem).expect("a file");
            own(USER, &certificates.file(name));
        }
        certificates
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The CA file that clients verify servers with.
    pub fn ca(&self) -> PathBuf {
        self.file("ca")
    }

    /// The arguments with which a server at `port` speaks TLS only.
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
