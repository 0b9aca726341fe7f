//! Trackers that mean no good, each beside an honest one: no link to a wrong peer, no crash, and
//! the ring closes by way of the honest one.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use circlet_core::identity::Incarnation;
use circlet_core::wire::{
    Assignment, ErrorCode, LinkState, MAX_TRACKER_MESSAGE, SUBPROTOCOL, Signal, TrackerMessage,
    VERSION,
};
use circlet_node::transport::{MemoryTransport, Transport, WebRtcConfig, WebRtcTransport};
use circlet_node::{NodeId, Outcome};
use circlet_tracker::Tracker;
use common::{Member, PATIENCE, builder, identity, tracker, until, until_ring_is_closed};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, connect_async};

/// Who a rewriting tracker would like to be.
const IMPOSTOR: u8 = 99;

/// What a hostile tracker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Changes every signal that it passes on: fingerprint, candidates, names, signature.
    Rewriting,
    /// Passes every signal on thrice, and older ones again and again, to anybody.
    Replaying,
    /// Tells everybody that nobody else is here, and passes nothing on.
    Isolating,
    /// Says what no tracker says, in another way to each who comes.
    Nonsensical,
    /// Accepts connections, and that is all.
    Mute,
    /// Asks who is there, and says nothing to the answer.
    Forgetful,
    /// Honest but slow, so that what the others say comes first.
    Late,
}

/// A running hostile tracker.
struct Hostile {
    url: String,
    /// Lies told so far.
    lies: Arc<AtomicUsize>,
    /// What it pretends to be.
    _front: Tracker,
}

impl Hostile {
    async fn start(kind: Kind) -> Self {
        let front = tracker().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let liar = Arc::new(Liar {
            kind,
            front: front.url(),
            lies: Arc::default(),
            heard: Mutex::default(),
        });
        let lies = Arc::clone(&liar.lies);
        tokio::spawn(async move {
            let mut mute = Vec::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                if kind == Kind::Mute {
                    mute.push(stream);
                    continue;
                }
                let liar = Arc::clone(&liar);
                // Whoever goes, goes.
                tokio::spawn(async move { liar.serve(stream, number).await });
            }
        });
        Self {
            url,
            lies,
            _front: front,
        }
    }

    fn lies(&self) -> usize {
        self.lies.load(Ordering::Relaxed)
    }
}

struct Liar {
    kind: Kind,
    /// An honest tracker, which it stands before.
    front: String,
    lies: Arc<AtomicUsize>,
    /// Every signal that ever passed, up to a bound.
    heard: Mutex<Vec<TrackerMessage>>,
}

type Socket = WebSocketStream<TcpStream>;

