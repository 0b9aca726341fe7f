//! A ring of machines that stay connected over WebRTC: this crate runs one of its members.
//!
//! Members of a room find each other through a tracker, close a ring by identity, with mesh
//! shortcuts across it, and repair it by themselves, with or without the tracker. Any member can
//! send to any other; members pass messages on where there is no direct link.
//!
//! # Example
//!
//! With a tracker running on this machine (`circlet tracker`), two of these greet each other:
//!
//! ```no_run
//! use circlet_node::{Event, Node, NodeEvent};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (node, mut events) = Node::builder()
//!         .room("demo")
//!         .tracker("ws://127.0.0.1:7700")
//!         .name("ada")
//!         .identity_file("ada.pem")
//!         .start()
//!         .await?;
//!     println!("{} at {}", node.id(), node.position());
//!
//!     while let Some(event) = events.next().await {
//!         match event {
//!             NodeEvent::Overlay(Event::PeerJoined { peer, name, .. }) => {
//!                 println!("{name} is here");
//!                 let delivery = node.send(peer, format!("hello, {name}")).await?;
//!                 tokio::spawn(async move { println!("greeting {name}: {}", delivery.await) });
//!             }
//!             NodeEvent::Message(message) => {
//!                 let text = String::from_utf8_lossy(&message.payload);
//!                 println!("{}: {text}", message.from.short());
//!                 break;
//!             }
//!             _ => {}
//!         }
//!     }
//!     node.leave().await;
//!     Ok(())
//! }
//! ```
//!
//! # How it works
//!
//! [`NodeBuilder::start`] gives a [`Node`], the handle to send with, and [`Events`], a stream of
//! what happens. The node itself runs on a thread of its own, with a tokio runtime of one
//! thread, because WebRTC stalls on more (measured); so the handle can be used from whatever
//! threads and async runtime the application has.
//!
//! | to send | promise | tells |
//! | --- | --- | --- |
//! | [`Node::send`] | exactly once in effect, in order per sender | a [`Delivery`], which ends in exactly one [`Outcome`] |
//! | [`Node::send_datagram`] | at most once | nothing |
//! | [`Node::broadcast`] | every member that stays connected gets it once, in order per sender | nothing |
//! | [`Node::circulate`] | goes once round the ring, member by member | who saw it, as [`Circulation`] |
//!
//! Everything is bounded. A call that sends waits while too much waits before it. An application
//! that does not read its [`Events`] holds up those who send to it reliably, but not its own
//! node, which keeps its place in the ring and passes on what is for others; other messages are
//! dropped at last, and [`NodeEvent::Missed`] says how many. "Delivered" means that a message
//! lies in the application's queue of events or has been taken from there, unless
//! [`Config::manual_ack`] is set: then that [`Node::acknowledge`] was called for it.
//!
//! A node ends by [`Node::leave`], by dropping all its handles, or because a later session of
//! its identity has taken over ([`Event::Superseded`]) or nobody wants it
//! ([`Event::Refused`]). Its last event says which; after it the stream ends, and all calls fail.
//!
//! # Identity
//!
//! A node is its Ed25519 key. [`IdentityFile`] says where it lies and what can go wrong. Two
//! nodes with one identity cannot be in a room: the one that started later wins.

mod builder;
mod commands;
mod dial;
mod driver;
mod epoch;
mod events;
mod handle;
mod identity;
mod timer;
mod tracker_client;
pub mod transport;

pub use bytes::Bytes;
pub use circlet_core::identity::{Identity, Incarnation, NodeId, ParseNodeIdError};
pub use circlet_core::node::{
    Class, Counters, Event, FailReason, LinkId, Message, Neighbours, Snapshot, TrackerId,
};
pub use circlet_core::ring::Position;
pub use circlet_core::wire::{
    LinkReport, LinkState, MAX_CIRCULATED, MAX_NAME, MAX_PAYLOAD, NodeKind, RejectReason,
};
pub use circlet_core::{Config, ParseTopologyError, Topology};

pub use builder::{NodeBuilder, StartError};
pub use commands::{Circulation, Delivery, Outcome};
pub use dial::{Dial, Dialling, Stream};
pub use events::{Events, Missed, NodeEvent};
pub use handle::{DriverCounters, Ended, Node, SendError};
pub use identity::{IdentityError, IdentityFile};
pub use tracker_client::{TrackerUrl, TrackerUrlError};
