//! The Tracker state machine: a table of every node's state, assignment of neighbours to
//! newcomers, relay of signals.
//!
//! Its word is a start, not the truth: nodes go on from there by ring maintenance. State is
//! soft: a restarted tracker is whole again as soon as its nodes have logged in again.

mod announce;
mod assignment;
mod clients;
mod io;
mod login;
mod nonce;
mod rates;
mod registry;
mod relay;

pub use io::*;
pub use registry::{Among, Direction, Member, Registry, Report, RoomInfo, Table};

use alloc::collections::VecDeque;
use alloc::string::String;
use core::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use self::clients::{Client, Clients, Session, Stage};
use self::login::Login;
use self::nonce::Nonces;
use self::rates::{Rates, cost};
use crate::rate::Rate;
use crate::room::RoomId;
use crate::time::Timestamp;
use crate::wire::{ErrorCode, TrackerMessage, VERSION};

/// The longest text of an [`TrackerMessage::Error`], in bytes: what receivers take.
const MAX_ERROR_TEXT: usize = 1024;

/// How a tracker behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackerConfig {
    /// Silence after which a client is closed; after half of it a member is pinged. Default
    /// 9 s: half-open connections are to be gone after 10 s, the last words included.
    pub client_timeout: Duration,
    /// Time that a client has to log in. Default 4 s: with 5 s for connecting and 1 s for the
    /// last words, half-open connections are gone after 10 s.
    pub login_timeout: Duration,
    /// Members assigned on each side of a newcomer. Default 4: as many as ring links.
    pub assigned_ring: usize,
    /// Members assigned as long links. Default 8: as many as a node opens.
    pub assigned_mesh: usize,
    /// Members of one room. Default 10,000: guess.
    pub max_members: usize,
    /// Rooms. Default 10,000: guess.
    pub max_rooms: usize,
    /// Connections, those not logged in included. Default 20,000: guess.
    pub max_clients: usize,
    /// Messages of one identity; a signal counts one more for each 4 KiB of its description.
    /// Default 1,000 a second, 10,000 at once: guess: a member of a mesh of 1,000 sends some ten
    /// signals to each, and what passes takes 2 % of a core.
    pub identity_rate: Rate,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            client_timeout: Duration::from_secs(9),
            login_timeout: Duration::from_secs(4),
            assigned_ring: 4,
            assigned_mesh: 8,
            max_members: 10_000,
            max_rooms: 10_000,
            max_clients: 20_000,
            identity_rate: Rate::new(1_000, 10_000),
        }
    }
}

/// The tracker: a table of every node's state per room.
///
/// Driven like a [`Node`](crate::node::Node): one input, then [`Tracker::poll_output`] until it
/// is empty. Where the table is kept is the [`Registry`]'s matter; by default it is [`Table`].
#[derive(Debug)]
pub struct Tracker<T: Registry = Table> {
    config: TrackerConfig,
    registry: T,
    clients: Clients,
    rates: Rates,
    clock: Clock,
    nonces: Nonces,
    mesh_rng: Xoshiro256PlusPlus,
    counters: Counters,
    /// Drained by the driver after each input, and so bounded by what one input can cause.
    outputs: VecDeque<Output>,
}

impl Tracker {
    /// An empty table. `rng` seeds the nonces of logins: it must be unpredictable.
    #[must_use]
    pub fn new<R: Rng + ?Sized>(config: TrackerConfig, rng: &mut R) -> Self {
        Self::with_registry(config, Table::default(), rng)
    }
}

