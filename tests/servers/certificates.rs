//! Certificates for servers, from an authority made for the test.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

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
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key"));
        let directory = tempfile::tempdir().expect("a temporary directory");
        let authority = Self { issuer: issuer.expect("a certificate"), directory };
        std::fs::write(authority.path(), authority.issuer.pem()).expect("a file");
        authority
    }

    /// The file with its own certificate, for clients to trust.
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
