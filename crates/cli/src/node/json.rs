//! `circlet node --json`: commands on stdin, events on stdout.

use std::sync::Arc;

use circlet_core::node::Event;
use circlet_node::{Delivery, Events, Node, NodeEvent, Outcome, SendError, TrackerUrl};
use tokio::sync::{OwnedSemaphorePermit as Permit, Semaphore, mpsc};
use tokio::time::timeout;
use tracing::debug;

use super::input::{self, Line};
use super::protocol::{self, Report, Request, SendClass, StatusReport};
use super::{FINISHING, converse, say};
use crate::args::NodeArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::signals;

/// Sends whose outcome is not told yet; beyond that commands wait.
const OPEN_SENDS: u32 = 16_384;

/// Runs until the node has ended, stdin has, or a signal comes.
pub async fn run(args: &NodeArgs, node: Node, events: Events) -> Result<(), Failure> {
    let output = Output::stdout().map_err(Failure::failed)?;
    let lines = input::stdin().map_err(Failure::failed)?;
    serve(args, node, events, output, lines, signals::end()).await
}

/// Runs until the node has ended, `lines` have, or it is told to `stop`.
pub async fn serve(
    args: &NodeArgs,
    node: Node,
    events: Events,
    output: Output,
    lines: mpsc::Receiver<Line>,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let output = Arc::new(output);
    let ready = Report::Ready {
        node: node.id(),
        position: node.position().to_string(),
        room: args.room.clone(),
    };
    say(&output, ready.to_line()).await;

    let trackers = args.tracker.clone();
    let commands = Commands {
        node: node.clone(),
        output: Arc::clone(&output),
        open: Arc::new(Semaphore::new(OPEN_SENDS as usize)),
    };
    let line = |event| report(event, &trackers).map(|report| report.to_line());
    let outcome = converse(&node, events, &output, line, commands.obey(lines), stop).await;
    commands.finish().await;
    drop(commands);
    if let Some(output) = Arc::into_inner(output) {
        output.finish(FINISHING).await;
    }
    outcome
}

/// Does what the lines of stdin say.
struct Commands {
    node: Node,
    output: Arc<Output>,
    /// A permit for each send whose outcome is not told yet.
    open: Arc<Semaphore>,
}

impl Commands {
    /// Ends with `leave`, or with stdin.
    async fn obey(&self, mut lines: mpsc::Receiver<Line>) {
        while let Some(line) = lines.recv().await {
            let request = line
                .map_err(|error| error.text().to_owned())
                .and_then(|line| Request::from_line(&line));
            let done = match request {
                Ok(Request::Leave) => break,
                Ok(request) => self.handle(request).await,
                Err(message) => Err(message),
            };
            if let Err(message) = done {
                self.tell(Report::Error { message }).await;
            }
        }
    }

    /// # Errors
    /// What is wrong with the command, for people.
    async fn handle(&self, request: Request) -> Result<(), String> {
        match request {
            Request::Send {
                id,
                to,
                content,
                class,
            } => {
                let payload = content.into_payload()?;
                match class {
                    SendClass::Reliable => {
                        let permit = self.permit().await?;
                        match self.node.send(to, payload).await {
                            Ok(delivery) => self.tell_outcome(id, delivery, permit),
                            Err(error) => self.refuse(id, error).await,
                        }
                    }
                    SendClass::Datagram => {
                        let sent = self.node.send_datagram(to, payload).await;
                        self.tell_sent(id, sent).await;
                    }
                }
            }
            Request::Broadcast { id, content } => {
                let sent = self.node.broadcast(content.into_payload()?).await;
                self.tell_sent(id, sent).await;
            }
            Request::Circulate { id, content } => {
                let payload = content.into_payload()?;
                let permit = self.permit().await?;
                let (node, output) = (self.node.clone(), Arc::clone(&self.output));
                tokio::spawn(async move {
                    let report = match node.circulate(payload).await {
                        Ok(circulation) => Report::Circulated {
                            id,
                            seen: circulation.seen,
                            count: circulation.count,
                            complete: circulation.complete,
                        },
                        Err(error) => failed(id, error),
                    };
                    say(&output, report.to_line()).await;
                    drop(permit);
                });
            }
            Request::Ack { from, seq } => {
                let acknowledged = self.node.acknowledge(from, seq).await;
                acknowledged.map_err(|ended| ended.to_string())?;
            }
            Request::Status { id } => {
                let snapshot = self.node.snapshot().await;
                let snapshot = snapshot.map_err(|ended| ended.to_string())?;
                let status = StatusReport::new(id, snapshot);
                self.tell(Report::Status(Box::new(status))).await;
            }
            Request::Leave => {}
        }
        Ok(())
    }

