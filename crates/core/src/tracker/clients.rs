//! The connections, and when to look whether one has fallen silent.

use alloc::collections::{BTreeMap, BTreeSet};

use super::ClientId;
use super::nonce::Challenge;
use crate::ring::Place;
use crate::room::RoomId;
use crate::time::Timestamp;

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) heard: Timestamp,
    pub(super) stage: Stage,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// It has a nonce to sign.
    Challenged(Challenge),
    /// It has logged in.
    Member(Session),
}

/// A logged-in connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) room: RoomId,
    pub(super) place: Place,
    /// Since when its reports have differed from the table.
    pub(super) differs_since: Option<Timestamp>,
    /// When it was last told so.
    pub(super) hinted: Option<Timestamp>,
}

/// All connections. Each has one date at which to look at it; hearing from it does not move
/// that date, so that a message costs nothing here. See [`Clients::due`].
#[derive(Debug, Default)]
pub(super) struct Clients {
    all: BTreeMap<ClientId, (Client, Timestamp)>,
    dates: BTreeSet<(Timestamp, ClientId)>,
}

impl Clients {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&self, id: ClientId) -> Option<&Client> {
        self.all.get(&id).map(|(client, _)| client)
    }

    pub(super) fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.all.get_mut(&id).map(|(client, _)| client)
    }

    pub(super) fn session_mut(&mut self, id: ClientId) -> Option<&mut Session> {
        match &mut self.get_mut(id)?.stage {
            Stage::Member(session) => Some(session),
            Stage::Challenged(_) => None,
        }
    }

    /// Adds a connection, to be looked at on `date`.
    pub(super) fn insert(&mut self, id: ClientId, client: Client, date: Timestamp) {
        self.all.insert(id, (client, date));
        self.dates.insert((date, id));
    }

    pub(super) fn remove(&mut self, id: ClientId) -> Option<Client> {
        let (client, date) = self.all.remove(&id)?;
        self.dates.remove(&(date, id));
        Some(client)
    }

    /// Moves a connection's date.
    pub(super) fn schedule(&mut self, id: ClientId, date: Timestamp) {
        if let Some((_, at)) = self.all.get_mut(&id) {
            self.dates.remove(&(*at, id));
            *at = date;
            self.dates.insert((date, id));
        }
    }

    /// A connection whose date has come: it, when it was last heard, whether it has logged in.
    /// It stays due until it is removed or its date moved.
    pub(super) fn due(&self, now: Timestamp) -> Option<(ClientId, Timestamp, bool)> {
        let &(_, id) = self.dates.first().filter(|(date, _)| *date <= now)?;
        let client = self.get(id)?;
        let is_member = matches!(client.stage, Stage::Member(_));
        Some((id, client.heard, is_member))
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.dates.first().map(|(date, _)| *date)
    }
}
