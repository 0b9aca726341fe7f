//! The event loop: turns I/O into the core's inputs and the core's outputs into I/O.
//!
//! One task owns the core and everything it drives, so nothing here is locked. It takes inputs
//! in small batches from each of its sources in turn, and after every one of them does all that
//! the core says. It decides nothing about the protocol.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use circlet_core::identity::NodeId;
use circlet_core::node::{
    Channel, Command, Event, Input, InputError, LinkId, Node as Core, Output, TrackerId,
};
use circlet_core::wire::{FrameBuf, TrackerMessage};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout_at};
use tracing::{debug, trace, warn};

use crate::commands::{CommandRequest, Commands, Lane, Request};
use crate::dial::Dial;
use crate::epoch::Epoch;
use crate::events::{Acknowledgement, EventSender, NodeEvent};
use crate::handle::Shared;
use crate::identity::unix_ms;
use crate::timer::Timer;
use crate::tracker_client::{self, ConnectionId, TrackerEvent, TrackerEvents, TrackerUrl};
use crate::transport::{Link, SendError, Transport, TransportEvent};

/// Inputs taken from one source before the others have their turn: some 100 us of work.
const BATCH: usize = 64;

/// Events of links that may wait. With the largest frames they take 16 MB; full, it slows the
/// other side down.
const TRANSPORT_EVENTS: usize = 256;

/// Messages of trackers that may wait.
const TRACKER_EVENTS: usize = 64;

/// How often the core is told the time of day.
const WALL_CLOCK: Duration = Duration::from_secs(60);

/// How long leaving may take, once the core has all commands.
const LEAVE: Duration = Duration::from_secs(2);

/// How long the core is given to take the commands that wait before it leaves.
const HAND_OVER: Duration = Duration::from_secs(1);

/// How long a link that is closed on purpose may take to pass on what it was given.
const CLOSE: Duration = Duration::from_secs(1);

/// One node's driver.
pub(crate) struct Driver {
    core: Core,
    epoch: Epoch,
    shared: Arc<Shared>,
    transport: Box<dyn Transport>,
    links: BTreeMap<LinkId, OpenLink>,
    link_events: mpsc::Sender<TransportEvent>,
    /// What went wrong while the core's outputs were performed: told when they are done.
    setbacks: Vec<Setback>,
    dial: Arc<dyn Dial>,
    trackers: Vec<Tracker>,
    tracker_events: TrackerEvents,
    commands: Commands,
    events: EventSender,
    /// Connections to trackers, and links that are being closed.
    tasks: JoinSet<()>,
    /// Whether the core may have room for commands that wait.
    has_room: bool,
    /// Whether message frames are left unread.
    is_flooded: bool,
    /// How far leaving has come.
    leaving: Leaving,
    /// Whether the core has said its last.
    is_over: bool,
    inbox: Inbox,
}

/// How far a node has come in leaving. Each step has a time by which the next one follows.
#[derive(Clone, Copy)]
enum Leaving {
    /// It stays.
    No,
    /// The core takes what was said before.
    HandingOver(Instant),
    /// The core has been told to leave.
    Under(Instant),
}

/// Where the driver's inputs come from.
struct Inbox {
    requests: mpsc::Receiver<Request>,
    links: mpsc::Receiver<TransportEvent>,
    trackers: mpsc::Receiver<(ConnectionId, TrackerEvent)>,
}

struct OpenLink {
    peer: NodeId,
    link: Box<dyn Link>,
}

/// What the core cannot be told while its outputs are performed.
enum Setback {
    /// A link did not take a frame.
    Refused { link: LinkId, bytes: usize },
    /// Too many messages wait for a tracker.
    TrackerFull { tracker: TrackerId },
}

struct Tracker {
    url: Arc<TrackerUrl>,
    generation: u64,
    connection: Option<TrackerConnection>,
    /// Why it was lost last: said once and not with every attempt.
    lost: Option<String>,
}

struct TrackerConnection {
    outgoing: mpsc::Sender<TrackerMessage>,
    abort: AbortHandle,
    /// Whether the tracker has said anything.
    is_up: bool,
}

