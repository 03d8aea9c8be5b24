//! One call on its way: what the client asked for, and what it is answered.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::ethereum::{LogSpan, Method, RawTransaction};
use crate::jsonrpc::{ErrorObject, code};

use super::packet::{Source, Trail};

/// A call that has been admitted.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) method: &'static Method,
    /// The name as the client wrote it, escapes undone: unlisted methods share a [`Method`].
    pub(super) name: Cow<'a, str>,
    /// As sent, or with numbers in place of tags.
    pub(super) params: Option<Cow<'a, RawValue>>,
    /// The height that it rests on, where that is known.
    pub(super) height: Option<u64>,
    /// What it asks for is known to exist, so that `null` only means that a backend lags.
    pub(super) known_to_exist: bool,
    /// What is being published, where the method publishes a signed transaction.
    pub(super) transaction: Option<RawTransaction>,
    /// The blocks whose logs it asks for, where it is a piece of a client's call.
    pub(super) logs: Option<LogSpan>,
}

impl<'a> Call<'a> {
    /// A call of the proxy's own.
    pub(super) fn own(method: &str, params: Cow<'a, RawValue>) -> Self {
        let method = Method::lookup(method);
        Self {
            method,
            name: method.name.into(),
            params: Some(params),
            height: None,
            known_to_exist: false,
            transaction: None,
            logs: None,
        }
    }
}

/// What a call came to. Both members are JSON text, copied byte for byte.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Result(Bytes),
    Error(Bytes),
}

/// A call's answer and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) said: Said,
    pub(super) trail: Trail,
}

impl Answered {
    /// Answered here, without a backend.
    pub(super) fn local(result: impl Into<Bytes>) -> Self {
        Self { said: Said::Result(result.into()), trail: Trail::default() }
    }

    /// Refused here.
    pub(super) fn refused(error: ErrorObject) -> Self {
        Self { said: Said::Error(error.to_json().into()), trail: Trail::default() }
    }

    pub(super) fn hinting(mut self, hint: &'static str) -> Self {
        self.trail.hint = Some(hint);
        self
    }

    /// Nobody could be asked, or nobody answered in time.
    pub(super) fn failed(error: ErrorObject, attempts: u32) -> Self {
        let source = if attempts > 0 { Source::Backend } else { Source::Local };
        Self {
            said: Said::Error(error.to_json().into()),
            trail: Trail { source, attempts, unheard: true, ..Trail::default() },
        }
    }
}

/// The error of a method that is not there, in geth's words: clients match on them.
pub(super) fn no_such_method(name: &str) -> ErrorObject {
    ErrorObject::new(code::METHOD_NOT_FOUND, format!("the method {name} does not exist/is not available"))
}
