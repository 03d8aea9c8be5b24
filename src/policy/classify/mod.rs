//! One attempt's HTTP status, headers and body become one typed [`Outcome`](super::Outcome).
