//! Connections to backends: DNS, TCP, TLS, HTTP/1.1 and HTTP/2, pooled and bounded.
