//! Builds peer connections, tuned, and takes note of what they report.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use circlet_core::node::Channel;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tracing::debug;
use webrtc::data_channel::{DataChannel, RTCDataChannelInit};
use webrtc::error::{Error, Result};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceConnectionState, RTCIceGatheringState, RTCIceServer, RTCPeerConnectionIceEvent,
    RTCPeerConnectionState, RTCSignalingState, SettingEngine, SettingEngineBuilder,
};

use super::Setup;
use super::addresses::local_addresses;
use super::pulse::Pulse;
use super::runtime::LinkRuntime;
use super::sockets::Sockets;
use crate::transport::ConnectionState;

/// Bytes that may be unacknowledged on one channel before a send waits; without a limit they
/// grow as long as the sender is faster than the network.
pub(super) const SEND_BUFFER: usize = 1 << 20;

/// Bytes that have arrived and may wait to be read before the peer must stop, at most. When it must,
/// the stack lets it go on up to 200 ms later than it could (it tells of a window that has opened
/// only with its next delayed acknowledgement): 1 MiB each time was 5 MB/s. Twice what one
/// sender's reliable messages may take ([`Config::window_bytes`](circlet_core::Config)), so that
/// it does not come to that (measured).
const RECEIVE_BUFFER: usize = 4 << 20;

/// The same, at least. Two of the largest messages.
const MIN_RECEIVE_BUFFER: usize = 128 << 10;

/// The largest message, in bytes: what every WebRTC implementation takes, and enough for the
/// largest frame. The stack allocates a buffer of this size for each link.
const MAX_MESSAGE: u32 = 64 << 10;

/// Time between connectivity checks of a pair of candidates (RFC 8445, section 14.2). Shorter
/// ones make no link faster, since every arriving candidate is checked at once (measured).
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Checks of one pair before it is given up: 10 s of them, which real paths need.
const MAX_CHECKS: u16 = 200;

/// Silence after which a path is suspect: more than two checks lost. The node's heartbeats find out
/// sooner; this is for those who do not expect any.
const ICE_DISCONNECTED: Duration = Duration::from_secs(9);

/// Further silence after which it has failed. The sum of both is also the time that checking
/// may take in all.
const ICE_FAILED: Duration = Duration::from_secs(6);

/// Time between checks of an established path. Consent needs one each 5 s (RFC 7675, section 5.1);
/// with one each 500 ms they were near half of what an idle node sends (measured).
const ICE_KEEPALIVE: Duration = Duration::from_secs(4);

/// Time for which a path through a NAT, or one that the peer could not know of, is not
/// nominated because a better one may yet be found. Defaults are 500 and 1000 ms; checks
/// within one network take a few. Guess.
const NAT_WAIT: Duration = Duration::from_millis(100);

/// Notes that may wait: states, and candidates, of which there are a few for each address.
const MAX_WAITING_NOTES: usize = 64;

/// A peer connection with its channels, in the order of [`Channel::ALL`]. Closed in the
/// background when dropped: left to itself it would run on, and the other side not notice.
pub(super) struct Peer {
    pub(super) connection: Arc<dyn PeerConnection>,
    pub(super) channels: Vec<(Channel, Arc<dyn DataChannel>)>,
    is_closed: bool,
}

impl Peer {
    /// Makes a peer connection; what it reports goes to `notes`.
    ///
    /// # Errors
    /// If none of the addresses can be bound, or a STUN server's URL is none.
    pub(super) async fn new(setup: Arc<Setup>, pulse: Arc<Pulse>, notes: Notes) -> Result<Self> {
        // In a task of its own: cut short, it would leave a connection that nobody can close.
        let peer = tokio::spawn(Self::build(setup, pulse, notes));
        peer.await
            .map_err(|error| Error::Other(error.to_string()))?
    }

    async fn build(setup: Arc<Setup>, pulse: Arc<Pulse>, notes: Notes) -> Result<Self> {
        let ice_servers = setup.config.ice_servers.iter().map(|url| RTCIceServer {
            urls: vec![url.clone()],
            ..RTCIceServer::default()
        });
        let configuration = RTCConfigurationBuilder::new()
            .with_ice_servers(ice_servers.collect())
            .build();
        let addresses = local_addresses(&setup.config.bind);
        let settings = settings(&*setup.sockets);
        let runtime = LinkRuntime::new(setup, Arc::clone(&pulse), notes.clone());
        let builder = PeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_setting_engine(settings)
            .with_runtime(Arc::new(runtime))
            .with_handler(Arc::new(Observer { pulse, notes }))
            .with_udp_addrs(addresses)
            .with_data_channel_send_buffer_limit(SEND_BUFFER);
        let connection = Box::pin(builder.build()).await?;
        let mut peer = Self {
            connection: Arc::new(connection),
            channels: Vec::new(),
            is_closed: false,
        };
        for channel in Channel::ALL {
            let init = RTCDataChannelInit {
                ordered: channel.is_ordered(),
                max_retransmits: (!channel.is_reliable()).then_some(0),
                negotiated: Some(channel.stream_id()),
                ..RTCDataChannelInit::default()
            };
            let data_channel = peer
                .connection
                .create_data_channel(channel.label(), Some(init))
                .await?;
            peer.channels.push((channel, data_channel));
        }
        Ok(peer)
    }