impl Driver {
    /// The driver of a core whose time is zero now.
    pub(crate) fn new(
        core: Core,
        shared: Arc<Shared>,
        transport: Box<dyn Transport>,
        dial: Arc<dyn Dial>,
        trackers: Vec<TrackerUrl>,
        requests: mpsc::Receiver<Request>,
        events: EventSender,
    ) -> Self {
        let (link_events, links) = mpsc::channel(TRANSPORT_EVENTS);
        let (tracker_events, tracker_inbox) = mpsc::channel(TRACKER_EVENTS);
        Self {
            core,
            epoch: Epoch::begin(),
            shared,
            transport,
            links: BTreeMap::new(),
            link_events,
            setbacks: Vec::new(),
            dial,
            trackers: trackers.into_iter().map(Tracker::new).collect(),
            tracker_events,
            commands: Commands::default(),
            events,
            tasks: JoinSet::new(),
            has_room: false,
            is_flooded: false,
            leaving: Leaving::No,
            is_over: false,
            inbox: Inbox {
                requests,
                links,
                trackers: tracker_inbox,
            },
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.shared.id
    }

    /// Drives the node until it has ended. To be run on a tokio runtime of one thread: small
    /// messages stall on more (measured).
    pub(crate) async fn run(mut self) {
        let mut timer = Timer::new();
        let mut wall_clock = wall_clock();
        let (mut links, mut requests, mut trackers) = (Vec::new(), Vec::new(), Vec::new());
        let mut has_handles = true;
        self.tell_time_of_day();
        while !self.is_over && !self.took_too_long() {
            timer.arm(self.deadline());
            self.events.wake_reader();
            let taken = tokio::select! {
                taken = self.inbox.links.recv_many(&mut links, BATCH) => {
                    self.is_flooded = self.events.is_flooded();
                    links.drain(..).for_each(|event| self.on_link(event));
                    taken
                }
                taken = self.inbox.requests.recv_many(&mut requests, BATCH), if has_handles => {
                    requests.drain(..).for_each(|request| self.on_request(request));
                    if taken == 0 {
                        has_handles = false;
                        self.leave();
                    }
                    taken
                }
                taken = self.inbox.trackers.recv_many(&mut trackers, BATCH) => {
                    for (connection, event) in trackers.drain(..) {
                        self.on_tracker(connection, event);
                    }
                    taken
                }
                () = timer.expire() => {
                    self.core.handle_timeout(self.epoch.now());
                    self.perform_all();
                    self.has_room = true;
                    0
                }
                _ = wall_clock.tick() => {
                    self.tell_time_of_day();
                    0
                }
                () = self.events.room(), if self.events.is_holding() => 0,
            };
            self.events.wake_reader();
            self.tell_setbacks();
            self.acknowledge();
            self.retry_waiting();
            self.go_on_leaving();
            while self.tasks.try_join_next().is_some() {}
            if taken == BATCH {
                // There may be more: let the sockets have their turn first.
                yield_now().await;
            }
        }
        if !self.is_over {
            warn!("leaving took too long");
        }
        self.finish().await;
    }

    /// When the core or leaving wants to be looked after.
    fn deadline(&self) -> Option<Instant> {
        let core = self
            .core
            .poll_timeout()
            .map(|(at, _)| self.epoch.instant(at));
        core.into_iter().chain(self.leaving.by()).min()
    }

    fn on_link(&mut self, event: TransportEvent) {
        let input = match event {
            TransportEvent::Signal { link, signal } => Input::LocalSignal { link, signal },
            TransportEvent::Up { link } => Input::LinkUp { link },
            TransportEvent::Suspect { link } => Input::LinkSuspect { link },
            TransportEvent::Down { link, reason } => {
                self.close(link, Duration::ZERO);
                Input::LinkDown { link, reason }
            }
            TransportEvent::Garbled { link } => Input::LinkGarbled { link },
            TransportEvent::Writable { link, bytes } => {
                self.has_room = true;
                Input::LinkWritable { link, bytes }
            }
            TransportEvent::Frame { channel, .. }
                if self.is_flooded && channel != Channel::Control =>
            {
                count(&self.shared.counters.frames_unread);
                return;
            }
            TransportEvent::Frame {
                link,
                channel,
                bytes,
            } => Input::Frame {
                link,
                channel,
                frame: FrameBuf::from(bytes),
            },
            TransportEvent::State { link, state } => {
                if let Some(&OpenLink { peer, .. }) = self.links.get(&link) {
                    self.events
                        .push(NodeEvent::Connection { peer, link, state });
                }
                return;
            }
        };
        self.handle(input);
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Command(request) => {
                if self.commands.is_waiting(Lane::of(&request.command)) {
                    self.commands.push_back(request);
                } else if let Some(refused) = self.offer(request) {
                    self.commands.push_back(refused);
                }
            }
            Request::Snapshot(reply) => {
                // Who asked may have lost interest.
                let _ = reply.send(self.core.snapshot());
            }
            Request::Leave => self.leave(),
        }
    }