impl<T: Registry> Tracker<T> {
    /// A tracker over `registry`; otherwise like [`Tracker::new`].
    #[must_use]
    pub fn with_registry<R: Rng + ?Sized>(config: TrackerConfig, registry: T, rng: &mut R) -> Self {
        Self {
            config,
            registry,
            clients: Clients::default(),
            rates: Rates::default(),
            clock: Clock::default(),
            nonces: Nonces::new(rng),
            mesh_rng: Xoshiro256PlusPlus::from_rng(rng),
            counters: Counters::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input.
    ///
    /// # Errors
    /// [`InputError::Stale`] if there is no such client, and nothing has changed;
    /// [`InputError::Refused`] if the client was turned away.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Result<(), InputError> {
        match input {
            Input::WallClock { unix_ms } => {
                self.clock = Clock { unix_ms, at: now };
                Ok(())
            }
            Input::ClientUp { client } => self.client_up(now, client),
            Input::ClientDown { client } => self.forget(client).ok_or(InputError::Stale),
            Input::Message { client, message } => {
                self.hear(now, client)?;
                self.on_message(now, client, message)
            }
            Input::Refused {
                client,
                code,
                error,
            } => {
                self.hear(now, client)?;
                self.refuse(client, code, error)
            }
        }
    }

    /// Does what is due. Spurious calls do nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let timeout = self.config.client_timeout;
        while let Some((client, heard, is_member)) = self.clients.due(now) {
            let silent = now.since(heard);
            if !is_member {
                self.counters.login_timed_out += 1;
                self.time_out(client, "there was no login in time");
            } else if silent >= timeout {
                self.counters.timed_out += 1;
                self.time_out(client, "nothing was heard for too long");
            } else if silent >= timeout / 2 {
                // The timers of a browser tab may be throttled to one a minute: it answers
                // what arrives, but may not speak on its own.
                self.send(client, TrackerMessage::Ping);
                self.clients.schedule(client, heard + timeout);
            } else {
                self.clients.schedule(client, heard + timeout / 2);
            }
        }
    }

