//! A WebRTC peer that is not circlet: it logs in and signals as it should, and then sends what it
//! likes, on every channel. It is refused, its link closed where it must be, and a ring of nodes
//! beside it goes on.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use circlet_core::ring::Place;
use circlet_core::room::RoomId;
use circlet_core::wire::{
    Body, Frame, GREETING, Head, Hops, MAX_FRAME, Ping, Places, Routed, SUBPROTOCOL, Signal,
    SignalBody, Table, TrackerMessage, VERSION, Wish, login_bytes,
};
use circlet_core::{Topology, identity::Purpose, node::Channel};
use circlet_node::transport::{WebRtcConfig, WebRtcTransport};
use circlet_node::{Identity, Incarnation, LinkReport, LinkState, NodeId, NodeKind, Outcome};
use circlet_tracker::Tracker;
use common::{Member, PATIENCE, identity, tracker, until, until_ring_is_closed};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceGatheringState, RTCSessionDescription,
};

/// The room of these tests' nodes.
const ROOM: &str = "test";

fn loopback() -> WebRtcTransport {
    WebRtcTransport::new(WebRtcConfig {
        bind: vec![Ipv4Addr::LOCALHOST.into()],
        ..WebRtcConfig::default()
    })
}

/// Honest members, one of which is the victim, and their tracker.
struct Scene {
    tracker: Tracker,
    members: Vec<Member>,
}

impl Scene {
    async fn new() -> Self {
        let tracker = tracker().await;
        let members = Member::ring(4, &tracker.url(), &loopback()).await;
        Self { tracker, members }
    }

    fn victim(&self) -> &Member {
        &self.members[0]
    }

    /// The victim's end of a link is open too.
    async fn until_open_to(&self, stranger: &Stranger) {
        let id = stranger.identity.node_id();
        let is_open = |link: &LinkReport| link.peer == id && link.state == LinkState::Open;
        until("the link is open", async || {
            self.victim().snapshot().await.links.iter().any(is_open)
        })
        .await;
    }

    /// Messages pass between all members, and the ring is whole.
    async fn goes_on(&mut self) {
        for from in 0..self.members.len() {
            let to = (from + 1) % self.members.len();
            let (sender, receiver) = (self.members[from].node.clone(), self.members[to].node.id());
            let delivery = sender.send(receiver, format!("from {from}")).await.unwrap();
            let outcome = timeout(PATIENCE, delivery).await;
            assert_eq!(outcome, Ok(Outcome::Delivered));
            let message = self.members[to].message().await;
            assert_eq!(
                (message.from, &message.payload[..4]),
                (sender.id(), &b"from"[..])
            );
        }
        until_ring_is_closed(&self.members).await;
    }
}

/// A bare peer connection with circlet's channels, known to the tracker by an identity.
struct Stranger {
    identity: Identity,
    tracker: WebSocketStream<MaybeTlsStream<TcpStream>>,
    connection: Arc<dyn PeerConnection>,
    channels: Vec<(Channel, Arc<dyn DataChannel>)>,
}

impl Stranger {
    /// Logs in, offers, takes the answer, and waits until all channels are open.
    async fn connect(number: u8, tracker: &str, victim: NodeId) -> Self {
        let gathered = Arc::new(Notify::new());
        let builder = PeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_handler(Arc::new(Observer(Arc::clone(&gathered))))
            .with_udp_addrs(vec!["127.0.0.1:0".to_owned()]);
        let connection: Arc<dyn PeerConnection> =
            Arc::new(Box::pin(builder.build()).await.unwrap());
        let mut channels = Vec::new();
        for channel in Channel::ALL {
            let init = RTCDataChannelInit {
                ordered: channel.is_ordered(),
                max_retransmits: (!channel.is_reliable()).then_some(0),
                negotiated: Some(channel.stream_id()),
                ..RTCDataChannelInit::default()
            };
            let opened = connection
                .create_data_channel(channel.label(), Some(init))
                .await;
            channels.push((channel, opened.unwrap()));
        }
        let offer = connection.create_offer(None).await.unwrap();
        connection.set_local_description(offer).await.unwrap();
        timeout(PATIENCE, gathered.notified()).await.unwrap();
        let offer = connection.local_description().await.unwrap();

        let identity = identity(number);
        let mut stranger = Self {
            tracker: log_in(&identity, tracker).await,
            identity,
            connection,
            channels,
        };
        stranger.offer(victim, offer.sdp).await;
        let answer = RTCSessionDescription::answer(stranger.answer().await).unwrap();
        stranger
            .connection
            .set_remote_description(answer)
            .await
            .unwrap();
        let channels: Vec<_> = stranger
            .channels
            .iter()
            .map(|(_, it)| Arc::clone(it))
            .collect();
        for channel in channels {
            let opened =
                async { while !matches!(channel.poll().await, Some(DataChannelEvent::OnOpen)) {} };
            timeout(PATIENCE, opened).await.expect("the channel opens");
        }
        // Whoever hears the other side knows that it will be heard.
        stranger.send(Channel::Control, GREETING).await;
        let control = stranger.channel(Channel::Control);
        let heard = async {
            while !matches!(control.poll().await, Some(DataChannelEvent::OnMessage(_))) {}
        };
        timeout(PATIENCE, heard).await.expect("the victim greets");
        stranger.send(Channel::Control, GREETING).await;
        stranger
    }

