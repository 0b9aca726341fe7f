//! The task that owns the state machine: everything that happens passes through its queue.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use circlet_core::Timestamp;
use circlet_core::tracker::{ClientId, Counters, Input, InputError, Output, RoomSnapshot, Tracker};
use circlet_core::wire::{ErrorCode, TrackerMessage};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::outbox::{Ending, Full, Outbox};

/// Events that may wait for the hub; whoever has more to say waits. Guess.
const QUEUE: usize = 1024;

/// Events taken from the queue at a time.
const BATCH: usize = 64;

/// How often the state machine is told the calendar.
const CALENDAR_INTERVAL: Duration = Duration::from_secs(60);

/// One thing that happened, or a question.
pub(crate) enum Event {
    Up {
        client: ClientId,
        outbox: Outbox,
    },
    Down {
        client: ClientId,
    },
    Message {
        client: ClientId,
        message: Box<TrackerMessage>,
    },
    Refused {
        client: ClientId,
        code: ErrorCode,
        error: String,
    },
    Room {
        name: String,
        reply: oneshot::Sender<Option<RoomAnswer>>,
    },
    Totals {
        reply: oneshot::Sender<Totals>,
    },
}

/// A room, and the time that its timestamps are to be compared with.
pub(crate) struct RoomAnswer {
    pub(crate) room: RoomSnapshot,
    pub(crate) now: Timestamp,
}

/// The whole tracker in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) clients: usize,
    pub(crate) rooms: usize,
    pub(crate) members: usize,
    pub(crate) counters: Counters,
    pub(crate) slow_readers: u64,
}

/// The way to the hub, for connections and requests.
#[derive(Clone, Debug)]
pub(crate) struct HubHandle(mpsc::Sender<Event>);

impl HubHandle {
    /// Waits until the hub has taken it; the hub of a tracker that has ended takes nothing.
    pub(crate) async fn send(&self, event: Event) {
        let _ = self.0.send(event).await;
    }

    /// A room, `None` if nobody is in it.
    pub(crate) async fn room(&self, name: String) -> Option<RoomAnswer> {
        let (reply, answer) = oneshot::channel();
        self.send(Event::Room { name, reply }).await;
        answer.await.ok().flatten()
    }

    /// The numbers, `None` if the tracker has ended.
    pub(crate) async fn totals(&self) -> Option<Totals> {
        let (reply, answer) = oneshot::channel();
        self.send(Event::Totals { reply }).await;
        answer.await.ok()
    }
}

/// A hub and the way to it.
pub(crate) fn hub(tracker: Tracker) -> (Hub, HubHandle) {
    let (sender, events) = mpsc::channel(QUEUE);
    let hub = Hub {
        tracker,
        epoch: Instant::now(),
        events,
        outboxes: HashMap::new(),
        last_words: None,
        slow_readers: 0,
    };
    (hub, HubHandle(sender))
}

/// The state machine and what it needs to speak to the outside.
pub(crate) struct Hub {
    tracker: Tracker,
    epoch: Instant,
    events: mpsc::Receiver<Event>,
    outboxes: HashMap<ClientId, Outbox>,
    /// Who was last told why it is turned away: the close that follows says it too.
    last_words: Option<(ClientId, ErrorCode)>,
    slow_readers: u64,
}

impl Hub {
    /// Runs until `stop`; then it does what it has been given already, and the connections end
    /// because their outboxes do.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut calendar = interval(CALENDAR_INTERVAL);
        calendar.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let alarm = sleep_until(self.epoch);
        tokio::pin!(alarm);
        loop {
            let due = self.tracker.poll_timeout().map(|(at, _)| self.instant(at));
            if let Some(due) = due
                && due != alarm.deadline()
            {
                alarm.as_mut().reset(due);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                _ = calendar.tick() => {
                    let unix_ms = unix_ms();
                    self.input(Input::WallClock { unix_ms });
                }
                () = alarm.as_mut(), if due.is_some() => {
                    self.tracker.handle_timeout(self.now());
                    self.drain();
                }
                taken = self.events.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return;
                    }
                    for event in batch.drain(..) {
                        self.on_event(event);
                    }
                }
            }
        }
        self.events.close();
        while let Ok(event) = self.events.try_recv() {
            self.on_event(event);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Up { client, outbox } => {
                self.outboxes.insert(client, outbox);
                self.input(Input::ClientUp { client });
            }
            Event::Down { client } => {
                self.outboxes.remove(&client);
                self.input(Input::ClientDown { client });
            }
            Event::Message { client, message } => self.input(Input::Message {
                client,
                message: *message,
            }),
            Event::Refused {
                client,
                code,
                error,
            } => self.input(Input::Refused {
                client,
                code,
                error,
            }),
            // Whoever asked may have gone.
            Event::Room { name, reply } => {
                let now = self.now();
                let room = self.tracker.room(&name);
                let _ = reply.send(room.map(|room| RoomAnswer { room, now }));
            }
            Event::Totals { reply } => {
                let _ = reply.send(self.totals());
            }
        }
    }

    fn input(&mut self, input: Input) {
        match self.tracker.handle(self.now(), input) {
            // A client that was closed may still have been speaking.
            Ok(()) | Err(InputError::Stale) => {}
            Err(InputError::Refused) => debug!("a client was refused"),
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.tracker.poll_output() {
            match output {
                Output::Send { client, message } => self.send(client, &message),
                Output::Close { client } => self.close(client),
            }
        }
    }

    fn close(&mut self, client: ClientId) {
        let told = self.last_words.take().filter(|(to, _)| *to == client);
        let code = told.map_or(CloseCode::Normal, |(_, code)| close_code(code));
        if let Some(outbox) = self.outboxes.remove(&client) {
            outbox.end(Ending::Close(code, ""));
        }
    }

    fn send(&mut self, client: ClientId, message: &TrackerMessage) {
        let Some(outbox) = self.outboxes.get(&client) else {
            return;
        };
        if let TrackerMessage::Error { code, .. } = message {
            self.last_words = Some((client, *code));
        }
        if outbox.push(message.to_json()) == Err(Full)
            && let Some(outbox) = self.outboxes.remove(&client)
        {
            debug!(
                client = client.0,
                "cut off: it does not read what it is sent"
            );
            outbox.end(Ending::Cut);
            self.slow_readers += 1;
            // What follows from it is drained by whoever drains already.
            let _ = self
                .tracker
                .handle(self.now(), Input::ClientDown { client });
        }
    }

    fn totals(&self) -> Totals {
        Totals {
            clients: self.tracker.clients(),
            rooms: self.tracker.rooms(),
            members: self.tracker.members(),
            counters: self.tracker.counters(),
            slow_readers: self.slow_readers,
        }
    }

    fn now(&self) -> Timestamp {
        let micros = self.epoch.elapsed().as_micros();
        Timestamp::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn instant(&self, at: Timestamp) -> Instant {
        self.epoch + Duration::from_micros(at.as_micros())
    }
}

/// The WebSocket's word for it (RFC 6455, section 7.4.1).
fn close_code(code: ErrorCode) -> CloseCode {
    match code {
        ErrorCode::Malformed => CloseCode::Invalid,
        ErrorCode::Full => CloseCode::Again,
        ErrorCode::Login
        | ErrorCode::Room
        | ErrorCode::Topology
        | ErrorCode::Forbidden
        | ErrorCode::Limited
        | ErrorCode::Timeout => CloseCode::Policy,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this driver that reads the calendar"
)]
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
