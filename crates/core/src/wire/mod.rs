//! What travels: frames between members, signals that set links up, messages of the tracker.
//!
//! `docs/PROTOCOL.md` has every message field by field. Everything that is decoded here came
//! from outside: each decoder has a size limit and cannot panic.

mod frame;
mod heads;
mod records;
mod signal;
mod tracker;

pub use frame::{Frame, FrameBuf, Head};
pub use heads::{
    Body, Broadcast, BroadcastRequest, Bye, ByeReason, CatchUp, Circulate, CirculateAck, Current,
    Gone, Heard, Hops, Join, JoinReply, Lookup, LookupReply, Notify, Ping, Places, Pong, Presence,
    PresenceRequest, ReliableAck, Routed, Stabilize, Table, Want, Wishes,
};
pub use records::{MAX_RECORD, PACKET, Packer, Record, Unpacker};
pub use signal::{RejectReason, Signal, SignalBody, SignedSignal, Wish};
pub use tracker::{
    Assignment, ErrorCode, LinkReport, LinkState, MAX_REPORTED_LINKS, NodeKind, TrackerMessage,
    login_bytes,
};

use core::fmt;

/// The version of the protocol: part of the WebSocket subprotocol's name, of what is signed and
/// of every signal.
pub const VERSION: u16 = 1;

/// The WebSocket subprotocol of the tracker.
pub const SUBPROTOCOL: &str = "circlet.v1";

/// The largest frame, in bytes: what fits one message of a data channel, see [`MAX_RECORD`].
pub const MAX_FRAME: usize = MAX_RECORD;

/// What both ends of a link say first, on `control`, and once more when they hear of each other;
/// it means nothing else. What an end says before the other's channels are open may be lost, and
/// who has heard something knows that they are.
pub const GREETING: &[u8] = &[0];

/// The largest payload of one message, in bytes; the rest of a frame is its head.
pub const MAX_PAYLOAD: usize = 60 * 1024;

/// The largest payload of a circulated message, in bytes: the list of those who have seen it
/// grows in the same frame.
pub const MAX_CIRCULATED: usize = MAX_FRAME - 32 * MAX_SEEN - 256;

/// The largest message to or from the tracker, in bytes of JSON.
pub const MAX_TRACKER_MESSAGE: usize = 64 * 1024;

/// The largest SDP of an offer or answer, in bytes. Data-only descriptions take about 1 KiB.
pub const MAX_SDP: usize = 16 * 1024;

/// The largest candidate line, in bytes.
pub const MAX_CANDIDATE: usize = 1024;

/// The longest list of members in a frame or a tracker message.
pub const MAX_LIST: usize = 64;

/// The longest name of a member, in bytes.
pub const MAX_NAME: usize = 64;

/// How many visitors a circulated message lists by id; beyond that it counts.
pub const MAX_SEEN: usize = 1000;

/// Why something from outside was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Larger than its limit, in bytes.
    TooLarge {
        /// The bytes that came.
        bytes: usize,
        /// The bytes allowed.
        limit: usize,
    },
    /// A list or text within it is longer than allowed.
    OverLimit(&'static str),
    /// A kind of frame that this version does not know.
    UnknownKind(u8),
    /// Not what the format says: truncated, trailing bytes, values out of range.
    Malformed,
    /// A tracker message or signal that is not the JSON it should be; says where.
    Json(alloc::string::String),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, limit } => {
                write!(f, "{bytes} bytes, and {limit} are allowed")
            }
            Self::OverLimit(what) => write!(f, "too long: {what}"),
            Self::UnknownKind(kind) => write!(f, "unknown kind of frame {kind:#04x}"),
            Self::Malformed => f.write_str("malformed frame"),
            Self::Json(error) => write!(f, "malformed message: {error}"),
        }
    }
}

impl core::error::Error for WireError {}

pub(crate) fn limit(what: &'static str, len: usize, limit: usize) -> Result<(), WireError> {
    if len > limit {
        Err(WireError::OverLimit(what))
    } else {
        Ok(())
    }
}

pub(crate) fn from_json<'a, T: serde::Deserialize<'a>>(
    text: &'a str,
    limit: usize,
) -> Result<T, WireError> {
    if text.len() > limit {
        return Err(WireError::TooLarge {
            bytes: text.len(),
            limit,
        });
    }
    serde_json::from_str(text).map_err(|error| WireError::Json(alloc::format!("{error}")))
}