    async fn offer(&mut self, to: NodeId, sdp: String) {
        let signal = SignalBody {
            version: VERSION,
            room: RoomId::open(ROOM),
            from: self.identity.node_id(),
            to,
            incarnation: Incarnation(1),
            attempt: 7,
            sequence: 1,
            expires_unix_ms: self.welcome().await + 30_000,
            signal: Signal::Offer {
                sdp,
                wish: Wish::Ring,
                topology: Topology::default(),
            },
        };
        let signal = signal.sign(&self.identity);
        say(&mut self.tracker, &TrackerMessage::Signal { signal }).await;
    }

    /// The tracker's time.
    async fn welcome(&mut self) -> u64 {
        loop {
            if let TrackerMessage::Welcome { time_unix_ms, .. } = hear(&mut self.tracker).await {
                return time_unix_ms;
            }
        }
    }

    async fn answer(&mut self) -> String {
        loop {
            if let TrackerMessage::Signal { signal } = hear(&mut self.tracker).await
                && let Signal::Answer { sdp } = signal.body.signal
            {
                assert!(signal.body.attempt == 7);
                return sdp;
            }
        }
    }

    fn channel(&self, wanted: Channel) -> &Arc<dyn DataChannel> {
        let found = self.channels.iter().find(|(channel, _)| *channel == wanted);
        &found.unwrap().1
    }

    /// Sends a frame as circlet does: on ordered channels with its length before it.
    async fn send(&self, channel: Channel, frame: &[u8]) {
        self.send_bytes(channel, &framed(channel, frame)).await;
    }

    async fn send_bytes(&self, channel: Channel, bytes: &[u8]) {
        // Fails once the other side has closed.
        let _ = self.channel(channel).send(BytesMut::from(bytes)).await;
    }

    /// Waits until the other side has closed the connection.
    async fn until_closed(&self) {
        let control = self.channel(Channel::Control);
        let closed = async {
            while !matches!(control.poll().await, Some(DataChannelEvent::OnClose) | None) {}
        };
        timeout(PATIENCE, closed).await.expect("the link is closed");
    }

    async fn leave(mut self) {
        let _ = self.tracker.close(None).await;
        let _ = self.connection.close().await;
    }
}

async fn log_in(identity: &Identity, url: &str) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    let request = ClientRequestBuilder::new(url.parse().unwrap());
    let connecting = connect_async(request.with_sub_protocol(SUBPROTOCOL));
    let (mut socket, _) = timeout(PATIENCE, connecting).await.unwrap().unwrap();
    let TrackerMessage::Challenge { nonce, .. } = hear(&mut socket).await else {
        panic!("no challenge")
    };
    let (node, incarnation, topology) = (identity.node_id(), Incarnation(1), Topology::default());
    let bytes = login_bytes(&nonce, &node, incarnation, topology, ROOM, "stranger");
    let login = TrackerMessage::Login {
        hub: None,
        node,
        incarnation,
        room: ROOM.to_owned(),
        name: "stranger".to_owned(),
        kind: NodeKind::Native,
        topology,
        signature: identity.sign(Purpose::Login, &bytes),
    };
    say(&mut socket, &login).await;
    socket
}

