//! What carries the datagrams of links.

use std::fmt::Debug;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;

use socket2::SockRef;
use tracing::debug;
use webrtc::runtime::{AsyncUdpSocket, Runtime, TokioRuntime};

/// Size of a socket's receive and send buffers, in bytes; the system may give less. If they overflow
/// during transfers, these crawl at SCTP's least retransmission time of 1 s (measured: the largest
/// effect of all settings).
const SOCKET_BUFFER: usize = 4 << 20;

/// What carries the datagrams of links: the system, or an imitation of a network.
pub trait Sockets: Debug + Send + Sync + 'static {
    /// Makes a link's socket of one that the system has bound for it. An imitation uses nothing
    /// of it but the address, and keeps it as long as the address is used.
    ///
    /// # Errors
    /// If it cannot be used; the link fails then.
    fn wrap(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>>;

    /// The bytes that may wait in a link's socket to be read: what comes when there are more is
    /// lost. Default: no limit.
    fn receive_buffer(&self) -> usize {
        usize::MAX
    }
}

/// The system's own sockets.
#[derive(Debug)]
pub(super) struct SystemSockets {
    receive_buffer: usize,
}

impl SystemSockets {
    /// Finds out how much the system lets a socket hold.
    pub(super) fn new() -> Self {
        let granted = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| {
            enlarge_buffers(&socket);
            SockRef::from(&socket).recv_buffer_size()
        });
        // Linux gives, and tells, twice what was asked for, to make up for its bookkeeping.
        let told_for_one = if cfg!(target_os = "linux") { 2 } else { 1 };
        Self {
            receive_buffer: granted.map_or(SOCKET_BUFFER, |granted| granted / told_for_one),
        }
    }
}

impl Sockets for SystemSockets {
    fn wrap(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        enlarge_buffers(&socket);
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }
}

fn enlarge_buffers(socket: &UdpSocket) {
    let options = SockRef::from(socket);
    for outcome in [
        options.set_recv_buffer_size(SOCKET_BUFFER),
        options.set_send_buffer_size(SOCKET_BUFFER),
    ] {
        if let Err(error) = outcome {
            debug!(%error, "socket keeps its default buffers");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_holds_what_the_system_grants() {
        let receive_buffer = SystemSockets::new().receive_buffer();
        // No system gives less by default, and none more than asked for.
        assert!(
            (64 << 10..=SOCKET_BUFFER).contains(&receive_buffer),
            "{receive_buffer}"
        );
    }
}