    /// Closes the connection: the other side notices at once.
    pub(super) async fn close(mut self) {
        close(&self.connection).await;
        self.is_closed = true;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // There is no runtime any more when the process ends.
        if !self.is_closed
            && let Ok(runtime) = Handle::try_current()
        {
            let connection = Arc::clone(&self.connection);
            runtime.spawn(async move { close(&connection).await });
        }
    }
}

async fn close(connection: &Arc<dyn PeerConnection>) {
    if let Err(error) = connection.close().await {
        debug!(%error, "closing a connection");
    }
}

fn settings(sockets: &dyn Sockets) -> SettingEngine {
    // No more than the socket holds, or a burst overflows it: with 4 MiB and the 208 KiB of a
    // stock Linux a relay passed on 25 MB/s, with as much for both 170 (measured).
    let receive_buffer = sockets
        .receive_buffer()
        .clamp(MIN_RECEIVE_BUFFER, RECEIVE_BUFFER);
    SettingEngineBuilder::new()
        .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(MAX_MESSAGE))
        .with_sctp_max_receive_buffer_size(u32::try_from(receive_buffer).unwrap_or(u32::MAX))
        .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(MAX_CHECKS))
        .with_ice_timeouts(
            Some(ICE_DISCONNECTED),
            Some(ICE_FAILED),
            Some(ICE_KEEPALIVE),
        )
        .with_srflx_acceptance_min_wait(Some(NAT_WAIT))
        .with_prflx_acceptance_min_wait(Some(NAT_WAIT))
        // Would take another socket for each link. Browsers that hide their address behind a
        // name find ours instead.
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .build()
}

/// What a peer connection reports.
#[derive(Debug)]
pub(super) enum Note {
    /// A candidate of this side: the candidate line.
    Candidate(String),
    /// One of its states changed.
    State(ConnectionState),
    /// The peer opened a channel that was not agreed on.
    UnknownChannel,
    /// The task that runs the stack is over.
    StackEnded,
}

/// Takes notes. They are made within the stack's task, which must never wait.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    notes: mpsc::Sender<Note>,
    fail: Arc<Notify>,
}

impl Notes {
    /// Notes go to the receiver; `fail` is told if one is lost because too many wait.
    pub(super) fn new(fail: Arc<Notify>) -> (Self, mpsc::Receiver<Note>) {
        let (notes, receiver) = mpsc::channel(MAX_WAITING_NOTES);
        (Self { notes, fail }, receiver)
    }

    /// Adds a note.
    pub(super) fn add(&self, note: Note) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.notes.try_send(note) {
            self.fail.notify_one();
        }
    }
}

struct Observer {
    pulse: Arc<Pulse>,
    notes: Notes,
}

#[async_trait]
impl PeerConnectionEventHandler for Observer {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(candidate) = event.candidate.to_json() {
            self.notes.add(Note::Candidate(candidate.candidate));
        }
    }

    async fn on_signaling_state_change(&self, state: RTCSignalingState) {
        let name = match state {
            RTCSignalingState::Stable => "stable",
            RTCSignalingState::HaveLocalOffer => "have-local-offer",
            RTCSignalingState::HaveRemoteOffer => "have-remote-offer",
            RTCSignalingState::Closed => "closed",
            // Nobody makes provisional answers here.
            _ => return,
        };
        self.notes
            .add(Note::State(ConnectionState::Signaling(name)));
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        let name = match state {
            RTCIceGatheringState::New => "new",
            RTCIceGatheringState::Gathering => "gathering",
            RTCIceGatheringState::Complete => "complete",
            _ => return,
        };
        self.notes
            .add(Note::State(ConnectionState::Gathering(name)));
    }

    async fn on_ice_connection_state_change(&self, state: RTCIceConnectionState) {
        let name = match state {
            RTCIceConnectionState::New => "new",
            RTCIceConnectionState::Checking => "checking",
            RTCIceConnectionState::Connected => {
                self.pulse.hurry();
                "connected"
            }
            RTCIceConnectionState::Completed => "completed",
            RTCIceConnectionState::Disconnected => "disconnected",
            RTCIceConnectionState::Failed => "failed",
            RTCIceConnectionState::Closed => "closed",
            _ => return,
        };
        self.notes.add(Note::State(ConnectionState::Ice(name)));
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let name = match state {
            RTCPeerConnectionState::New => "new",
            RTCPeerConnectionState::Connecting => "connecting",
            RTCPeerConnectionState::Connected => "connected",
            RTCPeerConnectionState::Disconnected => "disconnected",
            RTCPeerConnectionState::Failed => "failed",
            RTCPeerConnectionState::Closed => "closed",
            _ => return,
        };
        self.notes
            .add(Note::State(ConnectionState::Connection(name)));
    }

    async fn on_data_channel(&self, _: Arc<dyn DataChannel>) {
        self.notes.add(Note::UnknownChannel);
    }
}