async fn say(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>, message: &TrackerMessage) {
    let message = Message::text(message.to_json());
    timeout(PATIENCE, socket.send(message))
        .await
        .unwrap()
        .unwrap();
}

async fn hear(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> TrackerMessage {
    loop {
        let message = timeout(PATIENCE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        if let Message::Text(text) = message {
            return TrackerMessage::from_json(&text).unwrap();
        }
    }
}

/// Notes when all candidates are known.
struct Observer(Arc<Notify>);

#[async_trait]
impl PeerConnectionEventHandler for Observer {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.0.notify_one();
        }
    }
}

/// A frame as it goes over a channel.
fn framed(channel: Channel, frame: &[u8]) -> Vec<u8> {
    let length = u16::try_from(frame.len()).unwrap().to_be_bytes();
    if channel.is_ordered() {
        [&length, frame].concat()
    } else {
        frame.to_vec()
    }
}

fn place(id: NodeId) -> Place {
    Place::of(&RoomId::open(ROOM), id)
}

/// A message to the victim.
fn reliable(from: Place, to: NodeId, sequence: u64, payload: Bytes) -> Frame {
    Frame {
        head: Head::Routed(Routed {
            hops: Hops::new(0),
            hop_limit: 64,
            to: place(to),
            from,
            incarnation: Incarnation(1),
            detour: circlet_core::overlay::Detour::default(),
            body: Body::Reliable { sequence, floor: 1 },
        }),
        payload,
    }
}

