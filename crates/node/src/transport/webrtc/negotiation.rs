//! Offer, answer and candidates (JSEP, RFC 8829; trickle ICE, RFC 8838).

use std::sync::Arc;

use circlet_core::Topology;
use circlet_core::node::{DownReason, Role};
use circlet_core::wire::{Signal, Wish};
use tracing::debug;
use webrtc::error::Error;
use webrtc::peer_connection::{PeerConnection, RTCIceCandidateInit, RTCSessionDescription};

use crate::transport::TransportEvent;
use crate::transport::attempt::Events;

/// Candidates of the other side that are taken; further ones are ignored. Each is paired with
/// every address of this side, and each pair checked for seconds.
const MAX_CANDIDATES: usize = 32;

/// One side of a negotiation. Nothing is ever renegotiated.
pub(super) struct Negotiation {
    role: Role,
    connection: Arc<dyn PeerConnection>,
    events: Events,
    /// Whether the other side's description has been applied.
    described: bool,
    /// Candidates that came before it.
    held: Vec<String>,
    /// How many candidates have been taken, held ones included.
    candidates: usize,
}

impl Negotiation {
    pub(super) fn new(role: Role, connection: Arc<dyn PeerConnection>, events: Events) -> Self {
        Self {
            role,
            connection,
            events,
            described: false,
            held: Vec::new(),
            candidates: 0,
        }
    }

    /// Makes the offer, if that is this side's part.
    pub(super) async fn begin(&self) -> Result<(), Error> {
        if self.role == Role::Offerer {
            let offer = self.connection.create_offer(None).await?;
            let sdp = offer.sdp.clone();
            self.connection.set_local_description(offer).await?;
            self.tell(Signal::Offer {
                sdp,
                wish: Wish::Ring,
                topology: Topology::default(),
            })
            .await;
        }
        Ok(())
    }

    /// Takes a signal of the other side.
    ///
    /// # Errors
    /// If the link cannot come up any more: the description makes no sense, or the offer was
    /// turned down. Candidates that make no sense are ignored.
    pub(super) async fn apply(&mut self, signal: Signal) -> Result<(), DownReason> {
        let applied = match (self.role, signal) {
            (Role::Answerer, Signal::Offer { sdp, .. }) if !self.described => {
                self.answer(sdp).await
            }
            (Role::Offerer, Signal::Answer { sdp }) if !self.described => self.accept(sdp).await,
            (_, Signal::Candidate { candidate, .. }) => {
                self.on_candidate(candidate).await;
                Ok(())
            }
            (_, Signal::Reject { .. }) => return Err(DownReason::Failed),
            // The end of candidates changes nothing: others are found by checks as well. What
            // is left has no meaning in this role, or is a repeat.
            (_, Signal::EndOfCandidates | Signal::Offer { .. } | Signal::Answer { .. }) => Ok(()),
        };
        applied.map_err(|error| {
            debug!(link = self.events.link.0, %error, "description refused");
            DownReason::Failed
        })
    }

    /// Tells the other side of a candidate of this side.
    pub(super) async fn tell_candidate(&self, candidate: String) {
        self.tell(Signal::Candidate {
            candidate,
            sdp_mid: None,
            // The data channels' section is the only one.
            sdp_mline_index: Some(0),
        })
        .await;
    }

    /// Tells the other side that this side has no further candidates.
    pub(super) async fn tell_end_of_candidates(&self) {
        self.tell(Signal::EndOfCandidates).await;
    }

    async fn answer(&mut self, sdp: String) -> Result<(), Error> {
        let offer = RTCSessionDescription::offer(sdp)?;
        self.connection.set_remote_description(offer).await?;
        let answer = self.connection.create_answer(None).await?;
        let sdp = answer.sdp.clone();
        self.connection.set_local_description(answer).await?;
        self.tell(Signal::Answer { sdp }).await;
        self.on_described().await;
        Ok(())
    }

    async fn accept(&mut self, sdp: String) -> Result<(), Error> {
        let answer = RTCSessionDescription::answer(sdp)?;
        self.connection.set_remote_description(answer).await?;
        self.on_described().await;
        Ok(())
    }

    async fn on_described(&mut self) {
        self.described = true;
        for candidate in std::mem::take(&mut self.held) {
            self.add(candidate).await;
        }
    }

    async fn on_candidate(&mut self, candidate: String) {
        if self.candidates == MAX_CANDIDATES || !is_udp(&candidate) {
            return;
        }
        self.candidates += 1;
        if self.described {
            self.add(candidate).await;
        } else {
            self.held.push(candidate);
        }
    }

    async fn add(&self, candidate: String) {
        let candidate = RTCIceCandidateInit {
            candidate,
            ..RTCIceCandidateInit::default()
        };
        if let Err(error) = self.connection.add_ice_candidate(candidate).await {
            debug!(link = self.events.link.0, %error, "candidate ignored");
        }
    }

    async fn tell(&self, signal: Signal) {
        let link = self.events.link;
        self.events
            .tell(TransportEvent::Signal { link, signal })
            .await;
    }
}

/// Whether a candidate line is of a UDP candidate (RFC 8839, section 5.1: the third word). A TCP
/// one would make the stack connect to whatever address it names.
fn is_udp(candidate: &str) -> bool {
    let transport = candidate.split_ascii_whitespace().nth(2);
    transport.is_some_and(|transport| transport.eq_ignore_ascii_case("udp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_udp_candidates_are_taken() {
        assert!(is_udp("candidate:1 1 udp 2130706431 127.0.0.1 9 typ host"));
        assert!(is_udp("candidate:1 1 UDP 2130706431 127.0.0.1 9 typ host"));
        for other in [
            "",
            "candidate:1 1",
            "candidate:1 1 tcp 1 127.0.0.1 22 typ host tcptype passive",
        ] {
            assert!(!is_udp(other), "{other}");
        }
    }
}
