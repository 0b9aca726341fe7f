//! Links between two members: [`WebRtcTransport`] in earnest, [`MemoryTransport`] in tests.
//!
//! A [`Transport`] makes connection attempts, a [`Link`] is one of them. Calls on a link never
//! block; all that it has to say comes as [`TransportEvent`]s through the bounded channel it was
//! opened with, and a slow reader of that channel slows the other side's senders down. A link
//! says [`Up`](TransportEvent::Up) at most once and before its first frame, and
//! [`Down`](TransportEvent::Down) at most once and last of all.

mod attempt;
mod memory;
mod queue;
mod webrtc;

pub use memory::MemoryTransport;
pub use webrtc::{Sockets, WebRtcConfig, WebRtcTransport};

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use circlet_core::node::{Channel, DownReason, LinkId, Role};
use circlet_core::wire::Signal;
use tokio::sync::mpsc;

/// Where links come from.
pub trait Transport: Send + Sync + 'static {
    /// Begins a connection attempt, to be known as `link` in all its `events`.
    ///
    /// The offerer makes its offer at once, the answerer waits for one. Must be called within a
    /// tokio runtime.
    fn open(&self, link: LinkId, role: Role, events: mpsc::Sender<TransportEvent>)
    -> Box<dyn Link>;
}

/// One connection attempt. Dropping it is closing it without grace.
pub trait Link: Send {
    /// Gives it a signal of the other side. Never blocks: more signals than a negotiation can
    /// need make the link fail.
    fn apply(&self, signal: Signal);

    /// Queues a frame, which is not empty and no [greeting](circlet_core::wire::GREETING);
    /// [`TransportEvent::Writable`] tells when it has left the queue.
    ///
    /// # Errors
    /// [`SendError`] if the frame was not taken.
    fn send(&self, channel: Channel, frame: Bytes) -> Result<(), SendError>;

    /// Closes it, once the frames queued before are out, and within `grace`.
    ///
    /// Returns at once and goes on in the background; the future ends when all is closed, for
    /// those who want to wait. The link has nothing more to say, not even
    /// [`TransportEvent::Down`], apart from events that are in the channel already.
    fn close(self: Box<Self>, grace: Duration) -> Closed;
}

/// Ends when a link is closed. Need not be awaited.
pub type Closed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The queue of its channel is full.
    Full,
    /// The link is not up, or not any more.
    NotOpen,
    /// The frame has no bytes.
    Empty,
    /// The frame is larger than [`MAX_FRAME`](circlet_core::wire::MAX_FRAME).
    TooLarge,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the channel's queue is full",
            Self::NotOpen => "the link is not open",
            Self::Empty => "the frame is empty",
            Self::TooLarge => "the frame is too large",
        })
    }
}

impl std::error::Error for SendError {}

/// What a link has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// It made an offer, an answer, a candidate: for the other side.
    Signal {
        /// Which link.
        link: LinkId,
        /// What it made. An offer's `wish` and `topology` are defaults, for the core to fill in.
        signal: Signal,
    },
    /// All its channels are open.
    Up {
        /// Which link.
        link: LinkId,
    },
    /// Its path has gone silent (ICE `disconnected`); it may yet come back.
    Suspect {
        /// Which link.
        link: LinkId,
    },
    /// It is no more, and is being closed on this side.
    Down {
        /// Which link.
        link: LinkId,
        /// Why.
        reason: DownReason,
    },
    /// What the other side sends on one of its channels cannot be taken apart into frames, and
    /// nothing more of it is read: for the owner to close.
    Garbled {
        /// Which link.
        link: LinkId,
    },
    /// Frames that were queued have been passed to the network.
    Writable {
        /// Which link.
        link: LinkId,
        /// Their bytes.
        bytes: usize,
    },
    /// A frame arrived.
    Frame {
        /// On which link.
        link: LinkId,
        /// On which of its channels.
        channel: Channel,
        /// The frame.
        bytes: Bytes,
    },
    /// One of its states changed: for people who look on.
    State {
        /// Which link.
        link: LinkId,
        /// The new state.
        state: ConnectionState,
    },
}

impl TransportEvent {
    /// The link that says it.
    #[must_use]
    pub const fn link(&self) -> LinkId {
        match self {
            Self::Signal { link, .. }
            | Self::Up { link }
            | Self::Suspect { link }
            | Self::Garbled { link }
            | Self::Down { link, .. }
            | Self::Writable { link, .. }
            | Self::Frame { link, .. }
            | Self::State { link, .. } => *link,
        }
    }
}

/// A state of a connection, in the words of the WebRTC recommendation (W3C, sections 4.3.1,
/// 4.3.3, 5.6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Of the connection as a whole: `new`, `connecting`, `connected`, `disconnected`,
    /// `failed`, `closed`.
    Connection(&'static str),
    /// Of ICE: `new`, `checking`, `connected`, `completed`, `disconnected`, `failed`, `closed`.
    Ice(&'static str),
    /// Of the gathering of candidates: `new`, `gathering`, `complete`.
    Gathering(&'static str),
    /// Of offer and answer: `stable`, `have-local-offer`, `have-remote-offer`, `closed`.
    Signaling(&'static str),
}

impl ConnectionState {
    /// Which of the states changed: `connection`, `ice`, `gathering` or `signaling`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Connection(_) => "connection",
            Self::Ice(_) => "ice",
            Self::Gathering(_) => "gathering",
            Self::Signaling(_) => "signaling",
        }
    }

    /// The new state.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connection(name)
            | Self::Ice(name)
            | Self::Gathering(name)
            | Self::Signaling(name) => name,
        }
    }
}
