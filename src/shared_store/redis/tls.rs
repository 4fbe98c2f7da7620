//! TLS to Redis, with rustls and ring. Certificates and host names are always verified.

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

/// The CA certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CaFileError {
    /// The file can't be read or is not PEM.
    #[error("cannot read CA certificates from {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: pem::Error },
    #[error("{} contains no PEM certificate", .0.display())]
    Empty(PathBuf),
    #[error("cannot use a CA certificate: {0}")]
    Unusable(#[from] rustls::Error),
}

/// Returns a connector that accepts certificates issued by a CA in `ca_file`, or by one that browsers trust if there is no file.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, CaFileError> {
    let roots = match ca_file {
        Some(path) => read_roots(path)?,
        None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
    };
    // Explicit, so that it does not depend on which default provider another crate installs.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config.into())
}

fn read_roots(path: &Path) -> Result<RootCertStore, CaFileError> {
    let unreadable = |source| CaFileError::Unreadable { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        roots.add(certificate.map_err(unreadable)?)?;
    }
    if roots.is_empty() { Err(CaFileError::Empty(path.to_owned())) } else { Ok(roots) }
}
