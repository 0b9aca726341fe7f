//! Signals are passed on unopened: receivers verify them, the tracker reads the addresses.

use super::clients::Session;
use super::registry::Registry;
use super::{ClientId, InputError, Tracker};
use crate::ring::Place;
use crate::wire::{Signal, SignedSignal, TrackerMessage};

impl<T: Registry> Tracker<T> {
    pub(super) fn on_signal(
        &mut self,
        client: ClientId,
        session: Session,
        signal: SignedSignal,
    ) -> Result<(), InputError> {
        let body = &signal.body;
        if body.from != session.place.id {
            return self.forbid(client, "a signal has to come from the one who sends it");
        }
        if body.room != session.room {
            return self.forbid(client, "a signal has to stay in the sender's room");
        }
        let to = Place::of(&session.room, body.to);
        let receiver = self
            .registry
            .member(&session.room, to)
            .filter(|_| to != session.place);
        if let Some(receiver) = receiver {
            let receiver = receiver.client;
            self.counters.signals_relayed += 1;
            self.send(receiver, TrackerMessage::Signal { signal });
            return Ok(());
        }
        self.counters.signals_unreachable += 1;
        // Whoever turns an offer down waits for nothing.
        if !matches!(body.signal, Signal::Reject { .. }) {
            let message = TrackerMessage::Unreachable {
                to: body.to,
                attempt: body.attempt,
            };
            self.send(client, message);
        }
        Ok(())
    }
}
