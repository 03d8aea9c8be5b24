//! Nothing that is logged on the way, by us or by the libraries below, holds a key.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::fixture::*;
use crate::upstream::{Http2, Upstream, UpstreamSettings};

/// Keeps every field of every span and event, at every level.
#[derive(Clone, Default)]
struct Everything(Arc<Mutex<String>>);

impl Visit for Everything {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = writeln!(self.0.lock().unwrap(), "{field}={value:?}");
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Behaviour P3.
#[test]
fn no_log_at_any_level_holds_a_key() {
    let seen = Everything::default();
    let run = async || {
        for http2 in [Http2::Never, Http2::Always] {
            let server = Server::answering_once(OK).await;
            let url = format!("http://me:S3CRET@{}/v3/S3CRET?token=S3CRET", server.address);
            let mut headers = HeaderMap::new();
            headers.insert("x-api-key", HeaderValue::from_static("S3CRET"));
            let upstream = Upstream::new(UpstreamSettings { headers, http2, ..settings(&url) });
            let first = read(&upstream).await;
            assert_eq!(first.is_ok(), http2 == Http2::Never, "{first:?}");
            drop(server);
            until(|| upstream.pool.idle_closed()).await;
            let second = read(&upstream).await.unwrap_err();
            let _ = writeln!(seen.0.lock().unwrap(), "{second} {second:?} {upstream:?}");
        }
    };
    // With one subscriber alone, tracing asks the thread that meets a line first whether anybody wants it, and
    // that may be another test's. With two it asks both.
    let _second = tracing::Dispatch::new(Everything::default());
    tracing::subscriber::with_default(seen.clone(), || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run());
    });
    let seen = seen.0.lock().unwrap();
    assert!(seen.contains("no answer"), "our own line is among them");
    let leak = seen.lines().find(|line| line.contains("S3CRET") || line.contains("bWU6"));
    assert_eq!(leak, None);
}
