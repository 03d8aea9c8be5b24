//! `outrigger drill --loopback` as a process: what does not depend on how fast this machine is.

use std::thread;

use serde_json::Value;

use super::{drill, file, json, text};

/// Long enough for every fault to be met, and for its cloud to be back on a busy machine.
const TIMES: [&str; 6] = ["--calm", "3s", "--outage", "5s", "--recovery", "90s"];

/// Drills the faults side by side; each one's only drill.
fn drilled(faults: &[&str], more: &[&str]) -> Vec<(String, Value)> {
    let one = |fault: &str| {
        let args = [&["--loopback", fault, "--json", "--rate", "60"], &TIMES[..], more].concat();
        let report = json(&drill(&args));
        assert_eq!(report["runs"][0]["fault"], fault);
        (fault.to_owned(), report["runs"][0]["drills"][0].clone())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = faults.iter().map(|fault| scope.spawn(move || one(fault))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it drills")).collect()
    })
}

/// The client noticed nothing, the fault was met, and the cloud came back.
fn nobody_noticed(drills: &[(String, Value)]) {
    for (fault, drill) in drills {
        let changes = &drill["changes"];
        for key in ["failed", "wrong", "transactions_lost"] {
            assert_eq!(drill[key], 0, "{fault}: {key}: {:#} {changes:#}", drill["told"]);
        }
        assert!(drill["requests"].as_u64() > Some(400), "{fault}: {}", drill["requests"]);
        assert!(drill["transactions"].as_u64() > Some(1), "{fault}");
        let met = drill["struck"].as_u64().max(drill["attempts_at_victim"].as_u64());
        assert!(met > Some(0), "{fault} met nobody");
        assert!(drill["back_ms"].is_u64(), "{fault}: it never came back: {changes:#}");
    }
}

/// The failed cloud served most of the calm, and little of the outage.
fn lost_its_share(drills: &[(String, Value)]) {
    for (fault, drill) in drills {
        assert!(drill["share_calm"].as_f64() > Some(0.5), "{fault}: {}", drill["share_calm"]);
        let timeline = drill["timeline"].as_array().expect("seconds");
        // The outage's last whole second.
        let last = drill["phases_ms"][1].as_u64().expect("its end") / 1000 - 1;
        let share = timeline[last as usize]["share"].as_f64();
        assert!(share <= drill["share_calm"].as_f64().map(|share| share / 2.0), "{fault}: {timeline:?}");
    }
}

#[test]
fn r1_answers_that_are_none_reach_no_client() {
    let drills = drilled(&["503", "html", "garbage", "truncated", "foreign-id"], &[]);
    nobody_noticed(&drills);
    lost_its_share(&drills);
}

#[test]
fn r2_connections_and_certificates_that_fail_reach_no_client() {
    let drills = drilled(&["refuse", "reset", "tls-expired", "dns-elsewhere"], &[]);
    nobody_noticed(&drills);
    lost_its_share(&drills);
}

#[test]
fn r9_silence_reaches_no_client() {
    let drills = drilled(&["hang", "black-hole", "unanswered", "trickle"], &[]);
    nobody_noticed(&drills);
    lost_its_share(&drills);
}

/// Over HTTP/1.1, where each request has a connection to itself.
#[test]
fn r2_r9_nor_do_they_over_one_connection_a_request() {
    let drills = drilled(&["refuse", "reset", "hang"], &["--over", "http1"]);
    nobody_noticed(&drills);
    lost_its_share(&drills);
    // What is refused at once is asked of another, what is silent is hedged, and copies lead the way back.
    for ((fault, drill), extra) in drills.iter().zip(["retries", "retries", "hedges"]) {
        for count in [extra, "copies"] {
            assert!(drill["calls"][count].as_u64() > Some(0), "{fault}: {count}: {}", drill["calls"]);
        }
    }
    assert_eq!(drills[2].1["calls_outage"]["retries"], 0, "nothing fails while a cloud is silent");
}

/// A grey failure is left behind too.
#[test]
fn h1_a_cloud_that_fails_at_times_reaches_no_client() {
    let drills = drilled(&["errors-30"], &[]);
    nobody_noticed(&drills);
    lost_its_share(&drills);
}

/// O4: what is known of a name outlives its resolver, so its backend need not lose anything.
#[test]
fn o4_a_name_that_is_gone_reaches_no_client() {
    nobody_noticed(&drilled(&["dns-gone"], &[]));
}

#[test]
fn the_list_names_the_faults_too() {
    let said = text(&drill(&["--list"]).stdout);
    for words in ["black-hole     connections are accepted", "errors-30", "tls-expired"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// Two backends of one's own, and a routing that asks one of them only: what one fails, the client sees.
#[test]
fn a_missed_bar_exits_with_1_and_shows_what_the_client_got() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(
        dir.path(),
        "outrigger.toml",
        "[routing]\nmax_attempts = 1\nhedging = false\n\
         [[chains.mainnet.backends]]\nname = \"mine\"\nurl = \"http://127.0.0.1:1\"\ncloud = \"aws\"\n\
         [[chains.mainnet.backends]]\nname = \"far\"\nurl = \"http://127.0.0.1:2\"\ncloud = \"gcp\"\n",
    );
    let args = ["--calm", "1s", "--outage", "2s", "--recovery", "1s", "--config", &config];
    let output = drill(&[&["--loopback", "reset"], &args[..]].concat());
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said} {}", text(&output.stderr));
    assert!(said.contains("missed: reset: failed requests was "), "{said}");
    // Whoever serves is taken away, and on a busy machine that may be either.
    assert!((said.contains("mine") || said.contains("far ")) && said.contains("HTTP 200"), "{said}");
    assert!(said.contains("outrigger drill --loopback reset --rate 100 --over http2 --seed 1"), "{said}");
}

#[test]
fn wrong_usage_exits_with_2_before_anything_is_drilled() {
    let dir = tempfile::tempdir().unwrap();
    let alone = "[[chains.mainnet.backends]]\nname = \"mine\"\nurl = \"http://127.0.0.1:1\"\n";
    let alone = file(dir.path(), "alone.toml", alone);
    let cases: [(&[&str], &str); 8] = [
        (&["--loopback", "refused"], "did you mean refuse?"),
        (&["--loopback", "S02"], "no fault is called S02"),
        (&["--loopback", "hang", "--rate", "1"], "from 10 to 1000"),
        (&["--loopback", "hang", "--outage", "1h"], "from 1s to 5m"),
        (&["--loopback", "hang", "--seeds", "1-3"], "cannot be used with"),
        (&["--loopback", "--list"], "cannot be used with"),
        (&["S02", "--rate", "50"], "--loopback"),
        (&["--loopback", "hang", "--config", &alone], "one backend alone"),
    ];
    for (args, said) in cases {
        let output = drill(args);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.contains(said), "{args:?}: {errors}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}
