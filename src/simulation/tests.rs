//! The simulated clouds on real sockets, and who goes when.

use std::net::TcpStream;

use super::*;
use crate::config::Tier;
use crate::gateway::{Gateway, Packet};

fn outages(texts: &[&str]) -> Vec<Outage> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn three_clouds() -> Vec<config::Backend> {
    let urls = |at| format!("http://127.0.0.1:{}/", at + 1);
    configured(None, &clouds(), Duration::from_secs(1), urls).unwrap().chains.remove(0).backends
}

#[test]
fn an_outage_is_read_as_it_is_written() {
    let seconds = Duration::from_secs;
    let named = |name: &str, from, until| Ok(Outage { name: name.to_owned(), from, until });
    let table = [
        ("aws@20s", named("aws", seconds(20), None)),
        ("AWS/us-east-1@1m..2m", named("aws/us-east-1", seconds(60), Some(seconds(120)))),
        ("cloud:aws@0", named("cloud:aws", Duration::ZERO, None)),
        ("own@name@500ms", named("own@name", Duration::from_millis(500), None)),
        ("aws", Err(OutageError::Form)),
        ("@20s", Err(OutageError::Form)),
        ("aws@", Err(OutageError::Form)),
        ("aws@soon", Err(OutageError::Time("soon".to_owned()))),
        ("aws@20s..", Err(OutageError::Time(String::new()))),
        ("aws@20s..10s", Err(OutageError::Order)),
        ("aws@20s..20s", Err(OutageError::Order)),
    ];
    for (text, expected) in table {
        assert_eq!(text.parse::<Outage>(), expected, "{text}");
    }
}

#[test]
fn an_outage_strikes_a_backend_by_its_name_or_any_domain_it_lies_in() {
    let backends = three_clouds();
    for name in ["simulated-aws", "aws", "cloud:aws", "aws/us-east-1", "region:aws/us-east-1"] {
        let outage = format!("{name}@1s").parse().unwrap();
        assert_eq!(outage::struck(&outage, &backends), Ok(vec![0]), "{name}");
    }
    let Err(OutageError::Unknown(known)) = outage::struck(&"azure@1s".parse().unwrap(), &backends) else {
        panic!("azure is nobody");
    };
    assert!(["simulated-aws", "aws", "gcp", "metal/fra"].iter().all(|n| known.contains(&(*n).to_owned())));
}

#[test]
fn a_backend_is_back_when_the_last_of_its_outages_ends() {
    let outages =
        outages(&["aws@10s..30s", "simulated-aws@20s..40s", "gcp@20s", "metal@5s..6s", "metal@6s..7s"]);
    let turns = timeline(&outages, &three_clouds()).unwrap();
    let seen: Vec<_> = turns
        .iter()
        .filter(|turn| !turn.gone.is_empty() || !turn.back.is_empty())
        .map(|turn| (turn.at.as_secs(), turn.gone.as_slice(), turn.back.as_slice()))
        .collect();
    let none: &[usize] = &[];
    let expected: [(u64, &[usize], &[usize]); 5] =
        [(5, &[2], none), (7, none, &[2]), (10, &[0], none), (20, &[1], none), (40, none, &[0])];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_users_own_backends_are_simulated_under_their_names_and_labels() {
    let own = |name: &str, host: &str| BackendBuilder::new(name, format!("https://{host}/v3/KEY"));
    let chain = ChainBuilder::new("mainnet")
        .backend(own("infura", "infura.example").cloud("aws").region("us-east-1").label("rack", "r1"))
        .backend(own("relay", "relay.example").private(true))
        .backend(own("spare", "spare.example").tier(Tier::Backup).header("x-key", "secret"));
    let real = Config::builder().listen("127.0.0.1:7777").chain(chain).build().unwrap();
    let settings = Settings { outages: outages(&["rack:r1@1h"]), ..Settings::default() };
    let (simulation, config) = Simulation::start(&settings, Some(&real)).unwrap();
    assert_eq!(config.server, real.server);
    let (simulated, real) = (config.default_chain(), real.default_chain());
    assert_eq!((simulated.name.as_str(), simulated.chain_id), (CHAIN_NAME, CHAIN_ID));
    for (at, (simulated, real)) in simulated.backends.iter().zip(&real.backends).enumerate() {
        assert_eq!(simulated.domains(), real.domains());
        assert_eq!(
            (&simulated.name, simulated.private, simulated.tier),
            (&real.name, real.private, real.tier)
        );
        assert_eq!(simulated.url.host(), "127.0.0.1");
        assert!(simulated.headers.is_empty(), "a key is for the real one alone");
        assert_eq!(simulation.backends()[at].name(), real.name);
    }
}

/// What a client of one backend meets: the status and body of one call, or how the connection failed.
async fn call(backend: &SimulatedBackend) -> Result<(u16, String), String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}"#;
    let request = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let address = backend.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let kind = |error: io::Error| format!("{:?}", error.kind());
    let exchange = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.map_err(kind)?;
        stream.write_all(request.as_bytes()).await.map_err(kind)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map_err(kind)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
        let length = head
            .to_lowercase()
            .split_once("content-length: ")
            .and_then(|(_, rest)| rest.split("\r\n").next()?.parse::<usize>().ok());
        match length {
            Some(length) if length > body.len() => Err("cut".to_owned()),
            _ => Ok((status.ok_or("no status")?, body.to_owned())),
        }
    };
    let silent = Duration::from_secs(1);
    tokio::time::timeout(silent, exchange).await.unwrap_or_else(|_| Err("silence".to_owned()))
}

