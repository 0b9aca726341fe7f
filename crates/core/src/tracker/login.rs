//! Logins: who may enter a room, and which of two sessions of one identity stays.

use alloc::format;
use alloc::string::String;

use super::clients::{Client, Session, Stage};
use super::nonce::Challenge;
use super::registry::{Member, Registry, Report};
use super::{ClientId, Entry, InputError, Output, Tracker};
use crate::identity::{Incarnation, NodeId, Purpose, Signature};
use crate::ring::Place;
use crate::room::{MAX_ROOM_NAME, RoomId, is_room_name};
use crate::time::Timestamp;
use crate::topology::Topology;
use crate::wire::{ErrorCode, MAX_NAME, NodeKind, TrackerMessage, VERSION, login_bytes};

/// The fields of [`TrackerMessage::Login`].
pub(super) struct Login {
    node: NodeId,
    incarnation: Incarnation,
    room: String,
    name: String,
    kind: NodeKind,
    topology: Topology,
    hub: Option<NodeId>,
    signature: Signature,
}

/// Another message than a login.
pub(super) struct NoLogin;

impl TryFrom<TrackerMessage> for Login {
    type Error = NoLogin;

    fn try_from(message: TrackerMessage) -> Result<Self, NoLogin> {
        match message {
            TrackerMessage::Login {
                node,
                incarnation,
                room,
                name,
                kind,
                topology,
                hub,
                signature,
            } => Ok(Self {
                node,
                incarnation,
                room,
                name,
                kind,
                topology,
                hub,
                signature,
            }),
            _ => Err(NoLogin),
        }
    }
}

impl Login {
    fn is_signed(&self, nonce: &str) -> bool {
        let signed = login_bytes(
            nonce,
            &self.node,
            self.incarnation,
            self.topology,
            &self.room,
            &self.name,
        );
        self.node.verify(Purpose::Login, &signed, &self.signature)
    }
}

impl<T: Registry> Tracker<T> {
    pub(super) fn on_login(
        &mut self,
        now: Timestamp,
        client: ClientId,
        challenge: Challenge,
        login: Login,
    ) -> Result<(), InputError> {
        let room = RoomId::open(&login.room);
        let place = Place::of(&room, login.node);
        if let Err((code, text)) = self.check_login(&room, place, challenge, &login) {
            return self.refuse(client, code, text);
        }

        let mut report = Report::default();
        let mut since = now;
        if let Some(Member { client: old, entry }) = self.registry.member(&room, place) {
            let (old, held) = (*old, entry.incarnation);
            if login.incarnation < held {
                self.supersede(client, held);
                return Err(InputError::Refused);
            }
            if login.incarnation == held {
                // The same session over a new connection: what it said still stands.
                report = Report {
                    member: entry.member,
                    successor: entry.successor,
                    predecessor: entry.predecessor,
                    links: entry.links.clone(),
                    connected: entry.connected,
                    unconnected: entry.unconnected,
                };
                since = entry.since;
                self.clients.remove(old);
                self.outputs.push_back(Output::Close { client: old });
            } else {
                self.clients.remove(old);
                self.supersede(old, login.incarnation);
            }
        }

        let entry = Entry {
            node: login.node,
            position: place.position,
            incarnation: login.incarnation,
            name: login.name,
            kind: login.kind,
            since,
            heard: now,
            member: report.member,
            successor: report.successor,
            predecessor: report.predecessor,
            links: report.links,
            connected: report.connected,
            unconnected: report.unconnected,
        };
        self.registry.insert(
            &room,
            &login.room,
            login.topology,
            login.hub,
            place,
            Member { client, entry },
        );
        self.clients.remove(client);
        self.clients.insert(
            client,
            Client {
                heard: now,
                stage: Stage::Member(Session {
                    room,
                    place,
                    differs_since: None,
                    hinted: None,
                }),
            },
            now + self.config.client_timeout / 2,
        );
        self.counters.logins += 1;
        let (members, assignment) = self.assign(&room, place);
        let hub = self.registry.room(&room).and_then(|info| info.hub);
        let time_unix_ms = self.clock.unix_ms(now);
        self.send(
            client,
            TrackerMessage::Welcome {
                time_unix_ms,
                members,
                assignment,
                hub,
            },
        );
        Ok(())
    }

    /// Whether the login may enter, incarnations aside; else what to tell it.
    fn check_login(
        &self,
        id: &RoomId,
        place: Place,
        challenge: Challenge,
        login: &Login,
    ) -> Result<(), (ErrorCode, String)> {
        if !is_room_name(&login.room) {
            let text = format!(
                "a room's name has 1 to {MAX_ROOM_NAME} bytes, no control characters and no '/'"
            );
            return Err((ErrorCode::Room, text));
        }
        if login.name.len() > MAX_NAME || login.name.chars().any(char::is_control) {
            let text =
                format!("a member's name has at most {MAX_NAME} bytes and no control characters");
            return Err((ErrorCode::Malformed, text));
        }
        if !login.is_signed(&self.nonces.text(challenge)) {
            let text = format!(
                "the signature does not prove the identity: sign this connection's nonce, \
                 as version {VERSION} of the protocol does"
            );
            return Err((ErrorCode::Login, text));
        }
        let info = self.registry.room(id);
        let is_known = self.registry.member(id, place).is_some();
        let others = info.map_or(0, |info| info.members) - usize::from(is_known);
        if let Some(info) = info
            && others > 0
            && info.topology != login.topology
        {
            let text = format!(
                "room {} runs the topology {topology}; use --topology {topology}",
                login.room,
                topology = info.topology
            );
            return Err((ErrorCode::Topology, text));
        }
        if let Some(hub) = info.and_then(|info| info.hub)
            && others > 0
            && login.hub.is_some_and(|wanted| wanted != hub)
        {
            let text = format!("the hub of room {} is {hub}; use --hub {hub}", login.room);
            return Err((ErrorCode::Topology, text));
        }
        if others >= self.config.max_members {
            let text = format!(
                "room {} has all the {} members it takes",
                login.room, self.config.max_members
            );
            return Err((ErrorCode::Full, text));
        }
        if info.is_none() && self.registry.rooms() >= self.config.max_rooms {
            let text = format!(
                "this tracker has all the {} rooms it takes; try later or another one",
                self.config.max_rooms
            );
            return Err((ErrorCode::Full, text));
        }
        Ok(())
    }

    /// Tells `loser` that another session of its identity has won, and closes it.
    fn supersede(&mut self, loser: ClientId, winner: Incarnation) {
        self.counters.superseded += 1;
        self.send(
            loser,
            TrackerMessage::Superseded {
                incarnation: winner,
            },
        );
        self.close(loser);
    }
}
