//! What a tracker takes from the network before, and beside, the protocol.

use std::time::Duration;

use circlet_core::Rate;

/// How much the server takes, and for how long it waits. What concerns rooms, members and
/// identities is in [`TrackerConfig`](crate::TrackerConfig).
///
/// The defaults per address let a class of 100 behind one address work. Where everybody comes
/// from one address, from behind a proxy for instance, give those the value 0, and limit in the
/// proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Time that a connection has for its TLS handshake and its request together. Default 5 s:
    /// as long as a node tries to connect.
    pub head_timeout: Duration,
    /// Time that a page may take to be sent. Default 30 s: guess.
    pub page_timeout: Duration,
    /// Time that a client may take to accept what is written to it. Default 5 s: guess.
    pub write_timeout: Duration,
    /// Time that a closed connection has for its last words. Default 1 s: guess.
    pub linger: Duration,
    /// Time that all connections have to end in order when the tracker does. Default 3 s: what is
    /// left of the patience of those who stop a service.
    pub grace: Duration,
    /// Connections for pages, beside those that may become clients. Default 256: guess.
    pub pages: usize,
    /// TLS handshakes at a time. Default 256: 10 MB.
    pub handshakes: usize,
    /// Bytes that may wait for one client; one that does not read them is cut off. Default
    /// 256 KiB: some 100 offers of browsers.
    pub client_queue: usize,
    /// Bytes that may wait for all clients together; above that each is cut off at a sixteenth of
    /// its own limit. Default 8 MiB: guess.
    pub total_queue: usize,
    /// Bytes of messages that have begun to come, all clients together; above that those who
    /// send more than a login takes are turned away. Default 8 MiB: 128 of the largest.
    pub total_unread: usize,
    /// Bytes that the system may hold for a connection in each direction, beside the queues. Default
    /// 64 KiB: one message; the system's own default lets one who does not read have 4 MiB.
    pub socket_buffer: u32,
    /// Connections of one address, 0 for any number. Default 512: a class of 100, each of whom
    /// has several.
    pub address_connections: usize,
    /// Connections of one address that have not said yet what they want, 0 for any number.
    /// Default 128: a class of 100 that comes at once, and half of the handshakes.
    pub address_handshakes: usize,
    /// New connections of one address. Default 100 a second, 1,000 at once: a class of 100 whose
    /// members try again each 1.5 s at the least.
    pub address_connects: Rate,
    /// Messages of one address, all its clients together; one of more than 4 KiB counts for each
    /// 4 KiB. Default 10,000 a second, 100,000 at once: a class of 100 that is a mesh, and 15 %
    /// of a core.
    pub address_messages: Rate,
    /// Whether the limits per address hold for this machine too. Default false: the machine's own
    /// processes have other ways to take its time, and a proxy speaks for many.
    pub limit_loopback: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(5),
            page_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(5),
            linger: Duration::from_secs(1),
            grace: Duration::from_secs(3),
            pages: 256,
            handshakes: 256,
            client_queue: 256 << 10,
            total_queue: 8 << 20,
            total_unread: 8 << 20,
            socket_buffer: 64 << 10,
            address_connections: 512,
            address_handshakes: 128,
            address_connects: Rate::new(100, 1_000),
            address_messages: Rate::new(10_000, 100_000),
            limit_loopback: false,
        }
    }
}