/// Frames that are none: noise, a frame cut short, one that is too large, a list that is too long.
fn garbage() -> [(&'static str, Vec<u8>); 4] {
    let somebody = place(identity(99).node_id());
    let table = |links: usize| Table {
        member: true,
        links: Places::from(vec![somebody; links]),
        ..Table::default()
    };
    let mut short = Frame::from(table(8)).encode().to_vec();
    short.pop();
    let mut large = vec![0x30; MAX_FRAME + 1];
    large[1] = 0;
    [
        ("noise", vec![0x13, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("cut short", short),
        ("too large", large),
        ("too long a list", Frame::from(table(65)).encode().to_vec()),
    ]
}

#[tokio::test]
async fn garbage_on_any_channel_closes_the_link_and_hurts_nobody() {
    let mut scene = Scene::new().await;
    let url = scene.tracker.url();
    let mut number = 100;
    for channel in Channel::ALL {
        for (what, frame) in garbage() {
            number += 1;
            let before = scene.victim().snapshot().await.counters;
            let stranger = Stranger::connect(number, &url, scene.victim().node.id()).await;
            // On the channel that does not send again some may be lost.
            let sending = async {
                loop {
                    stranger.send(channel, &frame).await;
                    sleep(Duration::from_millis(2)).await;
                }
            };
            tokio::select! {
                () = stranger.until_closed() => {}
                () = sending => {}
            }
            let after = scene.victim().snapshot().await;
            assert_eq!(
                after.counters.cut_off,
                before.cut_off + 1,
                "{what} on {channel:?}"
            );
            // On an ordered channel nothing can be found behind a frame that is too large.
            let is_last = channel.is_ordered() && frame.len() > MAX_FRAME;
            let breaches = if is_last { 1 } else { 8 };
            assert!(after.counters.bad_frames >= before.bad_frames + breaches);
            let stays = |link: &LinkReport| link.peer == stranger.identity.node_id();
            assert!(!after.links.iter().any(stays));
            stranger.leave().await;
        }
        scene.goes_on().await;
    }
}

#[tokio::test]
async fn a_length_that_cannot_be_closes_the_link_at_once_and_hurts_nobody() {
    let mut scene = Scene::new().await;
    let url = scene.tracker.url();
    let ping = framed(Channel::Messages, &Frame::from(Ping { stamp: 1 }).encode());
    let lengths = [0, u16::try_from(MAX_FRAME + 1).unwrap(), u16::MAX].map(u16::to_be_bytes);
    let mut number = 100;
    for channel in [Channel::Messages, Channel::Bulk] {
        for length in lengths {
            // Alone, behind a frame, cut in two.
            let behind = [&ping[..], &length, &ping].concat();
            for records in [vec![&length[..]], vec![&behind], length.chunks(1).collect()] {
                number += 1;
                let before = scene.victim().snapshot().await.counters;
                let stranger = Stranger::connect(number, &url, scene.victim().node.id()).await;
                for record in &records {
                    stranger.send_bytes(channel, record).await;
                }
                stranger.until_closed().await;
                let after = scene.victim().snapshot().await.counters;
                assert_eq!(
                    (after.cut_off, after.bad_frames),
                    (before.cut_off + 1, before.bad_frames + 1),
                    "{records:?} on {channel:?}"
                );
                stranger.leave().await;
            }
        }
        scene.goes_on().await;
    }
}

#[tokio::test]
async fn records_cut_anywhere_are_read_and_half_a_frame_holds_nothing_up() {
    let mut scene = Scene::new().await;
    let victim = scene.victim().node.id();
    let stranger = Stranger::connect(100, &scene.tracker.url(), victim).await;
    scene.until_open_to(&stranger).await;
    let from = place(stranger.identity.node_id());
    let frame = |sequence, bytes| {
        let frame = reliable(from, victim, sequence, vec![b'x'; bytes].into());
        framed(Channel::Messages, &frame.encode())
    };
    let stream = [frame(1, 10), frame(2, 60_000), frame(3, 0)].concat();
    // The beginning of a frame that never ends.
    let half = frame(4, 60_000);
    stranger.send_bytes(Channel::Bulk, &half[..30_000]).await;
    let (bytewise, rest) = stream.split_at(200);
    for byte in bytewise {
        stranger.send_bytes(Channel::Messages, &[*byte]).await;
    }
    for piece in rest.chunks(999) {
        stranger.send_bytes(Channel::Messages, piece).await;
    }
    for (sequence, bytes) in [(1, 10), (2, 60_000), (3, 0)] {
        let message = scene.members[0].message().await;
        assert_eq!((message.sequence, message.payload.len()), (sequence, bytes));
    }
    scene.goes_on().await;
    let counters = scene.victim().snapshot().await.counters;
    assert_eq!((counters.bad_frames, counters.cut_off), (0, 0));
    stranger.leave().await;
}

#[tokio::test]
async fn frames_out_of_order_are_put_in_order_and_old_tables_ignored() {
    let mut scene = Scene::new().await;
    let victim = scene.victim().node.id();
    let stranger = Stranger::connect(100, &scene.tracker.url(), victim).await;
    scene.until_open_to(&stranger).await;
    let from = place(stranger.identity.node_id());
    let frame = |sequence| {
        let payload = format!("number {sequence}").into();
        reliable(from, victim, sequence, payload)
    };
    for sequence in [5, 3, 4, 1, 3, 2, 6] {
        // On another channel each time: which one says nothing.
        let channel = Channel::ALL[usize::try_from(sequence).unwrap() % 3];
        stranger.send(channel, &frame(sequence).encode()).await;
    }
    for sequence in 1..=6 {
        let message = scene.members[0].message().await;
        assert_eq!(message.sequence, sequence);
        assert_eq!(message.payload, format!("number {sequence}"));
    }
    for version in [9, 3, 7, 9, 1] {
        let table = Table {
            version,
            ..Table::default()
        };
        stranger
            .send(Channel::Control, &Frame::from(table).encode())
            .await;
    }
    stranger
        .send(Channel::Control, &Frame::from(Ping { stamp: 1 }).encode())
        .await;
    scene.goes_on().await;
    let counters = scene.victim().snapshot().await.counters;
    assert_eq!(
        (counters.bad_frames, counters.cut_off),
        (0, 0),
        "no breach in that"
    );
    stranger.leave().await;
}

#[tokio::test]
async fn a_channel_that_was_not_agreed_on_closes_the_link() {
    let mut scene = Scene::new().await;
    let stranger = Stranger::connect(100, &scene.tracker.url(), scene.victim().node.id()).await;
    let extra = stranger.connection.create_data_channel("extra", None).await;
    extra.unwrap();
    stranger.until_closed().await;
    let id = stranger.identity.node_id();
    until("the link is gone", async || {
        let links = scene.members[0].snapshot().await.links;
        links.iter().all(|link| link.peer != id)
    })
    .await;
    stranger.leave().await;
    scene.goes_on().await;
}
