//! Setting a node up.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use circlet_core::identity::{Identity, Incarnation, NodeId};
use circlet_core::node::{Membership, Node as Core};
use circlet_core::ring::Position;
use circlet_core::room::{MAX_ROOM_NAME, RoomId, is_room_name};
use circlet_core::wire::{MAX_NAME, NodeKind};
use circlet_core::{Config, Timestamp, Topology};
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use tokio::runtime::{self, Runtime};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument, Span, info_span};

use crate::dial::{Dial, Tcp};
use crate::driver::Driver;
use crate::events::{self, Events};
use crate::handle::{Node, REQUESTS, Shared};
use crate::identity::{IdentityError, IdentityFile, unkept_incarnation};
use crate::tracker_client::{TrackerUrl, TrackerUrlError};
use crate::transport::{Transport, WebRtcConfig, WebRtcTransport};

/// Trackers that one node may use.
const MAX_TRACKERS: usize = 16;

/// Links of each sort that may be wished for: a machine has some thousand file descriptors, and
/// each link takes two.
const MAX_WANTED_LINKS: usize = 64;

/// What a node is to be: see [`Node::builder`]. Only the room must be given.
#[derive(Default)]
#[must_use = "a node starts with `start`"]
pub struct NodeBuilder {
    room: String,
    name: Option<String>,
    trackers: Vec<String>,
    identity: IdentitySource,
    topology: Topology,
    hub: Option<NodeId>,
    config: Config,
    webrtc: WebRtcConfig,
    transport: Option<Box<dyn Transport>>,
    dial: Option<Arc<dyn Dial>>,
}

#[derive(Default)]
enum IdentitySource {
    #[default]
    DataDir,
    File(PathBuf),
    Given(Box<Identity>, Option<Incarnation>),
}

/// Why a node did not start. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The name of the room cannot be one.
    #[error(
        "{0:?} cannot name a room: take 1 to {MAX_ROOM_NAME} bytes without `/` or control characters"
    )]
    Room(String),
    /// The node's own name cannot be one.
    #[error("{0:?} cannot name a node: take 1 to {MAX_NAME} bytes without control characters")]
    Name(String),
    /// A tracker's URL is none.
    #[error(transparent)]
    Tracker(#[from] TrackerUrlError),
    /// Too many trackers.
    #[error("{0} trackers are too many: take {MAX_TRACKERS} at most")]
    TooManyTrackers(usize),
    /// A hub is named, and the topology has none.
    #[error("a hub is named, and the topology {0} has none: take star")]
    Hub(Topology),
    /// A setting is out of its range.
    #[error("{setting} is {value}: take {min} to {max}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// What it is.
        value: usize,
        /// The least that works.
        min: usize,
        /// The most that works.
        max: usize,
    },
    /// The identity file cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The system gives no thread, or no event queue for it.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The thread died while it started.
    #[error("the node's thread ended before it had started; its panic message says why")]
    Died,
}

impl NodeBuilder {
    /// The room to join. Whoever uses the same name and can be reached is in it.
    pub fn room(mut self, name: impl Into<String>) -> Self {
        self.room = name.into();
        self
    }

    /// The node's own name, for people: at most [`MAX_NAME`] bytes. Default: the first 8
    /// characters of its id.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A tracker, as `ws://HOST:PORT` or `wss://HOST`; see [`TrackerUrl`]. May be called again
    /// for more. Without any the node waits in a ring of one.
    pub fn tracker(mut self, url: impl Into<String>) -> Self {
        self.trackers.push(url.into());
        self
    }

