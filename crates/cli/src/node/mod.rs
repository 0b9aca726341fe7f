//! `circlet node`: a member of a room, for people or for scripts.

mod chat;
mod editor;
pub mod input;
pub mod json;
pub mod protocol;

use std::future::Future;
use std::io::{IsTerminal, stdin, stdout};
use std::pin::pin;
use std::time::Duration;

use circlet_core::node::Event;
use circlet_node::{Config, Events, Node, NodeBuilder, NodeEvent, StartError};
use tokio::time::timeout;

use crate::args::NodeArgs;
use crate::failure::Failure;
use crate::output::{Output, complain};

/// Time to leave the room: the node takes 3 s at most, and its last events have to be told.
const LEAVING: Duration = Duration::from_secs(4);

/// Time for the last lines to be written.
const FINISHING: Duration = Duration::from_secs(1);

/// Runs the node until it ends or is told to.
pub async fn run(args: NodeArgs, json: bool) -> Result<(), Failure> {
    let started = builder(&args, json).start().await;
    let (node, events) = started.map_err(cannot_start)?;
    if args.tracker.is_empty() {
        complain("no tracker is named, so this is a ring of one; name one with --tracker URL");
    }
    if json {
        json::run(&args, node, events).await
    } else if stdin().is_terminal() {
        chat::run(&args, node, events, stdout().is_terminal()).await
    } else {
        chat::serve(&args, node, events).await
    }
}

/// A node as the flags say.
pub fn builder(args: &NodeArgs, json: bool) -> NodeBuilder {
    let config = Config {
        ring_links: args.ring_links,
        long_links: args.long_links,
        may_be_hub: args.may_be_hub,
        // Nobody else could acknowledge.
        manual_ack: args.manual_ack && json,
        ..Config::default()
    };
    let mut builder = Node::builder()
        .room(&args.room)
        .topology(args.topology.topology)
        .config(config);
    if let Some(hub) = args.hub {
        builder = builder.hub(hub);
    }
    for tracker in &args.tracker {
        builder = builder.tracker(tracker.as_str());
    }
    for server in &args.ice {
        builder = builder.ice_server(server);
    }
    if let Some(name) = &args.name {
        builder = builder.name(name);
    }
    if let Some(path) = &args.identity.identity {
        builder = builder.identity_file(path);
    }
    builder
}

/// What to say if it does not start.
pub fn cannot_start(error: StartError) -> Failure {
    match error {
        StartError::Identity(_)
        | StartError::Random(_)
        | StartError::Thread(_)
        | StartError::Died => Failure::failed(error),
        error => Failure::Usage(error.to_string()),
    }
}

/// How a node ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ending {
    /// It left the room.
    Left,
    /// A later session of its identity has taken over.
    Superseded,
    /// It cannot be in the room, for this reason.
    Refused(String),
}

/// Tells the node's events and does what is asked of it, until it has ended, `asked` or `stop`
/// ends or nobody reads any longer; then it leaves.
///
/// `line` makes the line of an event, if it is worth one.
async fn converse(
    node: &Node,
    events: Events,
    output: &Output,
    line: impl FnMut(NodeEvent) -> Option<String>,
    asked: impl Future<Output = ()>,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let mut told = pin!(tell(events, output, line));
    let ending = tokio::select! {
        ending = &mut told => Some(ending),
        () = asked => None,
        () = output.closed() => None,
        () = stop => None,
    };
    let ending = match ending {
        Some(ending) => ending,
        None => {
            let leave = async { tokio::join!(node.leave(), told).1 };
            // An output that takes nothing is not waited for.
            timeout(LEAVING, leave).await.unwrap_or(Ending::Left)
        }
    };
    match ending {
        Ending::Left => Ok(()),
        Ending::Superseded => Err(Failure::failed(
            "superseded: a later session of this identity has taken over; give each node an \
             --identity of its own",
        )),
        Ending::Refused(why) => Err(Failure::Failed(why)),
    }
}

async fn tell(
    mut events: Events,
    output: &Output,
    mut line: impl FnMut(NodeEvent) -> Option<String>,
) -> Ending {
    let mut ending = Ending::Left;
    loop {
        // Room first: what has no room stays with the node, which knows what to do about it.
        let room = output.room().await;
        let Some(event) = events.next().await else {
            return ending;
        };
        match &event {
            NodeEvent::Overlay(Event::Superseded { .. }) => ending = Ending::Superseded,
            NodeEvent::Overlay(Event::Refused { message }) => {
                ending = Ending::Refused(message.clone());
            }
            _ => {}
        }
        // Where nobody reads, the end is still to be noticed.
        if let (Some(line), Ok(room)) = (line(event), room) {
            room.line(line);
        }
    }
}

/// Hands one line over; what cannot be handed over any more is not.
async fn say(output: &Output, line: String) {
    if let Ok(room) = output.room().await {
        room.line(line);
    }
}