    /// When [`Tracker::handle_timeout`] wants to be called, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, TimerKind)> {
        self.clients.next_due().map(|at| (at, TimerKind::Silence))
    }

    /// The next thing to do; drain to `None` after every `handle*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The whole table, copied: for tests and small tables. See also [`Tracker::room`].
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            rooms: self.registry.snapshots(),
            clients: self.clients.len(),
            counters: self.counters,
        }
    }

    /// One room of the table, `None` if nobody is in it.
    #[must_use]
    pub fn room(&self, name: &str) -> Option<RoomSnapshot> {
        self.registry.snapshot(&RoomId::open(name))
    }

    /// The counts.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many connections there are, those not logged in included.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// How many rooms there are.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.registry.rooms()
    }

    /// How many members all rooms have together.
    #[must_use]
    pub fn members(&self) -> usize {
        self.registry.members()
    }

    fn client_up(&mut self, now: Timestamp, client: ClientId) -> Result<(), InputError> {
        if self.clients.get(client).is_some() {
            return Err(InputError::Stale);
        }
        if self.clients.len() >= self.config.max_clients {
            let text = alloc::format!(
                "this tracker has all the {} connections it takes; try later or another one",
                self.config.max_clients
            );
            return self.refuse(client, ErrorCode::Full, text);
        }
        let challenge = self.nonces.next();
        self.clients.insert(
            client,
            Client {
                heard: now,
                stage: Stage::Challenged(challenge),
            },
            now + self.config.login_timeout,
        );
        let message = TrackerMessage::Challenge {
            version: VERSION,
            nonce: self.nonces.text(challenge),
        };
        self.send(client, message);
        Ok(())
    }

    fn hear(&mut self, now: Timestamp, client: ClientId) -> Result<(), InputError> {
        let known = self.clients.get_mut(client).ok_or(InputError::Stale)?;
        known.heard = now;
        if let Stage::Member(session) = &known.stage {
            self.registry.hear(&session.room, session.place, now);
        }
        Ok(())
    }

    fn on_message(
        &mut self,
        now: Timestamp,
        client: ClientId,
        message: TrackerMessage,
    ) -> Result<(), InputError> {
        let known = self.clients.get(client).ok_or(InputError::Stale)?;
        match known.stage {
            Stage::Challenged(challenge) => match Login::try_from(message) {
                Ok(login) => self.on_login(now, client, challenge, login),
                Err(_) => self.forbid(client, "log in first"),
            },
            Stage::Member(session) => {
                let (node, rate) = (session.place.id, self.config.identity_rate);
                match self.rates.take(now, node, rate, cost(&message)) {
                    Ok(()) => self.on_member_message(now, client, session, message),
                    Err(wait) => self.limit(client, wait),
                }
            }
        }
    }

    fn on_member_message(
        &mut self,
        now: Timestamp,
        client: ClientId,
        session: Session,
        message: TrackerMessage,
    ) -> Result<(), InputError> {
        match message {
            TrackerMessage::Announce {
                member,
                successor,
                predecessor,
                links,
                connected,
                unconnected,
            } => {
                let report = Report {
                    member,
                    successor,
                    predecessor,
                    links,
                    connected,
                    unconnected,
                };
                self.on_announce(now, client, session, report);
                Ok(())
            }
            TrackerMessage::Signal { signal } => self.on_signal(client, session, signal),
            TrackerMessage::Ask => {
                self.send_assigned(client, &session);
                Ok(())
            }
            TrackerMessage::Ping => {
                self.send(client, TrackerMessage::Pong);
                Ok(())
            }
            TrackerMessage::Pong => Ok(()),
            TrackerMessage::Leave => {
                self.close(client);
                Ok(())
            }
            TrackerMessage::Login { .. } => {
                self.forbid(client, "one login is enough; connect anew for another")
            }
            TrackerMessage::Challenge { .. }
            | TrackerMessage::Welcome { .. }
            | TrackerMessage::Assigned { .. }
            | TrackerMessage::Unreachable { .. }
            | TrackerMessage::Gone { .. }
            | TrackerMessage::Superseded { .. }
            | TrackerMessage::Error { .. } => {
                self.forbid(client, "only the tracker says such a thing")
            }
        }
    }

    fn limit(&mut self, client: ClientId, wait: Duration) -> Result<(), InputError> {
        let Rate { per_second, burst } = self.config.identity_rate;
        let text = alloc::format!(
            "this identity says too much: {per_second} messages a second are taken, {burst} at \
             once; come back in {} s",
            wait.as_secs() + 1
        );
        self.refuse(client, ErrorCode::Limited, text)
    }

    fn time_out(&mut self, client: ClientId, text: &str) {
        self.send(
            client,
            TrackerMessage::Error {
                code: ErrorCode::Timeout,
                message: text.into(),
            },
        );
        self.close(client);
    }

    fn forbid(&mut self, client: ClientId, text: &str) -> Result<(), InputError> {
        self.refuse(client, ErrorCode::Forbidden, text.into())
    }

    /// Tells `client` why it is turned away, and closes it.
    fn refuse(
        &mut self,
        client: ClientId,
        code: ErrorCode,
        mut text: String,
    ) -> Result<(), InputError> {
        let mut end = text.len().min(MAX_ERROR_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        self.counters.refused += 1;
        match code {
            ErrorCode::Limited => self.counters.limited += 1,
            ErrorCode::Full => self.counters.full += 1,
            _ => {}
        }
        self.send(
            client,
            TrackerMessage::Error {
                code,
                message: text,
            },
        );
        self.close(client);
        Err(InputError::Refused)
    }

    fn send(&mut self, client: ClientId, message: TrackerMessage) {
        self.outputs.push_back(Output::Send { client, message });
    }

    fn close(&mut self, client: ClientId) {
        // A client that was refused at once is not known.
        let _ = self.forget(client);
        self.outputs.push_back(Output::Close { client });
    }

    /// Takes a client out of the table and tells those who named it: a hint to probe.
    fn forget(&mut self, client: ClientId) -> Option<()> {
        let Stage::Member(session) = self.clients.remove(client)?.stage else {
            return Some(());
        };
        self.registry.remove(&session.room, session.place);
        let node = session.place.id;
        for other in self.registry.naming(&session.room, &node) {
            self.send(other, TrackerMessage::Gone { node });
        }
        Some(())
    }
}

/// The calendar, as the driver told it last.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    unix_ms: u64,
    at: Timestamp,
}

impl Clock {
    fn unix_ms(self, now: Timestamp) -> u64 {
        let elapsed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        self.unix_ms.saturating_add(elapsed)
    }
}

#[cfg(test)]
mod tests;
