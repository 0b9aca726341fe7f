//! What carries the datagrams of links.

use std::fmt::Debug;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;

use socket2::SockRef;
use tracing::debug;
use webrtc::runtime::{AsyncUdpSocket, Runtime, TokioRuntime};

/// Size of a socket's receive and send buffers, in bytes; the system may give less. The default
/// ones overflow during transfers, which then crawl at SCTP's least retransmission time of 1 s
/// (measured: the largest effect of all settings).
const SOCKET_BUFFER: usize = 4 << 20;

/// What carries the datagrams of links: the system, or an imitation of a network.
pub trait Sockets: Debug + Send + Sync + 'static {
    /// Makes a link's socket of one that the system has bound for it. An imitation uses nothing
    /// of it but the address, and keeps it as long as the address is used.
    ///
    /// # Errors
    /// If it cannot be used; the link fails then.
    fn wrap(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>>;
}

/// The system's own sockets.
#[derive(Debug)]
pub(super) struct SystemSockets;

impl Sockets for SystemSockets {
    fn wrap(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let options = SockRef::from(&socket);
        for outcome in [
            options.set_recv_buffer_size(SOCKET_BUFFER),
            options.set_send_buffer_size(SOCKET_BUFFER),
        ] {
            if let Err(error) = outcome {
                debug!(%error, "socket keeps its default buffers");
            }
        }
        TokioRuntime.wrap_udp_socket(socket)
    }
}
