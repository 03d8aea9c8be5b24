//! Bodies: what a backend without a node answers, and how a fault changes an answer.
use std::io::Write;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::fault::Fault;

/// An id that no client of the tests sends.
const FOREIGN_ID: u64 = 987_654_321;

/// What a backend without a node says to one call.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The `result`, as JSON text: its bytes are sent as they are.
    Result(String),
    /// The `error` object.
    Error(Value),
    /// The `error` object as JSON text: its bytes, and so the order of its members, are sent as they are.
    ErrorText(String),
}

/// One call of a request, single or out of a batch.
#[derive(Clone, Debug)]
pub struct Call {
    /// The id as it stood in the request; `None` for a notification.
    pub id: Option<String>,
    pub method: String,
    pub params: Value,
}

/// The calls of a request body, and whether they came as a batch.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    pub calls: Vec<Call>,
    pub is_batch: bool,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// An id of `null` is an id: only an absent one makes a notification.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

// === impl Answer ===

impl Answer {
    /// A result.
    pub fn result(value: Value) -> Answer {
        Answer::Result(value.to_string())
    }

    /// An error with code and message.
    pub fn error(code: i64, message: &str) -> Answer {
        Answer::Error(json!({"code": code, "message": message}))
    }

    /// The answer to `method` from a table of results; a value `{"__error": {..}}` is an error object, and what
    /// the table does not hold is -32601.
    pub fn from_table(table: &Value, method: &str) -> Answer {
        match table.get(method) {
            None => Answer::error(-32601, &format!("the method {method} does not exist/is not available")),
            Some(entry) => match entry.get("__error") {
                Some(error) => Answer::Error(error.clone()),
                None => Answer::result(entry.clone()),
            },
        }
    }

    fn text(&self, id: &str) -> String {
        match self {
            Answer::Result(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
            Answer::Error(error) => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#),
            Answer::ErrorText(error) => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#),
        }
    }
}

// === impl Calls ===

impl Calls {
    /// Takes a request body apart; what is no JSON-RPC call is left out.
    pub fn read(body: &[u8]) -> Calls {
        let call = |raw: &&RawValue| {
            let envelope: Envelope = serde_json::from_str(raw.get()).ok()?;
            let id = envelope.id.map(|id| id.get().to_owned());
            // JSON that no string type holds, such as a lone surrogate, is a call all the same
            let params =
                envelope.params.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
            Some(Call { id, method: envelope.method, params })
        };
        match serde_json::from_slice::<Vec<&RawValue>>(body) {
            Ok(items) => Calls { calls: items.iter().filter_map(call).collect(), is_batch: true },
            Err(_) => {
                let single = serde_json::from_slice::<&RawValue>(body).ok();
                Calls { calls: single.as_ref().and_then(call).into_iter().collect(), is_batch: false }
            }
        }
    }

    /// The methods, in order.
    pub fn methods(&self) -> Vec<String> {
        self.calls.iter().map(|call| call.method.clone()).collect()
    }

    /// The body that answers these calls.
    pub fn answer(&self, say: impl Fn(&Call) -> Answer) -> Bytes {
        let texts: Vec<String> =
            self.calls.iter().filter_map(|call| call.id.as_ref().map(|id| say(call).text(id))).collect();
        let body = if self.is_batch { format!("[{}]", texts.join(",")) } else { texts.concat() };
        body.into()
    }

    /// Puts the ids of these calls into a template; see [`Fault::Respond`].
    pub fn fill(&self, template: &Bytes) -> Bytes {
        let Ok(mut text) = String::from_utf8(template.to_vec()) else { return template.clone() };
        let ids: Vec<&str> = self.calls.iter().map(|call| call.id.as_deref().unwrap_or("null")).collect();
        text = text.replace("\"$OTHER\"", &FOREIGN_ID.to_string());
        text = text.replace("\"$ID\"", ids.first().unwrap_or(&"null"));
        for (i, id) in ids.iter().enumerate() {
            text = text.replace(&format!("\"$ID{}\"", i + 1), id);
        }
        text.into()
    }

    /// Changes an answer as the faults say. What is no JSON stays as it is.
    pub fn spoil(&self, body: Bytes, faults: &[Fault]) -> Bytes {
        if !faults.iter().any(changes_json) {
            return body;
        }
        let Ok(mut value) = serde_json::from_slice::<Value>(&body) else { return body };
        match &mut value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.spoil_one(item, faults)),
            single => self.spoil_one(single, faults),
        }
        value.to_string().into()
    }

    fn spoil_one(&self, answer: &mut Value, faults: &[Fault]) {
        let id = answer["id"].to_string();
        let call = self.calls.iter().find(|call| call.id.as_ref().is_some_and(|c| *c == id));
        let method = call.map_or("", |call| call.method.as_str());
        for fault in faults {
            match fault {
                Fault::WrongId => answer["id"] = json!(FOREIGN_ID),
                Fault::RpcError(error) => {
                    *answer = json!({"jsonrpc": "2.0", "id": answer["id"], "error": error});
                }
                Fault::NullResult => answer["result"] = Value::Null,
                Fault::Lag(blocks) if method == "eth_blockNumber" => {
                    let height = crate::lab::anvil::number(&answer["result"]).saturating_sub(*blocks);
                    answer["result"] = json!(format!("{height:#x}"));
                }
                Fault::ChainId(id) if method == "eth_chainId" => answer["result"] = json!(format!("{id:#x}")),
                Fault::BigResult(bytes) => answer["result"] = json!(format!("0x{}", "00".repeat(*bytes))),
                _ => {}
            }
        }
    }
}

fn changes_json(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::WrongId
            | Fault::RpcError(_)
            | Fault::NullResult
            | Fault::Lag(_)
            | Fault::ChainId(_)
            | Fault::BigResult(_)
    )
}

/// The body compressed as `content-encoding: gzip`.
pub fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory takes every byte").into()
}
