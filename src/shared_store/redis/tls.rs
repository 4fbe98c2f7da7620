//! TLS to Redis: rustls with ring, and CAs from one place. Certificates and host names are always verified.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use fred::types::config::TlsConnector;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem, pem::PemObject},
};

/// CAs that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CaFileError {
    /// The file can't be read, or not as PEM.
    #[error("cannot read CA certificates from {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The file holds no certificate.
    #[error("{} holds no CA certificate in PEM", .0.display())]
    Empty(PathBuf),
    /// A certificate can't be used.
    #[error("a CA certificate can't be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// How to connect with servers whose certificates come from a CA of `ca_file`, or else from one that browsers trust.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, CaFileError> {
    let roots = match ca_file {
        Some(path) => roots_of(path)?,
        None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
    };
    // Named here, so that no other crate's choice of a default provider matters.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config.into())
}

fn roots_of(path: &Path) -> Result<RootCertStore, CaFileError> {
    let unreadable = |source| CaFileError::Unreadable { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        roots.add(certificate.map_err(unreadable)?)?;
    }
    if roots.is_empty() { Err(CaFileError::Empty(path.to_owned())) } else { Ok(roots) }
}
