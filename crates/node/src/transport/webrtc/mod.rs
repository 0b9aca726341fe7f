//! Links over WebRTC data channels.
//!
//! Built on the `webrtc` crate, which drives the sans-I/O stack of the `rtc` crate. Untuned it
//! is slow in ways that only measurements show; whatever is set here for speed says so, and
//! `docs/PERFORMANCE.md` has the figures.

mod addresses;
mod channels;
mod connection;
mod names;
mod negotiation;
mod pacer;
mod peer;
mod pulse;
mod runtime;
mod sockets;

use std::net::IpAddr;
use std::sync::Arc;

use circlet_core::node::{LinkId, Role};
use tokio::sync::mpsc;

use self::connection::WebRtcConnection;
use self::names::Names;
pub use self::sockets::Sockets;
use self::sockets::SystemSockets;
use super::attempt::start;
use super::{Link, Transport, TransportEvent};

/// What can be set about WebRTC links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebRtcConfig {
    /// STUN servers, as `stun:HOST:PORT` (RFC 7064). Default none: members on one machine or
    /// one network need none.
    pub ice_servers: Vec<String>,
    /// The local addresses to use. Default empty: those that the machine has when a link is
    /// opened, loopback only if it has no other.
    pub bind: Vec<IpAddr>,
}

/// Makes links over WebRTC. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WebRtcTransport {
    setup: Arc<Setup>,
}

/// What all links of a transport have in common.
#[derive(Debug)]
struct Setup {
    config: WebRtcConfig,
    names: Arc<Names>,
    sockets: Arc<dyn Sockets>,
}

impl WebRtcTransport {
    /// A transport with these settings.
    #[must_use]
    pub fn new(config: WebRtcConfig) -> Self {
        Self::with_sockets(config, Arc::new(SystemSockets::new()))
    }

    /// A transport with these settings whose datagrams go by other sockets than the system's:
    /// an imitation of a network, for tests and simulations.
    #[must_use]
    pub fn with_sockets(config: WebRtcConfig, sockets: Arc<dyn Sockets>) -> Self {
        let setup = Setup {
            config,
            names: Arc::default(),
            sockets,
        };
        Self {
            setup: Arc::new(setup),
        }
    }
}

impl Transport for WebRtcTransport {
    fn open(
        &self,
        link: LinkId,
        role: Role,
        events: mpsc::Sender<TransportEvent>,
    ) -> Box<dyn Link> {
        start(link, events, |attempt| {
            WebRtcConnection::new(Arc::clone(&self.setup), role, attempt)
        })
    }
}
