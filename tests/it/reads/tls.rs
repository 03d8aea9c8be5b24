//! R2: a backend whose certificate or name is wrong is masked at once, and hears nothing of the call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::{GOOD, WATCHED, backend, until, watched};
use crate::lab::front::Front;
use crate::lab::proxy::{Proxy, Settings};

/// A certificate authority whose root lies in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are fine names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("root.pem"), issuer.pem()).expect("it is written");
        Authority { issuer, folder }
    }

    /// `[routing]` of a proxy that believes this authority and no other.
    fn routing(&self) -> String {
        format!("[routing]\nhedging = false\nroots = '{}'\n", self.folder.path().join("root.pem").display())
    }

    fn acceptor(&self, name: &str, expired: bool) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key)
            })
            .expect("a server");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// TLS in front of a front; ends when it is dropped.
struct Terminator {
    port: u16,
    /// Connections that were tried.
    tried: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Terminator {
    async fn before(front: &Front, acceptor: TlsAcceptor) -> Terminator {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let tried = Arc::new(AtomicUsize::new(0));
        let (address, count) = (front.address().to_owned(), Arc::clone(&tried));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (acceptor, address) = (acceptor.clone(), address.clone());
                connections.spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let Ok(mut plain) = TcpStream::connect(address).await else { return };
                    let _ = copy_bidirectional(&mut stream, &mut plain).await;
                });
            }
        });
        Terminator { port, tried, _tasks: tasks }
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}/", self.port)
    }
}

#[tokio::test]
async fn r2_a_certificate_that_is_not_valid_is_masked_and_nothing_is_sent_over_it() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let cases = [
        ("expired", ours.acceptor("127.0.0.1", true)),
        ("for another name", ours.acceptor("node.example", false)),
        ("of another authority", theirs.acceptor("127.0.0.1", false)),
    ];
    for (what, acceptor) in cases {
        let (bad, good) = (backend().await, backend().await);
        let bad_tls = Terminator::before(&bad, acceptor).await;
        let good_tls = Terminator::before(&good, ours.acceptor("127.0.0.1", false)).await;
        let mut settings = Settings::over(&[bad.clone(), good.clone()]);
        settings.backends[0].url = bad_tls.url();
        settings.backends[1].url = good_tls.url();
        settings.backends[1].labels += "tier = \"backup\"\n";
        settings.tables = ours.routing();
        let mut proxy = Proxy::start(&settings).await;
        proxy.ready().await;
        let asked_at = Instant::now();
        assert_eq!(watched(&proxy).await["result"], GOOD, "{what}");
        assert!(asked_at.elapsed() < Duration::from_secs(1), "{what}: {:?}", asked_at.elapsed());
        assert_eq!(good.count(WATCHED), 1, "{what}");
        until("it was tried", async || bad_tls.tried.load(Ordering::SeqCst) > 0).await;
        assert_eq!(bad.requests(), 0, "{what}: not even a chain id was asked over it");
    }
}

#[tokio::test]
async fn r2_a_name_that_does_not_resolve_and_a_port_without_tls_are_masked_at_once() {
    let plain = backend().await;
    let cases = [
        ("no such name", "http://no-such-host.invalid/".to_owned()),
        ("no such name, over TLS", "https://no-such-host.invalid/".to_owned()),
        ("no TLS at that port", plain.url().replace("http://", "https://")),
    ];
    for (what, url) in cases {
        let good = backend().await;
        let mut settings = Settings::over(&[plain.clone(), good.clone()]);
        settings.backends[0].url = url;
        settings.backends[1].labels += "tier = \"backup\"\n";
        // A server without TLS waits for the rest of what it takes for a request: only a hedge helps.
        let mut proxy = Proxy::start(&settings).await;
        proxy.ready().await;
        for asked in 1..=5 {
            let asked_at = Instant::now();
            assert_eq!(watched(&proxy).await["result"], GOOD, "{what}");
            assert!(asked_at.elapsed() < Duration::from_secs(1), "{what}: {:?}", asked_at.elapsed());
            assert_eq!(good.count(WATCHED), asked, "{what}");
        }
    }
    assert_eq!(plain.requests(), 0);
}