#[tokio::test]
async fn every_fault_is_what_a_client_meets_and_is_gone_when_it_is_lifted() {
    let (simulation, _config) = Simulation::start(&Settings::default(), None).unwrap();
    let backend = &simulation.backends()[0];
    let table = [
        (Fault::Refuse, Err("ConnectionRefused")),
        (Fault::BlackHole, Err("silence")),
        (Fault::Unanswered, Err("silence")),
        (Fault::Reset, Err("ConnectionReset")),
        (Fault::Hang, Err("silence")),
        (Fault::Slow(Duration::from_secs(5)), Err("silence")),
        (Fault::Trickle(20), Err("silence")),
        (Fault::Truncated, Err("cut")),
        (Fault::Status(503), Ok((503, "<!DOCTYPE html>"))),
        (Fault::Html, Ok((200, "<!DOCTYPE html>"))),
        (Fault::Garbage, Ok((200, "\0"))),
        (Fault::ForeignId, Ok((200, r#"{"id":"another request's""#))),
        (Fault::Lag(2), Ok((200, r#"{"jsonrpc":"2.0","id":1,"result""#))),
    ];
    for (fault, expected) in table {
        backend.set(Some(fault));
        if fault == Fault::Refuse {
            // The listener closes in a task of its own.
            let address = backend.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
            while TcpStream::connect(&address).is_ok() {
                tokio::task::yield_now().await;
            }
        }
        let met = call(backend).await;
        match (&met, expected) {
            (Err(met), Err(expected)) => assert_eq!(met, expected, "{fault:?}"),
            (Ok((status, body)), Ok((wanted, start))) => {
                assert!(*status == wanted && body.starts_with(start), "{fault:?}: {met:?}");
            }
            _ => panic!("{fault:?}: {met:?}"),
        }
        backend.set(None);
        let healed = async {
            while !matches!(call(backend).await, Ok((200, body)) if body.contains("\"result\"")) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), healed)
            .await
            .unwrap_or_else(|_| panic!("{fault:?} stays"));
    }
}

#[tokio::test]
async fn a_dying_cloud_resets_the_connections_that_are_open() {
    use tokio::io::AsyncReadExt;
    let (simulation, _config) = Simulation::start(&Settings::default(), None).unwrap();
    let backend = &simulation.backends()[0];
    let address = backend.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();
    // It has been accepted once another, accepted after it, is answered.
    call(backend).await.unwrap();
    backend.set(Some(Fault::Refuse));
    let error = idle.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// Plain, and as providers speak.
fn transports() -> Vec<Transport> {
    #[allow(unused_mut)]
    let mut all = vec![Transport::Plain];
    #[cfg(feature = "cli")]
    all.extend([Transport::Tls { http2: false }, Transport::Tls { http2: true }]);
    all
}

/// Who answers a read, which has to succeed.
async fn served_by(gateway: &Gateway) -> String {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice"}"#;
    let reply = gateway.answer(Packet::new(body)).await;
    let said = String::from_utf8(reply.body.unwrap().to_vec()).unwrap();
    assert!(said.contains("\"result\":\"0x"), "{said}");
    reply.trail.backends.last().unwrap().to_string()
}

/// R1, R2, R9: whoever answered last is made to fail, and the next read is answered by another.
#[tokio::test]
async fn reads_go_on_whatever_befalls_the_cloud_that_answered_last() {
    for transport in transports() {
        let settings = Settings { transport, ..Settings::default() };
        let (simulation, config) = Simulation::start(&settings, None).unwrap();
        let gateway = simulation.gateway(&config).unwrap();
        for fault in [
            Fault::Refuse,
            Fault::Hang,
            Fault::Reset,
            Fault::Status(500),
            Fault::Html,
            Fault::Truncated,
            Fault::Garbage,
            Fault::ForeignId,
        ] {
            let served = served_by(&gateway).await;
            let backend = simulation.backends().iter().find(|backend| backend.name() == served).unwrap();
            backend.set(Some(fault));
            assert_ne!(served_by(&gateway).await, served, "{fault:?} over {transport:?}");
            backend.set(None);
        }
    }
}

/// R2: of an expired certificate and of a name that leads elsewhere hears who connects anew. The connections
/// that were open are closed, so that is everybody.
#[cfg(feature = "cli")]
#[tokio::test]
async fn a_cloud_behind_a_bad_certificate_or_name_is_left_for_another() {
    for fault in [Fault::ExpiredCertificate, Fault::NameElsewhere] {
        let settings = Settings { transport: Transport::Tls { http2: true }, ..Settings::default() };
        let (simulation, config) = Simulation::start(&settings, None).unwrap();
        let gateway = simulation.gateway(&config).unwrap();
        let served = served_by(&gateway).await;
        let backend = simulation.backends().iter().find(|backend| backend.name() == served).unwrap();
        backend.set(Some(fault));
        let is_down = || {
            let status = gateway.status();
            status.chains[0].backends.iter().any(|b| b.name == served && b.state != "ok" && b.failures > 0)
        };
        let left = async {
            while !is_down() || backend.struck() == 0 {
                served_by(&gateway).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), left).await.unwrap_or_else(|_| panic!("{fault:?}"));
        assert_ne!(served_by(&gateway).await, served, "{fault:?}");
    }
}

/// O4: the last good address of a name that is gone goes on being used, for new connections too.
#[cfg(feature = "cli")]
#[tokio::test]
async fn a_cloud_whose_name_is_gone_goes_on_serving() {
    let settings = Settings { transport: Transport::Tls { http2: true }, ..Settings::default() };
    let (simulation, config) = Simulation::start(&settings, None).unwrap();
    let gateway = simulation.gateway(&config).unwrap();
    served_by(&gateway).await;
    for backend in simulation.backends() {
        backend.set(Some(Fault::NameGone));
    }
    let looked_up = async {
        while simulation.backends().iter().all(|backend| backend.struck() == 0) {
            served_by(&gateway).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looked_up).await.expect("its name is asked for");
    served_by(&gateway).await;
}

/// Where a cloud's packets get lost, a connection is not even made.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_unanswered_cloud_takes_no_connections_until_it_is_back() {
    let (simulation, _config) = Simulation::start(&Settings::default(), None).unwrap();
    let backend = &simulation.backends()[0];
    let address = backend.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let connects = async || {
        let connecting = tokio::net::TcpStream::connect(&address);
        tokio::time::timeout(Duration::from_millis(300), connecting).await.is_ok_and(|made| made.is_ok())
    };
    assert!(connects().await);
    backend.set(Some(Fault::Unanswered));
    let lost = async { while connects().await {} };
    tokio::time::timeout(Duration::from_secs(10), lost).await.expect("its packets are lost");
    backend.set(None);
    let back = async { while !matches!(call(backend).await, Ok((200, _))) {} };
    tokio::time::timeout(Duration::from_secs(10), back).await.expect("it is back");
}

#[tokio::test]
async fn a_flaky_cloud_fails_about_as_often_as_it_is_told_to() {
    let (simulation, _config) = Simulation::start(&Settings::default(), None).unwrap();
    let backend = &simulation.backends()[0];
    backend.set(Some(Fault::Flaky(30)));
    let calls = futures_util::future::join_all((0..100).map(|_| call(backend))).await;
    let failed = calls.iter().filter(|met| matches!(met, Ok((500 | 502 | 503, _)))).count();
    let answered =
        calls.iter().filter(|met| matches!(met, Ok((200, said)) if said.contains("result"))).count();
    assert_eq!(failed + answered, 100, "{calls:?}");
    assert!((12..=50).contains(&failed), "{failed} of 100");
}

/// What could not have been said is told from what could.
#[tokio::test]
async fn answers_are_held_against_the_chain() {
    let (simulation, _config) = Simulation::start(&Settings::default(), None).unwrap();
    let ask = br#"{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":["0x0",false]}"#;
    let body = simulation.world.converse(0, 0, "", ask).unwrap();
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert!(simulation.could_answer(ask, &said["result"], 0));
    let mut forged = said["result"].clone();
    forged["hash"] = forged["parentHash"].clone();
    assert!(!simulation.could_answer(ask, &forged, 2));
    assert!(!simulation.could_answer(ask, &serde_json::Value::Null, 2));
    let ask = br#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}"#;
    assert!(!simulation.could_answer(ask, &serde_json::json!("0x10000"), 2));
}

#[test]
fn half_of_the_answers_come_sooner_than_the_median_and_the_seed_decides_which() {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    let latency = latency(0);
    let draw = |seed| {
        let mut rng = SmallRng::seed_from_u64(seed);
        (0..2_000).map(|_| latency.draw(&mut rng)).collect::<Vec<_>>()
    };
    let drawn = draw(1);
    let sooner = drawn.iter().filter(|took| **took < latency.median).count();
    assert!((900..1_100).contains(&sooner), "{sooner} of 2000");
    let twice = drawn.iter().filter(|took| **took > latency.median * 2).count();
    assert!((4..50).contains(&twice), "{twice} of 2000 above twice the median");
    assert_eq!(drawn, draw(1));
    assert_ne!(drawn, draw(2));
}
