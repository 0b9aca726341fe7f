//! Signals: what two members exchange to set a link up, signed end to end.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{MAX_CANDIDATE, MAX_SDP, VERSION, WireError, from_json, limit};
use crate::identity::{Identity, Incarnation, NodeId, Purpose, Signature};
use crate::room::RoomId;
use crate::topology::Topology;

/// One step of setting up a link (JSEP, RFC 8829; trickle ICE, RFC 8838).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Signal {
    /// The one who wants the link offers.
    Offer {
        /// The session description, at most [`MAX_SDP`](super::MAX_SDP) bytes. The fingerprint
        /// of the DTLS certificate is in it and so is signed.
        sdp: String,
        /// What the link is wanted for.
        wish: Wish,
        /// The topology that the offerer runs; the room's members all run the same.
        topology: Topology,
    },
    /// The other one answers.
    Answer {
        /// The session description, at most [`MAX_SDP`](super::MAX_SDP) bytes.
        sdp: String,
    },
    /// One more address that the sender may be reached at.
    Candidate {
        /// The candidate line (RFC 8839, section 5.1), at most
        /// [`MAX_CANDIDATE`](super::MAX_CANDIDATE) bytes.
        candidate: String,
        /// The media section's id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sdp_mid: Option<String>,
        /// The media section's index.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sdp_mline_index: Option<u16>,
    },
    /// There will be no further candidates (RFC 8838, section 13).
    EndOfCandidates,
    /// The offer is turned down.
    Reject {
        /// Why.
        reason: RejectReason,
    },
}

/// What a link is wanted for. The one who is asked has a limit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// As a neighbour on the ring, or to join.
    Ring,
    /// As a long link.
    Long,
    /// For its own sake: with everybody in a mesh, with the hub in a star.
    Direct,
}

impl Wish {
    /// The word used in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Long => "long",
            Self::Direct => "direct",
        }
    }
}

/// Why an offer is turned down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectReason {
    /// No room for another link of this sort.
    Full,
    /// The offerer runs another topology.
    Topology,
    /// The answerer could not make a connection.
    Failed,
}

impl Signal {
    /// The word used in JSON and in events.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Offer { .. } => "offer",
            Self::Answer { .. } => "answer",
            Self::Candidate { .. } => "candidate",
            Self::EndOfCandidates => "end-of-candidates",
            Self::Reject { .. } => "reject",
        }
    }

    fn check(&self) -> Result<(), WireError> {
        match self {
            Self::Offer { sdp, .. } | Self::Answer { sdp } => limit("sdp", sdp.len(), MAX_SDP),
            Self::Candidate {
                candidate, sdp_mid, ..
            } => {
                limit("candidate", candidate.len(), MAX_CANDIDATE)?;
                limit("sdp_mid", sdp_mid.as_ref().map_or(0, String::len), 64)
            }
            Self::EndOfCandidates | Self::Reject { .. } => Ok(()),
        }
    }
}

/// The envelope: everything the signature covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalBody {
    /// The protocol's version, 1.
    pub version: u16,
    /// The room that both are in.
    pub room: RoomId,
    /// The sender, whose signature it is.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The sender's session.
    pub incarnation: Incarnation,
    /// The negotiation this belongs to, chosen at random by the offerer, under 2^53 so that
    /// JavaScript keeps it whole.
    pub attempt: u64,
    /// Counts the sender's signals of this session, from 1.
    pub sequence: u64,
    /// When it is void, in Unix milliseconds by the sender's clock.
    pub expires_unix_ms: u64,
    /// What it says.
    #[serde(flatten)]
    pub signal: Signal,
}

impl SignalBody {
    /// The bytes that are signed: every field in order, numbers big endian, texts preceded by
    /// their length in 4 bytes, absent ones as the length 2^32 - 1.
    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(self.room.as_bytes());
        bytes.extend_from_slice(self.from.as_bytes());
        bytes.extend_from_slice(self.to.as_bytes());
        for number in [
            self.incarnation.0,
            self.attempt,
            self.sequence,
            self.expires_unix_ms,
        ] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        let mut text = |text: Option<&str>| match text {
            Some(text) => {
                let len = u32::try_from(text.len()).unwrap_or(u32::MAX - 1);
                bytes.extend_from_slice(&len.to_be_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
            None => bytes.extend_from_slice(&u32::MAX.to_be_bytes()),
        };
        text(Some(self.signal.name()));
        match &self.signal {
            Signal::Offer {
                sdp,
                wish,
                topology,
            } => {
                text(Some(sdp));
                text(Some(wish.name()));
                text(Some(topology.name()));
            }
            Signal::Answer { sdp } => text(Some(sdp)),
            Signal::Candidate {
                candidate,
                sdp_mid,
                sdp_mline_index,
            } => {
                text(Some(candidate));
                text(sdp_mid.as_deref());
                bytes.extend_from_slice(&sdp_mline_index.unwrap_or(u16::MAX).to_be_bytes());
            }
            Signal::EndOfCandidates => {}
            Signal::Reject { reason } => text(Some(match reason {
                RejectReason::Full => "full",
                RejectReason::Topology => "topology",
                RejectReason::Failed => "failed",
            })),
        }
        bytes
    }

    /// Signs the envelope with its sender's identity.
    #[must_use]
    pub fn sign(self, identity: &Identity) -> SignedSignal {
        let signature = identity.sign(Purpose::Signal, &self.signed_bytes());
        SignedSignal {
            body: self,
            signature,
        }
    }
}

/// A signal in its envelope, signed. Its JSON form is one flat object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedSignal {
    /// The envelope.
    #[serde(flatten)]
    pub body: SignalBody,
    /// The sender's signature over it.
    pub signature: Signature,
}