    fn on_tracker(&mut self, connection: ConnectionId, event: TrackerEvent) {
        let tracker = connection.tracker;
        let Some(known) = self
            .tracker(tracker)
            .filter(|it| it.generation == connection.generation)
        else {
            return;
        };
        let Some(open) = &mut known.connection else {
            return;
        };
        match event {
            TrackerEvent::Message(message) => {
                open.is_up = true;
                known.lost = None;
                let message = *message;
                self.handle(Input::Tracker { tracker, message });
            }
            TrackerEvent::Lost(reason) => self.lose_tracker(tracker, reason),
        }
    }

    /// Gives the core one input, and does what it says.
    fn handle(&mut self, input: Input) {
        match self.core.handle(self.epoch.now(), input) {
            Ok(()) => {}
            // What comes of it, the core has decided already.
            Err(error @ (InputError::Protocol | InputError::Signal | InputError::Throttled)) => {
                debug!(%error, "refused");
            }
            Err(error) => trace!(%error, "not taken"),
        }
        self.perform_all();
    }

    /// Gives the core a command. Gives it back if there is no room for it.
    fn offer(&mut self, request: CommandRequest) -> Option<CommandRequest> {
        let result = self
            .core
            .handle(self.epoch.now(), Input::Command(request.command.clone()));
        let refused = match result {
            Ok(()) => {
                self.commands.await_outcome(&request.command, request.reply);
                None
            }
            Err(InputError::Full | InputError::NotJoined) => Some(request),
            // Dropping the reply says that the command has failed.
            Err(error) => {
                debug!(%error, "command refused");
                None
            }
        };
        self.perform_all();
        refused
    }

    /// Offers the core what waits, if it may have room by now.
    fn retry_waiting(&mut self) {
        if !mem::take(&mut self.has_room) {
            return;
        }
        for lane in self.commands.lanes() {
            while let Some(request) = self.commands.pop(lane) {
                if let Some(refused) = self.offer(request) {
                    self.commands.push_front(refused);
                    break;
                }
            }
        }
    }

    /// Tells the core which messages the application has.
    fn acknowledge(&mut self) {
        while let Some(Acknowledgement { from, sequence }) = self.events.next_acknowledgement() {
            self.handle(Input::Command(Command::Acknowledge { from, sequence }));
        }
    }

    fn tell_time_of_day(&mut self) {
        let unix_ms = unix_ms();
        self.handle(Input::WallClock { unix_ms });
    }

    /// Begins to leave. What was said before is said: commands that wait go first.
    fn leave(&mut self) {
        if let Leaving::No = self.leaving {
            self.leaving = Leaving::HandingOver(Instant::now() + HAND_OVER);
        }
    }

    /// Has the core leave as soon as it has taken all commands, or has had its time to.
    fn go_on_leaving(&mut self) {
        if let Leaving::HandingOver(by) = self.leaving
            && (self.commands.none_wait() || by <= Instant::now())
        {
            self.leaving = Leaving::Under(Instant::now() + LEAVE);
            self.handle(Input::Command(Command::Leave));
        }
    }

    fn took_too_long(&self) -> bool {
        matches!(self.leaving, Leaving::Under(by) if by <= Instant::now())
    }

    fn perform_all(&mut self) {
        while let Some(output) = self.core.poll_output() {
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::OpenLink { link, peer, role } => {
                let open = self.transport.open(link, role, self.link_events.clone());
                self.links.insert(link, OpenLink { peer, link: open });
            }
            Output::CloseLink { link } => self.close(link, CLOSE),
            Output::ApplySignal { link, signal } => {
                if let Some(open) = self.links.get(&link) {
                    open.link.apply(signal);
                }
            }
            Output::SendFrame {
                link,
                channel,
                frame,
            } => self.send(link, channel, frame),
            Output::ConnectTracker { tracker } => self.connect(tracker),
            Output::CloseTracker { tracker } => {
                if let Some(known) = self.tracker(tracker) {
                    known.close();
                }
            }
            Output::SendTracker { tracker, message } => self.send_tracker(tracker, message),
            Output::Event(event) => self.tell(event),
        }
    }

    fn send(&mut self, link: LinkId, channel: Channel, frame: FrameBuf) {
        let Some(open) = self.links.get(&link) else {
            return;
        };
        let bytes = frame.into_bytes();
        let len = bytes.len();
        match open.link.send(channel, bytes) {
            Ok(()) => {}
            // It is going down, and says so itself.
            Err(SendError::NotOpen) => trace!(link = link.0, "frame lost: the link is not open"),
            Err(error) => {
                if count(&self.shared.counters.frames_refused) == 0 {
                    warn!(link = link.0, ?channel, %error, "frame lost; more are only counted");
                }
                self.setbacks.push(Setback::Refused { link, bytes: len });
            }
        }
    }