    /// The file that keeps the node's key; made if there is none. Default:
    /// [`IdentityFile::in_data_dir`].
    pub fn identity_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.identity = IdentitySource::File(path.into());
        self
    }

    /// The node's key itself, if it is kept elsewhere or nowhere.
    ///
    /// Of two sessions of one identity the one that started later, by its clock, wins.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = IdentitySource::Given(Box::new(identity), None);
        self
    }

    /// As [`NodeBuilder::identity`], with a session number that is kept elsewhere: it has to be
    /// greater than all before.
    pub fn identity_with_incarnation(
        mut self,
        identity: Identity,
        incarnation: Incarnation,
    ) -> Self {
        self.identity = IdentitySource::Given(Box::new(identity), Some(incarnation));
        self
    }

    /// The room's topology: all members must name the same. Default [`Topology::SmallWorld`].
    pub fn topology(mut self, topology: Topology) -> Self {
        self.topology = topology;
        self
    }

    /// The hub that a star is to have: a setting of the room, which the first member to name one
    /// decides. While that member is not there the one that has been running for longest is the hub
    /// instead, of those that may be: [`Config::may_be_hub`].
    pub fn hub(mut self, hub: NodeId) -> Self {
        self.hub = Some(hub);
        self
    }

    /// Ring links held open on each side: [`Config::ring_links`]. Raises
    /// [`Config::max_links`] if need be. Call it after [`NodeBuilder::config`].
    pub fn ring_links(mut self, links: usize) -> Self {
        self.config.ring_links = links;
        self.make_room_for_links()
    }

    /// Own long links: [`Config::long_links`]. Raises [`Config::max_links`] if need be. Call it
    /// after [`NodeBuilder::config`].
    pub fn long_links(mut self, links: usize) -> Self {
        self.config.long_links = links;
        self.make_room_for_links()
    }

    /// A STUN server, as `stun:HOST:PORT`. May be called again for more. Of no effect together
    /// with [`NodeBuilder::transport`].
    pub fn ice_server(mut self, url: impl Into<String>) -> Self {
        self.webrtc.ice_servers.push(url.into());
        self
    }

    /// Everything else that can be set.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Makes links in another way than by [`WebRtcTransport`] with default settings.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(Box::new(transport));
        self
    }

    /// Reaches trackers in another way than over TCP.
    pub fn dial(mut self, dial: impl Dial) -> Self {
        self.dial = Some(Arc::new(dial));
        self
    }

    /// Starts the node on a thread of its own, called `circlet-node`.
    ///
    /// Returns when identity and settings are known to be good: the node will find its way into
    /// the ring by itself, and says so by [`Event::Joined`](crate::Event::Joined). May be
    /// awaited on any async runtime. Keep the [`Node`]: when the last handle is dropped the node
    /// leaves.
    ///
    /// # Errors
    /// [`StartError`], saying what to do.
    pub async fn start(self) -> Result<(Node, Events), StartError> {
        let (started, node) = oneshot::channel();
        let (thread_ends, ended) = watch::channel(());
        thread::Builder::new()
            .name("circlet-node".to_owned())
            .spawn(move || {
                // Dropped last of all, even by a panic.
                let _thread_ends = thread_ends;
                let runtime = runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(StartError::Thread);
                match runtime.and_then(|runtime| Ok((runtime, self.prepare(ended)?))) {
                    Ok((runtime, (node, events, driver))) => {
                        // If nobody waits any longer the handle is dropped, and the node leaves.
                        let _ = started.send(Ok((node, events)));
                        run(&runtime, driver);
                        // A name that is still being resolved may take long, and nobody wants
                        // it any more.
                        runtime.shutdown_background();
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            })
            .map_err(StartError::Thread)?;
        node.await.unwrap_or(Err(StartError::Died))
    }

    /// As [`NodeBuilder::start`], but the caller runs the node: it lives as long as the future,
    /// and goes without a farewell when that is dropped.
    ///
    /// The future is to be run on a tokio runtime of one thread (small messages stall on more),
    /// which many nodes may share. All their time is that of the runtime: with its clock paused,
    /// and an imitation of a network given to [`WebRtcTransport::with_sockets`] and
    /// [`NodeBuilder::dial`], hours pass in seconds. Only the time of day remains the system's.
    ///
    /// # Errors
    /// [`StartError`], saying what to do.
    pub fn build(
        self,
    ) -> Result<(Node, Events, impl Future<Output = ()> + Send + 'static), StartError> {
        let (running, ended) = watch::channel(());
        let (node, events, driver) = self.prepare(ended)?;
        let span = span(&driver);
        let drive = async move {
            // Dropped last of all.
            let _running = running;
            Box::pin(driver.run()).await;
        };
        Ok((node, events, drive.instrument(span)))
    }

    /// As many as in the default of [`Config::max_links`]: wanted by this node and by others,
    /// and some in transition.
    fn make_room_for_links(mut self) -> Self {
        let ring = self.config.ring_links.min(MAX_WANTED_LINKS);
        let long = self.config.long_links.min(MAX_WANTED_LINKS);
        self.config.max_links = self.config.max_links.max(4 * ring + 3 * long + 8);
        self
    }

    /// All that can fail, and what blocks: files are read here.
    fn prepare(self, ended: watch::Receiver<()>) -> Result<(Node, Events, Driver), StartError> {
        let trackers = self.check()?;
        let (identity, incarnation) = self.identity.open()?;
        let id = identity.node_id();
        let membership = Membership {
            name: self.name.unwrap_or_else(|| id.short()),
            identity,
            incarnation,
            kind: NodeKind::Native,
            topology: self.topology,
            hub: self.hub,
            // `check` allows some few.
            trackers: u16::try_from(trackers.len()).unwrap_or(u16::MAX),
            room: self.room,
        };
        let mut rng = StdRng::try_from_rng(&mut SysRng)
            .map_err(|error| StartError::Random(error.to_string()))?;
        let position = Position::of(&RoomId::open(&membership.room), &id);
        let shared = Arc::new(Shared::new(id, position));
        let (events_in, events) = events::channel(self.config.manual_ack);
        let (requests_in, requests) = mpsc::channel(REQUESTS);
        let config = Config {
            // What the core takes to be the application is the queue of events.
            manual_ack: true,
            ..self.config
        };
        let core = Core::new(config, membership, &mut rng, Timestamp::ZERO);
        let transport = self
            .transport
            .unwrap_or_else(|| Box::new(WebRtcTransport::new(self.webrtc)));
        let driver = Driver::new(
            core,
            Arc::clone(&shared),
            transport,
            self.dial.unwrap_or_else(|| Arc::new(Tcp)),
            trackers,
            requests,
            events_in,
        );
        let node = Node::new(shared, requests_in, ended);
        Ok((node, events, driver))
    }

    fn check(&self) -> Result<Vec<TrackerUrl>, StartError> {
        if !is_room_name(&self.room) {
            return Err(StartError::Room(self.room.clone()));
        }
        if let Some(name) = &self.name
            && (!(1..=MAX_NAME).contains(&name.len()) || name.chars().any(char::is_control))
        {
            return Err(StartError::Name(name.clone()));
        }
        if self.hub.is_some() && !self.topology.has_hub() {
            return Err(StartError::Hub(self.topology));
        }
        let list_len = self.config.list_len;
        for (setting, value, min, max) in [
            ("list_len", list_len, 1, MAX_WANTED_LINKS),
            ("ring_links", self.config.ring_links, 1, list_len),
            ("long_links", self.config.long_links, 0, MAX_WANTED_LINKS),
        ] {
            if !(min..=max).contains(&value) {
                return Err(StartError::Setting {
                    setting,
                    value,
                    min,
                    max,
                });
            }
        }
        if self.trackers.len() > MAX_TRACKERS {
            return Err(StartError::TooManyTrackers(self.trackers.len()));
        }
        let urls = self.trackers.iter().map(|url| url.parse());
        Ok(urls.collect::<Result<_, _>>()?)
    }
}

impl IdentitySource {
    fn open(self) -> Result<(Identity, Incarnation), IdentityError> {
        let file = match self {
            Self::Given(identity, incarnation) => {
                return Ok((*identity, incarnation.unwrap_or_else(unkept_incarnation)));
            }
            Self::File(path) => IdentityFile::new(path),
            Self::DataDir => IdentityFile::in_data_dir()?,
        };
        Ok((file.load_or_create()?, file.next_incarnation()?))
    }
}

fn run(runtime: &Runtime, driver: Driver) {
    let _span = span(&driver).entered();
    runtime.block_on(driver.run());
}

fn span(driver: &Driver) -> Span {
    info_span!("node", id = %driver.id().short())
}
