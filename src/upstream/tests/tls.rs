//! TLS: whom we believe.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::fixture::*;
use crate::policy::Failure;
use crate::upstream::{Roots, Sent, Tls, TlsError, Upstream, UpstreamSettings};

/// A private certificate authority whose root lies in a file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    pub fn tls(&self) -> Arc<Tls> {
        Arc::new(Tls::new(&Roots::File(self.file())).unwrap())
    }

    /// A server for `name` that speaks the protocols of `alpn`.
    pub fn acceptor(&self, name: &str, alpn: &[&[u8]], expired: bool) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Speaks HTTP/1.1 behind TLS.
async fn server(acceptor: TlsAcceptor) -> Server {
    Server::start(move |_, peer| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(peer).await else { return };
            let mut buffer = [0; 4096];
            while tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.is_ok_and(|n| n > 0) {
                if buffer.windows(BODY.len()).any(|w| w == BODY) {
                    buffer.fill(0);
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, OK).await;
                    let _ = tokio::io::AsyncWriteExt::flush(&mut stream).await;
                }
            }
        }
    })
    .await
}

fn over_tls(server: &Server, tls: Arc<Tls>) -> Upstream {
    Upstream::new(UpstreamSettings {
        tls,
        ..settings(&format!("https://node.test:{}/KEY", server.address.port()))
    })
}

#[tokio::test]
async fn a_root_from_a_file_is_believed() {
    let authority = Authority::new();
    let server = server(authority.acceptor("node.test", &[b"http/1.1"], false)).await;
    let upstream = over_tls(&server, authority.tls());
    assert_eq!(&read(&upstream).await.unwrap().body[..], b"fine");
    assert!(read(&upstream).await.unwrap().reused);
}

/// Behaviour R2.
#[tokio::test]
async fn bad_certificates_fail_by_tls_and_nothing_is_sent() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let cases = [
        ("expired", ours.acceptor("node.test", &[], true), ours.tls()),
        ("another name", ours.acceptor("other.test", &[], false), ours.tls()),
        ("another authority", theirs.acceptor("node.test", &[], false), ours.tls()),
        ("a private authority", ours.acceptor("node.test", &[], false), tls()),
    ];
    for (name, acceptor, tls) in cases {
        let server = server(acceptor).await;
        let got = read(&over_tls(&server, tls)).await.unwrap_err();
        assert_eq!((got.failure, got.sent), (Failure::Tls, Sent::Nothing), "{name}");
    }
}

#[tokio::test]
async fn a_plain_server_on_the_tls_port_fails_by_tls_and_a_closing_one_by_reset() {
    let plain = Server::start(|_, mut peer| async move {
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        peer.gone().await;
    })
    .await;
    assert_eq!(read(&over_tls(&plain, tls())).await.unwrap_err().failure, Failure::Tls);
    let closing = Server::start(|_, _| async {}).await;
    assert_eq!(read(&over_tls(&closing, tls())).await.unwrap_err().failure, Failure::Reset);
}

#[test]
fn files_without_a_certificate_are_refused_with_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing here\n").unwrap();
    assert!(
        matches!(Tls::new(&Roots::File(empty)), Err(TlsError::Empty(name)) if name.contains("empty.pem"))
    );
    let missing = folder.path().join("missing.pem");
    assert!(matches!(Tls::new(&Roots::File(missing)), Err(TlsError::File { .. })));
}
