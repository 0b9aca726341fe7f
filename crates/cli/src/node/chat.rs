//! `circlet node` for people: a chat on a terminal, and a log of events for a service.

use std::cell::RefCell;
use std::collections::BTreeMap;

use circlet_core::identity::NodeId;
use circlet_core::node::{Class, Event, Message};
use circlet_node::{Circulation, Delivery, Events, Node, NodeEvent, Outcome};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use super::input::{self, Line};
use super::{FINISHING, converse, editor, say};
use crate::args::NodeArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::signals;

/// Messages whose outcome is not known yet; beyond that nothing more can be typed.
const OPEN_SENDS: usize = 256;

const HELP: &str = "\
TEXT              say it to all
/to PEER TEXT     say it to one: a name, or the first characters of an id
/ring TEXT        send it once round the ring and see who saw it
/peers            who is here
/quit             leave";

/// A chat on the terminal that stdin is; `editing` if stdout is it too.
pub async fn run(
    args: &NodeArgs,
    node: Node,
    events: Events,
    editing: bool,
) -> Result<(), Failure> {
    // First: a signal is to end the chat, not the process while the terminal is changed. The editor
    // also has a handler of its own, and puts back the one that it found.
    let stop = signals::end();
    let edited = if editing {
        editor::start().map_err(Failure::failed)?
    } else {
        None
    };
    // Whatever ends the chat: the shell gets its terminal back as it was.
    let (output, lines, _terminal) = match edited {
        Some((output, lines, terminal)) => (output, lines, Some(terminal)),
        None => (
            Output::stdout().map_err(Failure::failed)?,
            input::stdin().map_err(Failure::failed)?,
            None,
        ),
    };
    let chat = Chat::new(args, &node);
    say(&output, chat.greeting(&args.room)).await;
    say(&output, "/help says what can be typed".to_owned()).await;
    let chat = RefCell::new(chat);
    let outcome = converse(
        &node,
        events,
        &output,
        |event| chat.borrow_mut().on_event(event),
        obey(&chat, &node, &output, lines),
        stop,
    )
    .await;
    output.finish(FINISHING).await;
    outcome
}

/// Events as lines, for a log; stdin is not read.
pub async fn serve(args: &NodeArgs, node: Node, events: Events) -> Result<(), Failure> {
    let stop = signals::end();
    let output = Output::stdout().map_err(Failure::failed)?;
    let mut chat = Chat::new(args, &node);
    say(&output, chat.greeting(&args.room)).await;
    let outcome = converse(
        &node,
        events,
        &output,
        |event| chat.on_event(event),
        std::future::pending(),
        stop,
    )
    .await;
    output.finish(FINISHING).await;
    outcome
}

/// Does what is typed, until the end. What becomes of a message is told when it is known; more
/// can be typed meanwhile.
async fn obey(chat: &RefCell<Chat>, node: &Node, output: &Output, mut lines: mpsc::Receiver<Line>) {
    let mut answers = FuturesUnordered::new();
    loop {
        let line = tokio::select! {
            line = lines.recv(), if answers.len() < OPEN_SENDS => line,
            Some(answer) = answers.next() => {
                if let Some(answer) = answer {
                    say(output, answer).await;
                }
                continue;
            }
        };
        let Some(line) = line else { break };
        let input = match line {
            Ok(line) => chat.borrow().understand(&line),
            Err(error) => Err(error.text().to_owned()),
        };
        let answer = match input {
            Ok(Input::Nothing) => None,
            Ok(Input::Quit) => break,
            Ok(Input::Help) => Some(HELP.to_owned()),
            Ok(Input::Peers) => Some(chat.borrow().peers()),
            Ok(Input::All(text)) => node.broadcast(text).await.err().map(|e| e.to_string()),
            Ok(Input::One(to, text)) => match node.send(to, text).await {
                Ok(delivery) => {
                    answers.push(one_answer(chat, to, delivery).boxed_local());
                    None
                }
                Err(error) => Some(error.to_string()),
            },
            Ok(Input::Ring(text)) => {
                answers.push(ring_answer(chat, node, text).boxed_local());
                None
            }
            Err(mistake) => Some(mistake),
        };
        if let Some(answer) = answer {
            say(output, answer).await;
        }
    }
}

/// What to say of a message to one; nothing if all is well.
async fn one_answer(chat: &RefCell<Chat>, to: NodeId, delivery: Delivery) -> Option<String> {
    match delivery.await {
        Outcome::Delivered => None,
        outcome => Some(format!("to {}: {outcome}", chat.borrow().name(to))),
    }
}

