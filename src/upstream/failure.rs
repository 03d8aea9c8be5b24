//! What hyper, h2 and the socket report, as one of our failures, and whether the request was processed.

use std::error::Error;
use std::io;

use crate::policy::Failure;

/// Names the failure of an exchange.
pub(super) fn of(error: &hyper::Error) -> Failure {
    if let Some(error) = source::<h2::Error>(error) {
        return of_http2(error);
    }
    if let Some(error) = source::<io::Error>(error) {
        return of_io(error);
    }
    if error.is_parse() || error.is_user() {
        return Failure::Protocol;
    }
    // Closed before or within the answer; an HTTP/2 ping that stayed unanswered comes here too.
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() || error.is_timeout() {
        return Failure::Reset;
    }
    Failure::Protocol
}

/// The server says that it has not worked on this request: its stream lies beyond the last one the
/// server took (RFC 9113, section 6.8), or was refused (section 8.7). h2 reports a remote GOAWAY on a stream
/// only in the first case.
pub(super) fn unprocessed(error: &hyper::Error) -> bool {
    source::<h2::Error>(error).is_some_and(|error| error.is_remote() && refused(error))
}

fn refused(error: &h2::Error) -> bool {
    error.is_go_away() || (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

fn of_http2(error: &h2::Error) -> Failure {
    if let Some(error) = error.get_io() {
        return of_io(error);
    }
    match (error.is_remote(), refused(error)) {
        (true, true) => Failure::GoAway,
        (true, false) => Failure::Reset,
        (false, _) => Failure::Protocol, // our side found the peer breaking the rules
    }
}

/// Names the failure of a socket.
pub(super) fn of_io(error: &io::Error) -> Failure {
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return Failure::Tls;
    }
    match error.kind() {
        // hyper's chunk decoder
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Failure::Protocol,
        _ => Failure::Reset,
    }
}

fn source<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut cause = error.source();
    // Chains are three deep; the bound is against one that loops.
    for _ in 0..8 {
        let found = cause?;
        if let Some(wanted) = found.downcast_ref() {
            return Some(wanted);
        }
        cause = found.source();
    }
    None
}