    fn tell_setbacks(&mut self) {
        for setback in mem::take(&mut self.setbacks) {
            match setback {
                // The frame waits no longer: else the core's account would never be even again.
                Setback::Refused { link, bytes } => {
                    self.handle(Input::LinkWritable { link, bytes });
                }
                Setback::TrackerFull { tracker } => {
                    self.lose_tracker(tracker, "it takes no messages".to_owned());
                }
            }
        }
    }

    fn close(&mut self, link: LinkId, grace: Duration) {
        if let Some(open) = self.links.remove(&link) {
            self.tasks.spawn(open.link.close(grace));
        }
    }

    fn tracker(&mut self, tracker: TrackerId) -> Option<&mut Tracker> {
        self.trackers.get_mut(usize::from(tracker.0))
    }

    fn connect(&mut self, tracker: TrackerId) {
        let (dial, events) = (Arc::clone(&self.dial), self.tracker_events.clone());
        let Some(known) = self.tracker(tracker) else {
            return;
        };
        known.close();
        known.generation += 1;
        let connection = ConnectionId {
            tracker,
            generation: known.generation,
        };
        let (outgoing, task) =
            tracker_client::connect(Arc::clone(&known.url), dial, connection, events);
        let abort = self.tasks.spawn(task);
        if let Some(known) = self.tracker(tracker) {
            known.connection = Some(TrackerConnection {
                outgoing,
                abort,
                is_up: false,
            });
        }
    }

    fn send_tracker(&mut self, tracker: TrackerId, message: TrackerMessage) {
        let Some(connection) = self.tracker(tracker).and_then(|it| it.connection.as_ref()) else {
            return;
        };
        if let Err(TrySendError::Full(_)) = connection.outgoing.try_send(message) {
            self.setbacks.push(Setback::TrackerFull { tracker });
        }
    }

    fn lose_tracker(&mut self, tracker: TrackerId, reason: String) {
        count(&self.shared.counters.trackers_lost);
        if let Some(known) = self.tracker(tracker) {
            known.close();
            if known.lost.as_ref() != Some(&reason) {
                known.lost = Some(reason.clone());
                let url = known.url.to_string();
                self.events.push(NodeEvent::TrackerLost { url, reason });
            }
        }
        self.handle(Input::TrackerLost { tracker });
    }

    fn tell(&mut self, event: Event) {
        let event = match event {
            Event::Message(message) => NodeEvent::Message(message),
            event => {
                let Some(event) = self.commands.settle(event) else {
                    self.has_room = true;
                    return;
                };
                self.is_over |= matches!(
                    event,
                    Event::Left | Event::Superseded { .. } | Event::Refused { .. }
                );
                NodeEvent::Overlay(event)
            }
        };
        self.events.push(event);
    }

    /// Closes what is still open, and waits for it.
    async fn finish(mut self) {
        self.shared.permits.close();
        self.inbox.requests.close();
        let by = self.leaving.by().unwrap_or_else(|| Instant::now() + LEAVE);
        for open in mem::take(&mut self.links).into_values() {
            self.tasks.spawn(open.link.close(CLOSE));
        }
        self.trackers.iter_mut().for_each(Tracker::close);
        // Links may have things to say until they are closed, and must not wait for a reader.
        drop(self.inbox);
        let closed = async { while self.tasks.join_next().await.is_some() {} };
        if timeout_at(by, closed).await.is_err() {
            debug!("links or trackers took too long to close");
        }
    }
}

impl Leaving {
    const fn by(self) -> Option<Instant> {
        match self {
            Self::No => None,
            Self::HandingOver(by) | Self::Under(by) => Some(by),
        }
    }
}

impl Tracker {
    fn new(url: TrackerUrl) -> Self {
        Self {
            url: Arc::new(url),
            generation: 0,
            connection: None,
            lost: None,
        }
    }

    /// Drops the connection, once what was sent before is out.
    fn close(&mut self) {
        if let Some(connection) = self.connection.take()
            && !connection.is_up
        {
            // It may be waiting for an answer that never comes.
            connection.abort.abort();
        }
    }
}

fn wall_clock() -> Interval {
    let mut interval = interval_at(Instant::now() + WALL_CLOCK, WALL_CLOCK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

/// Counts one more; what it was before.
fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed)
}