/// Who saw a message that went round the ring.
async fn ring_answer(chat: &RefCell<Chat>, node: &Node, text: String) -> Option<String> {
    Some(match node.circulate(text).await {
        Ok(Circulation {
            seen,
            count,
            complete,
        }) => chat.borrow().seen(&seen, count, complete),
        Err(error) => error.to_string(),
    })
}

/// What somebody typed.
#[derive(Debug, PartialEq, Eq)]
enum Input {
    Nothing,
    All(String),
    One(NodeId, String),
    Ring(String),
    Peers,
    Help,
    Quit,
}

/// Who is here.
struct Chat {
    me: NodeId,
    my_name: String,
    names: BTreeMap<NodeId, String>,
}

impl Chat {
    fn new(args: &NodeArgs, node: &Node) -> Self {
        let me = node.id();
        Self {
            me,
            my_name: args.name.clone().unwrap_or_else(|| me.short()),
            names: BTreeMap::new(),
        }
    }

    fn greeting(&self, room: &str) -> String {
        let (name, id) = (&self.my_name, self.me);
        format!("You are {name} in room {room}. Your id: {id}")
    }

    /// What a line that was typed means.
    ///
    /// # Errors
    /// What is wrong with it.
    fn understand(&self, line: &str) -> Result<Input, String> {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim_start();
        match word {
            "" => Ok(Input::Nothing),
            "/quit" => Ok(Input::Quit),
            "/help" => Ok(Input::Help),
            "/peers" => Ok(Input::Peers),
            "/ring" if rest.is_empty() => Err("/ring TEXT".to_owned()),
            "/ring" => Ok(Input::Ring(rest.to_owned())),
            "/to" => match rest.split_once(char::is_whitespace) {
                Some((peer, text)) => Ok(Input::One(self.find(peer)?, text.trim().to_owned())),
                None => Err("/to PEER TEXT".to_owned()),
            },
            _ if word.starts_with('/') => Err(format!("there is no {word}; try /help")),
            _ => Ok(Input::All(line.to_owned())),
        }
    }

    /// The member with this name, else the one whose id begins so.
    fn find(&self, peer: &str) -> Result<NodeId, String> {
        let one = |found: Vec<NodeId>| match found[..] {
            [] => None,
            [only] => Some(Ok(only)),
            _ => Some(Err(format!("{peer} may be several; take more of the id"))),
        };
        let all = || self.names.iter();
        let named = all().filter(|(_, name)| *name == peer);
        let begins = all().filter(|(id, _)| id.to_string().starts_with(peer));
        one(named.map(|(id, _)| *id).collect())
            .or_else(|| one(begins.map(|(id, _)| *id).collect()))
            .unwrap_or_else(|| Err(format!("{peer} is not here; /peers says who is")))
    }

    fn name(&self, id: NodeId) -> String {
        if id == self.me {
            return self.my_name.clone();
        }
        self.names.get(&id).cloned().unwrap_or_else(|| id.short())
    }

    fn peers(&self) -> String {
        if self.names.is_empty() {
            return "nobody else is here".to_owned();
        }
        let lines: Vec<String> = self
            .names
            .iter()
            .map(|(id, name)| format!("{}  {name}", id.short()))
            .collect();
        lines.join("\n")
    }

    fn seen(&self, seen: &[NodeId], count: u64, complete: bool) -> String {
        if count == 0 && complete {
            return "nobody else is on the ring".to_owned();
        }
        let names: Vec<String> = seen.iter().map(|&id| self.name(id)).collect();
        let unnamed = count.saturating_sub(seen.len() as u64);
        let more = if unnamed > 0 {
            format!(" and {unnamed} more")
        } else {
            String::new()
        };
        let end = if complete {
            "it came back"
        } else {
            "it did not come back in time"
        };
        format!("seen by {}{more}; {end}", names.join(", "))
    }

