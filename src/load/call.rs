//! One HTTP request of the load: a JSON-RPC call or a batch of them, before it has ids.

use std::sync::Arc;

use bytes::Bytes;

use crate::ethereum::{Method, MethodKind};
use crate::jsonrpc::write_call;

/// Calls in one batch; what a proxy takes at once is its own matter.
pub const BATCH_MAX: usize = 1000;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The method's name.
    pub method: Arc<str>,
    /// The parameters as JSON; `None` where there are none.
    pub params: Option<Arc<str>>,
    /// The answer is the same for ever and everywhere: it names a block that is settled, or a hash.
    pub is_settled: bool,
}

/// What is sent at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// At least one, at most [`BATCH_MAX`].
    pub calls: Arc<[Call]>,
    /// Sent as an array, one call alone too.
    pub is_batch: bool,
}

impl Call {
    /// A call without promises about its answer.
    pub fn new(method: &str, params: Option<&str>) -> Self {
        Self { method: method.into(), params: params.map(Into::into), is_settled: false }
    }

    /// Whether it hands a transaction in.
    pub fn submits(&self) -> bool {
        Method::lookup(&self.method).kind == MethodKind::TxSubmit || &*self.method == "eth_sendTransaction"
    }
}

impl Request {
    /// One call.
    pub fn single(call: Call) -> Self {
        Self { calls: [call].into(), is_batch: false }
    }

    /// Several at once.
    pub fn batch(calls: Vec<Call>) -> Self {
        Self { calls: calls.into(), is_batch: true }
    }

    /// The body, with ids from `first_id` on.
    pub fn body(&self, first_id: u64) -> Bytes {
        let mut body = Vec::with_capacity(160 * self.calls.len());
        for (at, call) in self.calls.iter().enumerate() {
            if self.is_batch {
                body.push(if at == 0 { b'[' } else { b',' });
            }
            write_call(&mut body, first_id + at as u64, &call.method, call.params.as_deref());
        }
        if self.is_batch {
            body.push(b']');
        }
        body.into()
    }

    /// What it is called in tables: its method, or how many it has of what.
    pub fn label(&self) -> String {
        let first = self.calls.first().map_or("", |call| &call.method);
        match (self.is_batch, self.calls.iter().all(|call| &*call.method == first)) {
            (false, _) => first.to_owned(),
            (true, true) => format!("{} x{}", first, self.calls.len()),
            (true, false) => format!("batch x{}", self.calls.len()),
        }
    }

    /// Whether any of it hands a transaction in.
    pub fn submits(&self) -> bool {
        self.calls.iter().any(Call::submits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_given_in_order_and_params_stay_as_they_were() {
        let call = |method: &str| Call::new(method, Some(r#"[{"a":1.0}]"#));
        assert_eq!(
            Request::single(call("eth_call")).body(7),
            r#"{"jsonrpc":"2.0","id":7,"method":"eth_call","params":[{"a":1.0}]}"#
        );
        let batch = Request::batch(vec![Call::new("a", None), call("b")]);
        assert_eq!(
            batch.body(7),
            r#"[{"jsonrpc":"2.0","id":7,"method":"a","params":[]},{"jsonrpc":"2.0","id":8,"method":"b","params":[{"a":1.0}]}]"#
        );
        assert_eq!(batch.label(), "batch x2");
        assert_eq!(Request::batch(vec![call("c")]).label(), "c x1");
    }

    #[test]
    fn what_hands_a_transaction_in_is_known() {
        let submits = |method: &str| Call::new(method, None).submits();
        for method in ["eth_sendRawTransaction", "eth_sendTransaction", "eth_sendBundle"] {
            assert!(submits(method), "{method}");
        }
        assert!(!submits("eth_call"));
    }
}
