//! Measures how long a message takes to another member and back, by whatever way it goes.
//!
//!     cargo run --release --example ping                 # prints its NodeId and answers
//!     cargo run --release --example ping -- NODEID       # in another terminal
//!
//! needs a tracker on this machine: `circlet tracker`.

use std::error::Error;
use std::time::Instant;

use circlet_node::{Event, Identity, Node, NodeEvent, NodeId};

const ROUNDS: usize = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let target = match std::env::args().nth(1) {
        Some(text) => Some(text.parse::<NodeId>()?),
        None => None,
    };
    let (node, mut events) = Node::builder()
        .room("ping")
        .tracker("ws://127.0.0.1:7700")
        // A new identity each time: nobody needs to know this node again.
        .identity(Identity::from_seed(&rand::random()))
        .start()
        .await?;
    println!("{}", node.id());

    let mut sent = Instant::now();
    let mut round_trips = Vec::with_capacity(ROUNDS);
    while let Some(event) = events.next().await {
        match (event, target) {
            (NodeEvent::Overlay(Event::PeerJoined { peer, .. }), Some(target))
                if peer == target && round_trips.is_empty() =>
            {
                sent = Instant::now();
                node.send_datagram(target, "ping").await?;
            }
            (NodeEvent::Message(message), Some(target)) if message.from == target => {
                round_trips.push(sent.elapsed());
                if round_trips.len() == ROUNDS {
                    break;
                }
                sent = Instant::now();
                node.send_datagram(target, "ping").await?;
            }
            (NodeEvent::Message(message), None) => {
                node.send_datagram(message.from, message.payload).await?;
            }
            _ => {}
        }
    }
    node.leave().await;

    round_trips.sort();
    if let [.., slowest] = round_trips[..] {
        let median = round_trips[round_trips.len() / 2];
        println!("median {median:?}, slowest {slowest:?}");
    }
    Ok(())
}
