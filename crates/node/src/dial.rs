//! The byte streams to trackers.

use std::future::Future;
use std::io;
use std::net::Ipv6Addr;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Opens the byte streams that lead to trackers: over TCP, or through an imitation of a network.
pub trait Dial: Send + Sync + 'static {
    /// Connects to `port` of `host`, a name or an address without brackets.
    ///
    /// # Errors
    /// If there is no way, or nobody: the node tries again later.
    fn dial(&self, host: String, port: u16) -> Dialling;
}

/// Ends with the stream.
pub type Dialling = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// Dials over TCP.
pub(crate) struct Tcp;

impl Dial for Tcp {
    fn dial(&self, host: String, port: u16) -> Dialling {
        Box::pin(async move {
            let stream = match host.parse::<Ipv6Addr>() {
                Ok(address) => TcpStream::connect((address, port)).await?,
                Err(_) => TcpStream::connect((host, port)).await?,
            };
            // Signals are small and wait for each other.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}