impl Liar {
    #[expect(
        clippy::result_large_err,
        reason = "the signature is tungstenite's callback's"
    )]
    async fn serve(&self, stream: TcpStream, number: usize) -> Option<()> {
        let agree = |_: &Request, mut response: Response| {
            let chosen = HeaderValue::from_static(SUBPROTOCOL);
            response
                .headers_mut()
                .insert("sec-websocket-protocol", chosen);
            Ok(response)
        };
        let mut node = accept_hdr_async(stream, agree).await.ok()?;
        match self.kind {
            Kind::Forgetful => {
                say(&mut node, &challenge()).await?;
                while node.next().await?.is_ok() {}
                None
            }
            Kind::Nonsensical => self.talk_nonsense(&mut node, number).await,
            _ => self.stand_between(node).await,
        }
    }

    async fn stand_between(&self, mut node: Socket) -> Option<()> {
        let request =
            ClientRequestBuilder::new(self.front.parse().unwrap()).with_sub_protocol(SUBPROTOCOL);
        let (mut front, _) = connect_async(request).await.ok()?;
        loop {
            tokio::select! {
                said = node.next() => front.send(said?.ok()?).await.ok()?,
                heard = front.next() => {
                    let Message::Text(text) = heard?.ok()? else { continue };
                    let message = TrackerMessage::from_json(&text).unwrap();
                    if self.kind == Kind::Late {
                        sleep(Duration::from_millis(20)).await;
                    }
                    for message in self.lie(message) {
                        say(&mut node, &message).await?;
                    }
                }
            }
        }
    }

    /// What it makes of a message to a node.
    fn lie(&self, message: TrackerMessage) -> Vec<TrackerMessage> {
        let count = self.lies.fetch_add(1, Ordering::Relaxed);
        match (self.kind, message) {
            (Kind::Rewriting, TrackerMessage::Signal { signal }) => {
                let mut signal = signal;
                let body = &mut signal.body;
                let impostor = identity(IMPOSTOR);
                match count % 4 {
                    0 => body.from = impostor.node_id(),
                    1 => body.attempt += 1,
                    2 => {
                        // Signed well, by somebody else.
                        body.from = impostor.node_id();
                        let signal = signal.body.sign(&impostor);
                        return vec![TrackerMessage::Signal { signal }];
                    }
                    _ => {}
                }
                match &mut body.signal {
                    Signal::Offer { sdp, .. } | Signal::Answer { sdp } => *sdp = rewritten(sdp),
                    Signal::Candidate { candidate, .. } => {
                        *candidate = candidate.replace("127.0.0.", "127.0.1.");
                    }
                    Signal::EndOfCandidates | Signal::Reject { .. } => body.sequence += 1,
                }
                vec![TrackerMessage::Signal { signal }]
            }
            (Kind::Replaying, message) => {
                let mut heard = self.heard.lock().unwrap();
                let mut said = vec![message.clone()];
                if matches!(message, TrackerMessage::Signal { .. }) {
                    said.extend([message.clone(), message.clone()]);
                    if heard.len() < 1000 {
                        heard.push(message);
                    }
                }
                let old = heard
                    .iter()
                    .cycle()
                    .skip(count * 7)
                    .take(8.min(heard.len()));
                said.extend(old.cloned());
                said
            }
            (Kind::Isolating, TrackerMessage::Welcome { .. }) => {
                vec![TrackerMessage::Welcome {
                    // A clock of 1970, too.
                    time_unix_ms: 0,
                    members: 1,
                    assignment: Assignment::default(),
                    hub: None,
                }]
            }
            (Kind::Isolating, TrackerMessage::Signal { .. } | TrackerMessage::Assigned { .. }) => {
                Vec::new()
            }
            (_, message) => vec![message],
        }
    }

    async fn talk_nonsense(&self, node: &mut Socket, number: usize) -> Option<()> {
        self.lies.fetch_add(1, Ordering::Relaxed);
        let text = |text: &str| Message::text(text.to_owned());
        let json = |message: TrackerMessage| Message::text(message.to_json());
        let error = |code| TrackerMessage::Error {
            code,
            message: "no".to_owned(),
        };
        let strangers: Vec<_> = (100..164).map(|seed| identity(seed).node_id()).collect();
        let before_login = match number % 12 {
            0 => vec![json(error(ErrorCode::Topology))],
            1 => vec![json(TrackerMessage::Superseded {
                incarnation: Incarnation(u64::MAX),
            })],
            2 => vec![text("nonsense")],
            3 => vec![Message::binary(vec![0, 159, 146, 150])],
            4 => vec![text(&" ".repeat(MAX_TRACKER_MESSAGE + 1))],
            5 => vec![text(&"[".repeat(60_000))],
            6 => vec![json(TrackerMessage::Challenge {
                version: 99,
                nonce: String::new(),
            })],
            7 => vec![json(TrackerMessage::Welcome {
                time_unix_ms: u64::MAX,
                members: u64::MAX,
                assignment: Assignment {
                    ring: strangers.clone(),
                    mesh: strangers.clone(),
                },
                hub: strangers.first().copied(),
            })],
            8 => vec![Message::Close(None)],
            9 => vec![json(error(ErrorCode::Login))],
            _ => vec![json(challenge())],
        };
        for message in before_login {
            node.send(message).await.ok()?;
        }
        // A login, if it is taken for a tracker.
        node.next().await?.ok()?;
        let welcome = TrackerMessage::Welcome {
            time_unix_ms: u64::MAX,
            members: u64::MAX,
            assignment: Assignment {
                ring: strangers.clone(),
                mesh: strangers.clone(),
            },
            hub: strangers.first().copied(),
        };
        say(node, &welcome).await?;
        let members = (1..=3).map(|seed| identity(seed).node_id());
        for gone in members.chain(strangers) {
            say(node, &TrackerMessage::Gone { node: gone }).await?;
            let unreachable = TrackerMessage::Unreachable {
                to: gone,
                attempt: u64::MAX,
            };
            say(node, &unreachable).await?;
        }
        say(node, &error(ErrorCode::Limited)).await?;
        while node.next().await?.is_ok() {}
        None
    }
}

