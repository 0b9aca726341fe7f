//! A chat room: what is typed goes to everybody.
//!
//!     cargo run --example chat -- ada            # and in another terminal
//!     cargo run --example chat -- bob
//!
//! needs a tracker on this machine: `circlet tracker`. Each name keeps its identity in a file
//! of the working directory.

use std::collections::BTreeMap;
use std::error::Error;

use circlet_node::{Event, Node, NodeEvent};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "ada".to_owned());
    let (node, mut events) = Node::builder()
        .room("chat")
        .tracker("ws://127.0.0.1:7700")
        .identity_file(format!("{name}.pem"))
        .name(name)
        .start()
        .await?;

    let mut names = BTreeMap::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => node.broadcast(line).await?,
                None => break,
            },
            event = events.next() => match event {
                Some(NodeEvent::Message(message)) => {
                    let from = message.from.short();
                    let name = names.get(&message.from).unwrap_or(&from);
                    println!("{name}: {}", String::from_utf8_lossy(&message.payload));
                }
                Some(NodeEvent::Overlay(Event::PeerJoined { peer, name, .. })) => {
                    println!("* {name} is here");
                    names.insert(peer, name);
                }
                Some(NodeEvent::Overlay(Event::PeerLeft { name, .. })) => println!("* {name} left"),
                Some(NodeEvent::TrackerLost { url, reason }) => eprintln!("{url}: {reason}"),
                Some(_) => {}
                None => break,
            },
        }
    }
    node.leave().await;
    Ok(())
}
