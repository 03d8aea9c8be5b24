//! Wrong usage exits with 2 and says what to change; what cannot be reached exits with 1; no secret is shown.

use super::{PLAIN, file, load, load_at, plain_front, report, text};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_exits_with_2_before_anything_is_sent() {
    let front = plain_front().await;
    let url = front.url();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let broken = file(dir.path(), "broken.jsonl", &format!("{PLAIN}\n\n{{\"s3cret\":1}}\n"));
    let empty = file(dir.path(), "empty.jsonl", "# nothing\n");
    let cases: [(&[&str], &str); 19] = [
        (&[], "URL"),
        (&[&url, "--simulate"], "cannot be used with"),
        (&[&url, "--rate", "fast"], "100..2000"),
        (&[&url, "--rate", "0"], "100..2000"),
        (&[&url, "--rate", "100..x"], "100..2000"),
        (&[&url, "--duration", "1ms"], "from 1s to 24h"),
        (&[&url, "--warm-up", "1h"], "at most 10m"),
        (&[&url, "--timeout", "0"], "from 10ms to 5m"),
        (&[&url, "--connections", "0"], "from 1 to 20000"),
        (&[&url, "--mix", "walet"], "wallet, indexer and trader"),
        (&[&url, "--max-failed", "200%"], "0.1%"),
        (&[&url, "--requests", "/nowhere/requests.jsonl"], "/nowhere/requests.jsonl cannot be read"),
        (&[&url, "--requests", &broken], "line 3: is no JSON-RPC request"),
        (&[&url, "--requests", &empty], "holds no request"),
        (&[&url, "--kill", "aws@3s"], "--simulate"),
        (&["--simulate", "--kill", "azure@3s"], "simulated-aws"),
        (&["--simulate", "--kill", "aws@30s", "--duration", "5s"], "raise --duration"),
        (&[&url, "--ca", "/nowhere/root.pem"], "/nowhere/root.pem"),
        (&["ftp://127.0.0.1/s3cret"], "use http or https"),
    ];
    for (args, said) in cases {
        let output = load(args).await;
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.contains(said), "{args:?}: {errors}");
        assert!(output.stdout.is_empty() && !errors.contains("s3cret"), "{args:?}: {errors}");
    }
    assert_eq!(front.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_reached_exits_with_1_and_why() {
    let output = load(&["http://127.0.0.1:1"]).await;
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("http://127.0.0.1:1 does not answer") && errors.contains("refused"), "{errors}");
    assert!(output.stdout.is_empty());
}

/// Neither user nor key nor header, wherever it is written.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_an_address_or_a_header_is_shown() {
    let front = plain_front().await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let requests = file(dir.path(), "plain.jsonl", PLAIN);
    let page = dir.path().join("page.html").display().to_string();
    let url = format!("http://me:s3cret-pass@{}/v3/s3cret-key?token=s3cret-token", front.address());
    let args = ["--requests", &requests, "--rate", "10", "--duration", "1s", "--warm-up", "0s"];
    let more = ["--header", "x-api-key: s3cret-header", "--report", &page];
    for json in [&["--json"][..], &[]] {
        let output = load_at(&url, &[&args, &more, json]).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let page = std::fs::read_to_string(&page).expect("the page is there");
        let all = format!("{}{}{page}", text(&output.stdout), text(&output.stderr));
        assert!(!all.contains("s3cret") && all.contains(front.address()), "{all}");
    }
    let seen = front.seen().pop().expect("requests");
    assert_eq!(seen.path, "/v3/s3cret-key?token=s3cret-token");
    let header = |name: &str| seen.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    assert_eq!(header("x-api-key"), Some("s3cret-header"));
    assert!(header("authorization").is_some_and(|value| value.starts_with("Basic ")));
    for wrong in [&["http://me:s3cretone.example/x"][..], &["https://x.example", "--header", "s3cret"]] {
        let output = load(wrong).await;
        let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "{all}");
        assert!(!all.contains("s3cret"), "{all}");
    }
}

/// What programs read; `docs/load.md` describes it.
#[tokio::test(flavor = "multi_thread")]
async fn the_json_has_what_its_description_says() {
    let front = plain_front().await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let requests = file(dir.path(), "plain.jsonl", PLAIN);
    let args = ["--requests", &requests, "--rate", "10", "--duration", "1s", "--warm-up", "0s", "--json"];
    let (report, _) = report(&load_at(&front.url(), &[&args]).await);
    let keys =
        |value: &serde_json::Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    let described = include_str!("../../../docs/load.md");
    let target = &report["targets"][0];
    for object in [
        &report,
        target,
        &target["whole"],
        &target["whole"]["latency"],
        &target["heads"],
        &report["generator"],
    ] {
        for key in keys(object) {
            assert!(described.contains(&format!("`{key}`")), "docs/load.md does not describe `{key}`");
        }
    }
    assert_eq!((&report["mix"], &report["rate"]), (&"recorded".into(), &serde_json::json!([10.0, 10.0])));
    assert_eq!(target["methods"][0]["method"], "eth_getStorageAt");
    assert_eq!(target["timeline"][0]["at_ms"], 0);
}