fn challenge() -> TrackerMessage {
    TrackerMessage::Challenge {
        version: VERSION,
        nonce: "0".repeat(64),
    }
}

async fn say(node: &mut Socket, message: &TrackerMessage) -> Option<()> {
    node.send(Message::text(message.to_json())).await.ok()
}

/// The same description with another fingerprint and other addresses.
fn rewritten(sdp: &str) -> String {
    let lines = sdp.lines().map(|line| {
        match line.strip_prefix("a=fingerprint:") {
            // Hexadecimal digits, and still as many.
            Some(rest) => {
                let swapped = rest.chars().map(|digit| match digit {
                    'A' => 'B',
                    'B' => 'A',
                    '0' => '1',
                    '1' => '0',
                    other => other,
                });
                format!("a=fingerprint:{}", swapped.collect::<String>())
            }
            None => line.replace("127.0.0.", "127.0.1."),
        }
    });
    lines.map(|line| line + "\r\n").collect()
}

fn webrtc() -> WebRtcTransport {
    WebRtcTransport::new(WebRtcConfig {
        bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        ..WebRtcConfig::default()
    })
}

/// Three nodes that know these trackers.
async fn members<T: Transport + Clone>(trackers: &[&str], transport: &T) -> Vec<Member> {
    let mut members = Vec::new();
    for seed in 1..=3 {
        let (first, rest) = trackers.split_first().unwrap();
        let first = builder(seed, first, transport.clone());
        let builder = rest.iter().fold(first, |node, url| node.tracker(*url));
        members.push(Member::start(builder).await);
    }
    members
}

/// The ring closes, its links are between its members and to nobody else, and everybody's messages
/// reach everybody.
async fn works(what: Kind, members: &mut [Member]) {
    let start = Instant::now();
    until_ring_is_closed(members).await;
    println!("{what:?}: closed after {:?}", start.elapsed());
    let ids: Vec<NodeId> = members.iter().map(|member| member.node.id()).collect();
    for from in 0..members.len() {
        let links = members[from].snapshot().await.links;
        let open = links.iter().filter(|link| link.state == LinkState::Open);
        for link in open {
            assert!(ids.contains(&link.peer), "a link to {}", link.peer.short());
        }
        for to in (0..members.len()).filter(|&to| to != from) {
            let sender = members[from].node.clone();
            let text = format!("{from} to {to}");
            let delivery = sender.send(ids[to], text.clone()).await.unwrap();
            let message = members[to].message().await;
            assert_eq!((message.from, message.payload), (ids[from], text.into()));
            assert_eq!(timeout(PATIENCE, delivery).await, Ok(Outcome::Delivered));
        }
    }
}

#[tokio::test]
async fn a_rewriting_tracker_gets_nobody_a_wrong_peer() {
    let hostile = Hostile::start(Kind::Rewriting).await;
    let honest = Hostile::start(Kind::Late).await;
    let mut members = members(&[&hostile.url, &honest.url], &webrtc()).await;
    works(Kind::Rewriting, &mut members).await;
    until("what was rewritten is refused", async || {
        let mut refused = 0;
        for member in &members {
            refused += member.snapshot().await.counters.bad_signals;
        }
        refused > 0
    })
    .await;
    let impostor = identity(IMPOSTOR).node_id();
    for member in &members {
        let snapshot = member.snapshot().await;
        assert!(!snapshot.successors.contains(&impostor));
    }
}

