//! R2: a backend whose certificate cannot be believed is passed over at once, and hears nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::{GOOD, WATCHED, backend, status_of, until, watched};
use crate::lab::front::Front;
use crate::lab::proxy::{Proxy, Settings};

/// A private certificate authority whose root lies in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a root");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("root.pem"), issuer.pem()).expect("it is written");
        Authority { issuer, folder }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// A server's certificate for `name`, good from one year to the other.
    fn server(&self, name: &str, years: (i32, i32)) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key in DER"),
            )
            .expect("a key that fits");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A port that speaks TLS and passes what it hears on to a front.
struct TlsPort {
    url: String,
    task: JoinHandle<()>,
}

impl TlsPort {
    async fn before(front: &Front, acceptor: TlsAcceptor) -> TlsPort {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("https://{}/", listener.local_addr().expect("an address"));
        let behind = front.address().to_owned();
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                open.spawn(async move {
                    let Ok(mut client) = acceptor.accept(stream).await else { return };
                    let Ok(mut node) = TcpStream::connect(behind).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut node).await;
                });
            }
        });
        TlsPort { url, task }
    }
}

impl Drop for TlsPort {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn r2_a_certificate_that_expired_or_names_another_is_masked_at_once() {
    const NOW: (i32, i32) = (2020, 2090);
    let (ours, theirs) = (Authority::new(), Authority::new());
    // The last one is sound, and shows that the others fail by what is said of them.
    let table = [
        ("expired", ours.server("127.0.0.1", (2020, 2021)), false),
        ("not valid yet", ours.server("127.0.0.1", (2089, 2090)), false),
        ("another name", ours.server("other.test", NOW), false),
        ("another authority", theirs.server("127.0.0.1", NOW), false),
        ("sound", ours.server("127.0.0.1", NOW), true),
    ];
    for (name, acceptor, serves) in table {
        let (primary, backup) = (backend().await, backend().await);
        let port = TlsPort::before(&primary, acceptor).await;
        let mut settings = Settings::over(&[primary.clone(), backup.clone()]);
        settings.backends[0].url = port.url.clone();
        settings.backends[1].labels += "tier = \"backup\"\n";
        settings.tables = format!("[routing]\nhedging = false\nroots = '{}'\n", ours.root().display());
        let mut proxy = Proxy::start(&settings).await;
        proxy.ready().await;
        if serves {
            until("the sound one is known", async || status_of(&proxy, "aws").await["state"] == "ok").await;
        }
        let started = Instant::now();
        assert_eq!(watched(&proxy).await["result"], GOOD, "{name}");
        assert!(started.elapsed() < Duration::from_secs(1), "{name}: {:?}", started.elapsed());
        let (at_primary, at_backup) = (primary.count(WATCHED), backup.count(WATCHED));
        assert_eq!((at_primary, at_backup), if serves { (1, 0) } else { (0, 1) }, "{name}");
        assert_eq!(primary.requests() > 0, serves, "{name}: it must not even hear a probe");
    }
}
