//! Certificates for servers, from an authority made for the test.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

use crate::support::temporary_directory;

/// Signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A server's certificate with its key.
pub struct Certificate {
    pub pem: String,
    pub key_pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Without it CA and server have the same name, and OpenSSL takes the server's certificate for a self-signed one.
        parameters.distinguished_name.push(DnType::CommonName, "A CA of the tests");
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key"));
        let directory = temporary_directory();
        let authority = Self { issuer: issuer.expect("a certificate"), directory };
        std::fs::write(authority.path(), authority.pem()).expect("a file");
        authority
    }

    /// Its own certificate, for clients to trust.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The file with its own certificate.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for hosts and addresses.
    pub fn issue(&self, hosts: &[&str]) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let parameters = CertificateParams::new(hosts).expect("names");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        Certificate { pem: certificate.pem(), key_pem: key.serialize_pem() }
    }
}