#[tokio::test]
async fn a_rewriting_tracker_alone_gets_nobody_any_link() {
    let hostile = Hostile::start(Kind::Rewriting).await;
    let transport = webrtc();
    let mut members = Vec::new();
    for seed in 1..=2 {
        members.push(Member::start(builder(seed, &hostile.url, transport.clone())).await);
    }
    until("many signals were rewritten", async || {
        let mut refused = 0;
        for member in &members {
            refused += member.snapshot().await.counters.bad_signals;
        }
        refused >= 6
    })
    .await;
    for member in &members {
        let snapshot = member.snapshot().await;
        assert_eq!(snapshot.counters.links_opened, 0, "{:?}", snapshot.links);
    }
}

#[tokio::test]
async fn a_replaying_tracker_opens_nothing_anew() {
    let hostile = Hostile::start(Kind::Replaying).await;
    let honest = tracker().await;
    let mut members = members(&[&hostile.url, &honest.url()], &webrtc()).await;
    works(Kind::Replaying, &mut members).await;
    let gone = members.pop().unwrap();
    let id = gone.node.id();
    gone.node.leave().await;
    until_ring_is_closed(&members).await;
    let mut opened = Vec::new();
    for member in &members {
        opened.push(member.snapshot().await.counters.links_opened);
    }
    let lies = hostile.lies();
    // The offers of the one who has left come again and again.
    until("much is repeated", async || hostile.lies() >= lies + 4).await;
    let mut repeats = 0;
    for (member, before) in members.iter().zip(opened) {
        let snapshot = member.snapshot().await;
        repeats += snapshot.counters.repeats + snapshot.counters.bad_signals;
        assert_eq!(snapshot.counters.links_opened, before);
        assert!(snapshot.links.iter().all(|link| link.peer != id));
    }
    assert!(repeats > 20, "{repeats} repeats");
}

#[tokio::test]
async fn a_tracker_that_splits_the_room_is_made_up_for() {
    let hostile = Hostile::start(Kind::Isolating).await;
    let honest = tracker().await;
    let transport = MemoryTransport::default();
    let mut members = members(&[&hostile.url, &honest.url()], &transport).await;
    works(Kind::Isolating, &mut members).await;
    assert!(hostile.lies() >= 3);
}

#[tokio::test]
async fn a_tracker_that_talks_nonsense_is_left_alone() {
    let hostile = Hostile::start(Kind::Nonsensical).await;
    let honest = tracker().await;
    let transport = MemoryTransport::default();
    let mut members = members(&[&hostile.url, &honest.url()], &transport).await;
    works(Kind::Nonsensical, &mut members).await;
    // Each way of talking nonsense has its turn.
    until("all nonsense is talked", async || hostile.lies() >= 12).await;
    works(Kind::Nonsensical, &mut members).await;
}

#[tokio::test]
async fn trackers_that_never_answer_hold_up_nobody() {
    let (mute, forgetful) = (
        Hostile::start(Kind::Mute).await,
        Hostile::start(Kind::Forgetful).await,
    );
    let transport = MemoryTransport::default();
    let honest = tracker().await;
    let trackers = [&mute.url[..], &forgetful.url, &honest.url()];
    let mut members = members(&trackers, &transport).await;
    works(Kind::Mute, &mut members).await;
}

#[tokio::test]
async fn the_only_tracker_is_believed() {
    let hostile = Hostile::start(Kind::Nonsensical).await;
    let alone = builder(1, &hostile.url, MemoryTransport::default());
    let mut member = Member::start(alone).await;
    assert!(member.last_event().await.is_some(), "it says why it ends");
}
