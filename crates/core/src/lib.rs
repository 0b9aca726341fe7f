//! The protocol of circlet: what a member of the overlay, and its tracker, do.
//!
//! There is no I/O here, no clock, no thread and no hash map. A *driver* brings these state
//! machines to life: one on tokio and WebRTC for native nodes, one in a discrete-event
//! simulation, one in a browser tab. A driver pumps; it decides nothing.
//!
//! # The driving contract
//!
//! [`node::Node`] and [`tracker::Tracker`] have the same five methods:
//!
//! | method | what it does |
//! | --- | --- |
//! | `handle(now, input)` | takes one thing that happened; a command that fails changes nothing |
//! | `handle_timeout(now)` | does what is due; calling it too early or too often does nothing |
//! | `poll_timeout()` | says when `handle_timeout` wants to be called, and why |
//! | `poll_output()` | gives the next thing to do; `None` when all is given |
//! | `snapshot()` | shows what it knows and holds |
//!
//! The rules for a driver:
//!
//! 1. After `new`, and after every `handle` and `handle_timeout`, drain `poll_output` to `None`,
//!    do each thing in order, then arm one timer for `poll_timeout`.
//! 2. `now` never goes backwards. Tell [`node::Input::WallClock`] first of all, and every minute
//!    or so: signals carry a date.
//! 3. A [`node::LinkId`] names one connection attempt and never comes again. Give events of a
//!    connection that has been closed or not, as they come: they change nothing.
//! 4. `LinkUp` comes before a link's first frame, `LinkDown` after its last one.
//! 5. Give `LinkWritable` back for the bytes of every frame that the network has taken: the node
//!    gives a link no more than [`Config::link_window`] at a time, control frames excepted.
//!
//! # A worked example
//!
//! A node without a tracker is a ring of one, and a message that goes round it is back at once.
//!
//! ```
//! use circlet_core::identity::{Identity, Incarnation};
//! use circlet_core::node::{Command, CommandId, Event, Input, Membership, Node, Output};
//! use circlet_core::wire::NodeKind;
//! use circlet_core::{Config, Timestamp, Topology};
//! use rand::{SeedableRng, rngs::Xoshiro256PlusPlus};
//!
//! fn drain(node: &mut Node) -> Vec<Event> {
//!     std::iter::from_fn(|| node.poll_output())
//!         .filter_map(|output| match output {
//!             Output::Event(event) => Some(event),
//!             // A driver opens links, sends frames and talks to trackers here.
//!             _ => None,
//!         })
//!         .collect()
//! }
//!
//! let membership = Membership {
//!     identity: Identity::from_seed(&[7; 32]),
//!     incarnation: Incarnation(1),
//!     room: "demo".into(),
//!     name: "ada".into(),
//!     kind: NodeKind::Native,
//!     topology: Topology::SmallWorld,
//!     hub: None,
//!     trackers: 0,
//! };
//! let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
//! let now = Timestamp::ZERO;
//! let mut node = Node::new(Config::default(), membership, &mut rng, now);
//! node.handle(now, Input::WallClock { unix_ms: 1_800_000_000_000 })?;
//! assert!(matches!(drain(&mut node)[..], [Event::Joined { members: 1, .. }, ..]));
//!
//! let circulate = Command::Circulate { id: CommandId(1), payload: "once round".into() };
//! node.handle(now, Input::Command(circulate))?;
//! assert!(matches!(drain(&mut node)[..], [Event::Circulated { count: 0, complete: true, .. }]));
//!
//! let (at, _why) = node.poll_timeout().expect("a ring is maintained even alone");
//! node.handle_timeout(at);
//! drain(&mut node);
//! # Ok::<(), circlet_core::node::InputError>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;

mod config;
pub mod identity;
pub mod node;
pub mod overlay;
#[cfg(feature = "planted-bugs")]
mod planted;
mod rate;
pub mod ring;
pub mod room;
mod time;
mod topology;
pub mod tracker;
pub mod wire;

pub use config::{Config, Routing};
#[cfg(feature = "planted-bugs")]
pub use planted::PlantedBug;
pub use rate::{Bucket, Rate};
pub use time::Timestamp;
pub use topology::{ParseTopologyError, Topology, Wanted};
