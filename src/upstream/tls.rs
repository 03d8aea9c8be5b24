//! The TLS client: which authorities are believed, and one session cache for all backends.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Sessions kept for resumption. One backend is one name, and a large configuration has some hundred.
const SESSIONS_MAX: usize = 512;

/// Which certificate authorities are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// Mozilla's, built in: the same on every machine.
    #[default]
    Webpki,
    /// Those of the operating system: companies with an authority of their own.
    Native,
    /// Those of one PEM file, and no other.
    File(PathBuf),
    /// These, and no other.
    Given(Vec<CertificateDer<'static>>),
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file cannot be read, or is no PEM.
    #[error("cannot read the root certificates in {}: {reason}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the reader says.
        reason: String,
    },
    /// The file, or the operating system, holds no usable certificate.
    #[error("{0} holds no usable root certificate: name a PEM file, or use roots = \"webpki\"")]
    Empty(String),
    /// The cryptography library does not offer what is asked for.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Everything a TLS handshake needs; build one a process part and share it.
pub struct Tls {
    any: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Tls {
    /// Loads the roots. Reads files: call it at start, not within a request.
    pub fn new(roots: &Roots) -> Result<Self, TlsError> {
        // The provider is named here: with two of them in one process, rustls' default is ambiguous and panics.
        let mut http1 = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(load(roots)?)
            .with_no_client_auth();
        http1.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut any = http1.clone();
        any.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut http2 = http1.clone();
        http2.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { any: Arc::new(any), http1: Arc::new(http1), http2: Arc::new(http2) })
    }

    pub(super) fn offering(&self, offer: Alpn) -> Arc<ClientConfig> {
        Arc::clone(match offer {
            Alpn::Any => &self.any,
            Alpn::Http1 => &self.http1,
            Alpn::Http2 => &self.http2,
        })
    }
}

/// What the handshake offers to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2, else HTTP/1.1.
    Any,
    /// HTTP/1.1 only; WebSockets need it.
    Http1,
    /// HTTP/2 only.
    Http2,
}

fn load(roots: &Roots) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    let source = match roots {
        Roots::Webpki => {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            "the built-in list".to_owned()
        }
        Roots::Native => {
            // One odd certificate in a system store is common, and no reason to trust none.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            "the operating system".to_owned()
        }
        Roots::File(path) => {
            let refused = |reason: String| TlsError::File { path: path.clone(), reason };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| refused(e.to_string()))? {
                let certificate = certificate.map_err(|e| refused(e.to_string()))?;
                store.add(certificate).map_err(|e| refused(e.to_string()))?;
            }
            path.display().to_string()
        }
        Roots::Given(certificates) => {
            for certificate in certificates {
                store.add(certificate.clone())?;
            }
            "the given list".to_owned()
        }
    };
    if store.is_empty() {
        return Err(TlsError::Empty(source));
    }
    Ok(store)
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}
