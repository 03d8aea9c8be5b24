//! Certificates of simulated backends, made when a simulation starts and gone with it.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;

/// Certificates for every name of [`super::names`], by an authority that only this simulation believes.
pub(super) struct Certificates {
    pub(super) valid: Arc<ServerConfig>,
    pub(super) expired: Arc<ServerConfig>,
    pub(super) root: CertificateDer<'static>,
}

/// Certificates cannot be made: the system gives no randomness.
#[derive(Debug, thiserror::Error)]
#[error("certificates for the simulated clouds cannot be made: {0}")]
pub struct CertificateError(String);

#[cfg(feature = "cli")]
impl Certificates {
    /// `http2` says whether that is spoken to whoever offers it.
    pub(super) fn make(http2: bool) -> Result<Self, CertificateError> {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
        use rustls::pki_types::PrivateKeyDer;

        let failed = |error: rcgen::Error| CertificateError(error.to_string());
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(failed)?;
        let issuer = CertifiedIssuer::self_signed(authority, key).map_err(failed)?;
        let server = |expired: bool| {
            let key = KeyPair::generate().map_err(failed)?;
            let name = format!("*.{}", super::names::DOMAIN);
            let mut params = CertificateParams::new(vec![name]).map_err(failed)?;
            if expired {
                params.not_before = date_time_ymd(2020, 1, 1);
                params.not_after = date_time_ymd(2021, 1, 1);
            }
            let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
            let key = PrivateKeyDer::try_from(key.serialize_der())
                .map_err(|error| CertificateError(error.to_owned()))?;
            // The provider is named: with two of them in one process, rustls' default is ambiguous and panics.
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .and_then(|builder| {
                    builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key)
                })
                .map_err(|error| CertificateError(error.to_string()))?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            if http2 {
                config.alpn_protocols.insert(0, b"h2".to_vec());
            }
            Ok::<_, CertificateError>(Arc::new(config))
        };
        Ok(Self { valid: server(false)?, expired: server(true)?, root: issuer.der().clone() })
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificates")
    }
}