impl SignedSignal {
    /// Whether the version is known, every part within its limit, and the signature the
    /// sender's. About 50 us: check what is cheaper first.
    #[must_use]
    pub fn is_genuine(&self) -> bool {
        self.body.version == VERSION
            && self.body.signal.check().is_ok()
            && self
                .body
                .from
                .verify(Purpose::Signal, &self.body.signed_bytes(), &self.signature)
    }

    /// Reads the JSON form, for signals that travel by hand.
    ///
    /// # Errors
    /// [`WireError`] if it is no signal or one of its parts is over its limit.
    pub fn from_json(text: &str) -> Result<Self, WireError> {
        let signal: Self = from_json(text, super::MAX_TRACKER_MESSAGE)?;
        signal.body.signal.check()?;
        Ok(signal)
    }

    pub(super) fn check(&self) -> Result<(), WireError> {
        self.body.signal.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn signed(signal: Signal) -> SignedSignal {
        let identity = Identity::from_seed(&[1; 32]);
        SignalBody {
            version: VERSION,
            room: RoomId::open("room"),
            from: identity.node_id(),
            to: Identity::from_seed(&[2; 32]).node_id(),
            incarnation: Incarnation(3),
            attempt: 4,
            sequence: 5,
            expires_unix_ms: 6,
            signal,
        }
        .sign(&identity)
    }

    fn offer() -> Signal {
        Signal::Offer {
            sdp: "v=0\r\na=fingerprint:sha-256 AA".to_string(),
            wish: Wish::Long,
            topology: Topology::SmallWorld,
        }
    }

    #[test]
    fn every_signal_survives_json_and_stays_genuine() {
        for signal in [
            offer(),
            Signal::Answer { sdp: "v=0".into() },
            Signal::Candidate {
                candidate: "candidate:1 1 udp 1 127.0.0.1 9 typ host".into(),
                sdp_mid: None,
                sdp_mline_index: Some(0),
            },
            Signal::EndOfCandidates,
            Signal::Reject {
                reason: RejectReason::Full,
            },
        ] {
            let signed = signed(signal);
            let text = serde_json::to_string(&signed).unwrap();
            let back = SignedSignal::from_json(&text).unwrap();
            assert_eq!(back, signed);
            assert!(back.is_genuine(), "{text}");
        }
    }

    #[test]
    fn a_changed_field_is_noticed() {
        let original = signed(offer());
        let change = |f: fn(&mut SignalBody)| {
            let mut changed = original.clone();
            f(&mut changed.body);
            changed
        };
        for changed in [
            change(|b| b.room = RoomId::open("other")),
            change(|b| b.to = b.from),
            change(|b| b.from = b.to),
            change(|b| b.incarnation.0 += 1),
            change(|b| b.attempt += 1),
            change(|b| b.sequence += 1),
            change(|b| b.expires_unix_ms += 1),
            change(|b| b.version += 1),
            change(|b| {
                if let Signal::Offer { sdp, .. } = &mut b.signal {
                    *sdp = sdp.replace("AA", "BB");
                }
            }),
            change(|b| {
                if let Signal::Offer { wish, .. } = &mut b.signal {
                    *wish = Wish::Ring;
                }
            }),
            change(|b| b.signal = Signal::EndOfCandidates),
        ] {
            assert!(!changed.is_genuine(), "{changed:?}");
        }
        assert!(original.is_genuine());
    }

    #[test]
    fn oversized_and_malformed_signals_are_errors() {
        let big = signed(Signal::Answer {
            sdp: "x".repeat(MAX_SDP + 1),
        });
        let text = serde_json::to_string(&big).unwrap();
        assert_eq!(
            SignedSignal::from_json(&text),
            Err(WireError::OverLimit("sdp"))
        );
        assert!(!big.is_genuine());
        for bad in ["", "{}", "[]", "{\"type\":\"offer\"}", "\"\u{0}\""] {
            assert!(matches!(
                SignedSignal::from_json(bad),
                Err(WireError::Json(_))
            ));
        }
    }
}
