//! P7, P8: which methods may pass. What is refused reaches no backend under any spelling.
use outrigger::ethereum::Method;

use super::site::{self, Site, call, json};
use crate::lab::front::{Answer, Front};

/// A backend that would do whatever it is told.
async fn obedient() -> Front {
    Front::fixture(|call| match call.method.as_str() {
        "eth_chainId" | "eth_blockNumber" => site::answers(&call.method),
        _ => Answer::Result("\"done\"".to_owned()),
    })
    .await
}

async fn obedient_site(chain: &str) -> Site {
    let front = obedient().await;
    let mut settings = site::over(std::slice::from_ref(&front));
    settings.chain += chain;
    Site { proxy: site::start(&settings, "").await, front }
}

/// P8: every method that the table refuses, and one of each namespace that must be among them.
#[tokio::test]
async fn dangerous_methods_are_refused_with_a_hint() {
    let site = obedient_site("").await;
    let mut client = site.connect().await;
    let mut names: Vec<String> = Method::all()
        .iter()
        .filter(|method| method.refused_by_default())
        .map(|method| method.name.replace('*', "Anything"))
        .collect();
    let known = names.len();
    assert!(known > 20, "only {known} methods are refused");
    names.extend(
        [
            "admin_addPeer",
            "admin_nodeInfo",
            "admin_somethingNew",
            "personal_unlockAccount",
            "personal_somethingNew",
            "miner_start",
            "miner_somethingNew",
            "engine_newPayloadV4",
            "engine_somethingNewV9",
            "debug_setHead",
            "debug_setGCPercent",
            "debug_setSomethingNew",
            "eth_sign",
            "eth_signTransaction",
            "eth_signTypedData_v4",
            "eth_sendTransaction",
        ]
        .map(str::to_owned),
    );
    for name in &names {
        let answer = client.post("/", &[], call(name).as_bytes()).await;
        let said = json(&answer);
        assert_eq!((answer.status(), said["error"]["code"].as_i64()), (200, Some(-32601)), "{name}: {said}");
        let message = said["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(name.as_str()), "{name}: {message}");
        let hint = answer.header("x-outrigger-hint").unwrap_or_default();
        assert!(hint.len() > 10, "{name} is refused without a hint");
        assert_eq!(answer.header("x-outrigger-source"), Some("local"), "{name}");
    }
    assert_eq!(site.forwarded(), Vec::<String>::new());
}

/// P7: the same methods in other spellings: a node or a gateway behind us may fold what we compare.
#[tokio::test]
async fn no_spelling_of_a_refused_method_reaches_a_backend() {
    let site = obedient_site("").await;
    let mut client = site.connect().await;
    for name in [
        "ADMIN_peers",
        "Admin_Peers",
        "aDMIN_PEERS",
        "Eth_SendTransaction",
        "ETH_SENDTRANSACTION",
        "eth_sendtransaction",
        "eth_SIGN",
        "PERSONAL_unlockAccount",
        "Miner_start",
        "ENGINE_newPayloadV4",
        "debug_SetHead",
        "DEBUG_SETHEAD",
        // escapes in the name
        r"\u0061dmin_peers",
        r"admin\u005fpeers",
        r"eth_send\u0054ransaction",
        // look-alikes: Cyrillic a, dotless i, full width, long s, Kelvin sign, combining marks, zero width
        "аdmin_peers",
        "admın_peers",
        "ａｄｍｉｎ_peers",
        "eth_ſendTransaction",
        "eth_sendTranſaction",
        "\u{212a}eth_sendTransaction",
        "a\u{301}dmin_peers",
        "admin\u{200b}_peers",
        "\u{feff}admin_peers",
        // around the name
        " admin_peers",
        "admin_peers ",
        r"admin_peers\n",
        r"admin_peers\u0000",
        r"\tadmin_peers",
        "admin_peers/",
        "admin/peers",
        "admin__peers\\\"",
        "eth_chainId,admin_peers",
    ] {
        let answer = client.post("/", &[], call(name).as_bytes()).await;
        assert_eq!(site::code(&answer), -32601, "{name}: {}", site::text(&answer));
    }
    assert_eq!(site.forwarded(), Vec::<String>::new());
}

/// P7: a refusal inside a batch is that item's, and the batch that goes on does not hold it.
#[tokio::test]
async fn a_refused_method_in_a_batch_stays_here() {
    let site = obedient_site("").await;
    let body = format!("[{},{},{}]", call("eth_gasPrice"), call("ADMIN_peers"), call("eth_syncing"));
    let said = json(&site.post(&body).await);
    assert_eq!(said[0]["result"], "done");
    assert_eq!(said[1]["error"]["code"], -32601);
    assert_eq!(said[2]["result"], "done");
    assert!(!site.forwarded().concat().to_lowercase().contains("admin"), "{:?}", site.forwarded());
}

/// P8: the operator may allow what is refused and refuse what is allowed; the most exact pattern decides.
#[tokio::test]
async fn the_operator_decides_which_methods_pass() {
    let site = obedient_site(
        "allow_methods = [\"admin_peers\", \"debug_setHead\", \"admin_somethingNew\", \"trace_block\"]\n\
         deny_methods = [\"trace_*\", \"eth_gasPrice\", \"acme_*\"]\n",
    )
    .await;
    for (name, passes) in [
        ("admin_peers", true),
        ("debug_setHead", true),
        ("admin_somethingNew", true),
        ("trace_block", true),
        ("eth_syncing", true),
        ("admin_addPeer", false),
        ("debug_setGCPercent", false),
        ("trace_filter", false),
        ("trace_anything", false),
        ("TRACE_filter", false),
        ("eth_gasPrice", false),
        ("ETH_gasPrice", false),
        ("eth_gasprice", false),
        ("acme_mint", false),
        ("ACME_mint", false),
    ] {
        site.front.forget();
        let answer = site.post(&call(name)).await;
        let expected = if passes { "result" } else { "error" };
        assert!(json(&answer).get(expected).is_some(), "{name}: {}", site::text(&answer));
        assert_eq!(site.forwarded().len(), usize::from(passes), "{name}");
        assert_eq!(answer.header("x-outrigger-hint").is_some(), !passes, "{name}");
    }
}
