//! The listener's own certificate.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

use super::ServerError;

/// Reads certificate and key.
pub(super) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, ServerError> {
    let unusable = |path: &Path, reason: String| ServerError::Tls { path: path.to_owned(), reason };
    let file = |path: &Path| File::open(path).map_err(|error| unusable(path, error.to_string()));
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_reader_iter(BufReader::new(file(&files.cert)?))
            .collect::<Result<_, _>>()
            .map_err(|_| unusable(&files.cert, "it is no PEM certificate chain".to_owned()))?;
    let key = PrivateKeyDer::from_pem_reader(BufReader::new(file(&files.key)?))
        .map_err(|_| unusable(&files.key, "it is no PEM private key".to_owned()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| unusable(&files.cert, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