    /// The line that tells an event; most are not worth one.
    fn on_event(&mut self, event: NodeEvent) -> Option<String> {
        let event = match event {
            NodeEvent::Message(message) => return Some(self.on_message(&message)),
            NodeEvent::TrackerLost { url, reason } => {
                return Some(format!("* tracker {url}: {}", printable(&reason)));
            }
            NodeEvent::Missed(missed) => {
                let lost = missed.datagrams + missed.broadcasts;
                return Some(format!(
                    "* {lost} messages were dropped: too many at a time"
                ));
            }
            NodeEvent::Overlay(event) => event,
            _ => return None,
        };
        match event {
            Event::Joined { members, .. } => Some(format!("* joined; {members} here")),
            Event::PeerJoined { peer, name, .. } => {
                let name = printable(&name);
                // A new session of somebody who is here is no news.
                let before = self.names.insert(peer, name.clone());
                (before.as_ref() != Some(&name)).then(|| format!("* {name} is here"))
            }
            Event::PeerLeft { peer, name } => {
                self.names.remove(&peer);
                Some(format!("* {} has left", printable(&name)))
            }
            Event::ClockSkew { skew_ms } => Some(format!(
                "* this clock and the tracker's differ by {} s; set it right",
                skew_ms / 1000
            )),
            Event::Left => Some("* left".to_owned()),
            _ => None,
        }
    }

    fn on_message(&self, message: &Message) -> String {
        let name = self.name(message.from);
        let text = printable(&String::from_utf8_lossy(&message.payload));
        match message.class {
            Class::Broadcast => format!("{name}: {text}"),
            Class::Circulate => format!("{name} round the ring: {text}"),
            Class::Reliable | Class::Datagram => format!("{name} to you: {text}"),
        }
    }
}

/// `text` without what could do something to the terminal.
fn printable(text: &str) -> String {
    let show = |c: char| {
        if c.is_control() && c != '\t' {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use circlet_core::wire::NodeKind;

    fn chat() -> (Chat, [NodeId; 3]) {
        let ids = [1, 2, 3].map(|byte| NodeId::from_bytes([byte; 32]));
        let mut chat = Chat {
            me: NodeId::from_bytes([0; 32]),
            my_name: "me".to_owned(),
            names: BTreeMap::new(),
        };
        for (id, name) in ids.iter().zip(["ada", "bob", "bob"]) {
            chat.on_event(NodeEvent::Overlay(Event::PeerJoined {
                peer: *id,
                name: name.to_owned(),
                kind: NodeKind::Native,
            }));
        }
        (chat, ids)
    }

    #[test]
    fn lines_are_understood() {
        let (chat, [ada, bob, _]) = chat();
        let one = |id, text: &str| Ok(Input::One(id, text.to_owned()));
        for (line, input) in [
            ("  ", Ok(Input::Nothing)),
            ("hello you", Ok(Input::All("hello you".to_owned()))),
            ("/to ada hi  there", one(ada, "hi  there")),
            (&format!("/to {bob} hi"), one(bob, "hi")),
            (&format!("/to {} hi", bob.short()), one(bob, "hi")),
            ("/ring round", Ok(Input::Ring("round".to_owned()))),
            ("/peers", Ok(Input::Peers)),
            ("/help", Ok(Input::Help)),
            ("/quit", Ok(Input::Quit)),
        ] {
            assert_eq!(chat.understand(line), input, "{line}");
        }
        for (line, error) in [
            ("/to ada", "/to PEER TEXT"),
            ("/to eve hi", "eve is not here"),
            ("/to bob hi", "may be several"),
            ("/ring", "/ring TEXT"),
            ("/fly", "try /help"),
        ] {
            let mistake = chat.understand(line).unwrap_err();
            assert!(mistake.contains(error), "{line}: {mistake}");
        }
    }

    #[test]
    fn what_others_send_cannot_reach_the_terminal() {
        let (chat, [ada, ..]) = chat();
        let line = chat.on_message(&Message {
            from: ada,
            incarnation: circlet_core::identity::Incarnation(1),
            class: Class::Broadcast,
            sequence: 1,
            hops: 1,
            payload: "\u{1b}[2Jhi\r\n\u{9b}x".into(),
        });
        assert_eq!(line, "ada: \u{fffd}[2Jhi\u{fffd}\u{fffd}\u{fffd}x");
    }

    #[test]
    fn who_saw_it_is_told_by_name() {
        let (chat, [ada, bob, _]) = chat();
        assert_eq!(chat.seen(&[], 0, true), "nobody else is on the ring");
        let stranger = NodeId::from_bytes([9; 32]);
        assert_eq!(
            chat.seen(&[bob, ada], 2, true),
            "seen by bob, ada; it came back"
        );
        assert_eq!(
            chat.seen(&[stranger], 3, false),
            format!(
                "seen by {} and 2 more; it did not come back in time",
                stranger.short()
            )
        );
    }
}
