//! The tracker as a server: WebSocket signalling, the table of all nodes over HTTP, metrics.
//!
//! The protocol is [`circlet_core::tracker`]; this crate drives it. One task owns the state
//! machine and everything it decides; each connection has a task of its own that reads, parses
//! and writes. All queues are bounded, and a client that does not read what it is sent is cut
//! off.
//!
//! On one port:
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /ws` with the subprotocol `circlet.v1` | a WebSocket: JSON text messages ([`TrackerMessage`]) |
//! | `GET /healthz` | `ok` |
//! | `GET /api/rooms/ROOM` | the room's table as JSON |
//! | `GET /metrics` | counts and gauges in the text format of Prometheus |
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use circlet_tracker::Tracker;
//!
//! let tracker = Tracker::builder().bind("127.0.0.1:0".parse()?).serve().await?;
//! println!("nodes may enter at {}", tracker.url());
//! tracker.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`TrackerMessage`]: circlet_core::wire::TrackerMessage

mod addresses;
mod connection;
mod error;
mod head;
mod http;
mod hub;
mod limits;
mod metrics;
mod outbox;
mod server;
mod session;
mod socket;
mod table;
mod tls;

pub use circlet_core::tracker::TrackerConfig;
pub use error::{ServeError, TlsError};
pub use limits::Limits;
pub use server::{Builder, Tracker};