    /// Waits until the outcomes of all sends are told, or cannot be.
    async fn finish(&self) {
        let _ = timeout(FINISHING, self.open.acquire_many(OPEN_SENDS)).await;
    }

    fn tell_outcome(&self, id: Option<String>, delivery: Delivery, permit: Permit) {
        let output = Arc::clone(&self.output);
        tokio::spawn(async move {
            let report = match delivery.await {
                Outcome::Delivered => Report::Delivered { id },
                Outcome::Expired => Report::Expired { id },
                Outcome::Failed(reason) => Report::Failed {
                    id,
                    reason: reason.text().to_owned(),
                },
            };
            say(&output, report.to_line()).await;
            drop(permit);
        });
    }

    async fn tell_sent(&self, id: Option<String>, sent: Result<(), SendError>) {
        match sent {
            Ok(()) => self.tell(Report::Sent { id }).await,
            Err(error) => self.refuse(id, error).await,
        }
    }

    async fn refuse(&self, id: Option<String>, error: SendError) {
        self.tell(failed(id, error)).await;
    }

    async fn tell(&self, report: Report) {
        say(&self.output, report.to_line()).await;
    }

    async fn permit(&self) -> Result<Permit, String> {
        let permit = Arc::clone(&self.open).acquire_owned().await;
        permit.map_err(|error| error.to_string())
    }
}

fn failed(id: Option<String>, error: SendError) -> Report {
    Report::Failed {
        id,
        reason: error.to_string(),
    }
}

/// The line of an event; some are for the log only.
fn report(event: NodeEvent, trackers: &[TrackerUrl]) -> Option<Report> {
    let event = match event {
        NodeEvent::Message(message) => return Some(protocol::message(&message)),
        NodeEvent::Overlay(event) => event,
        NodeEvent::TrackerLost { url, reason } => {
            return Some(Report::TrackerLost { url, reason });
        }
        NodeEvent::Missed(missed) => {
            return Some(Report::Missed {
                datagrams: missed.datagrams,
                broadcasts: missed.broadcasts,
                others: missed.others,
            });
        }
        NodeEvent::Connection { peer, state, .. } => {
            debug!(peer = %peer.short(), kind = state.kind(), state = state.name(), "connection");
            return None;
        }
        other => {
            debug!(?other, "no line for this event");
            return None;
        }
    };
    match event {
        Event::Joined {
            neighbours,
            members,
        } => Some(Report::Joined {
            successor: neighbours.successor,
            predecessor: neighbours.predecessor,
            members,
        }),
        Event::Neighbours(neighbours) => Some(Report::Neighbours(neighbours.into())),
        Event::PeerJoined { peer, name, kind } => Some(Report::Peer {
            node: peer,
            name,
            kind: Some(kind),
            joined: true,
        }),
        Event::PeerLeft { peer, name } => Some(Report::Peer {
            node: peer,
            name,
            kind: None,
            joined: false,
        }),
        Event::Link { peer, state } => Some(Report::Link { peer, state }),
        Event::Tracker { tracker, connected } => Some(Report::Tracker {
            url: trackers.get(usize::from(tracker.0))?.to_string(),
            connected,
        }),
        Event::ClockSkew { skew_ms } => Some(Report::ClockSkew { skew_ms }),
        Event::Superseded { by } => Some(Report::Superseded { by }),
        Event::Refused { message } => Some(Report::Refused { message }),
        Event::Left => Some(Report::Left),
        Event::Message(message) => Some(protocol::message(&message)),
        Event::Signalling { peer, signal, sent } => {
            debug!(peer = %peer.short(), signal, sent, "signal");
            None
        }
        Event::Rejected { peer, reason } => {
            debug!(peer = %peer.short(), ?reason, "offer turned down");
            None
        }
        // The outcomes of sends come from the calls that sent.
        Event::Delivered { .. }
        | Event::Expired { .. }
        | Event::Failed { .. }
        | Event::Sent { .. }
        | Event::Circulated { .. } => None,
    }
}
