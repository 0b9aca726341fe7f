//! The tracker as its clients see it: real sockets on 127.0.0.1, real signatures.
#![expect(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod abuse;
mod client;
mod http;
mod shutdown;
mod tls;
mod websocket;
