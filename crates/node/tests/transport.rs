//! What links promise, for every transport; figures of the WebRTC one with
//! `cargo test --release -p circlet-node --test transport -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use circlet_core::Topology;
use circlet_core::node::{Channel, DownReason, LinkId, Role};
use circlet_core::wire::{MAX_FRAME, RejectReason, Signal, Wish};
use circlet_node::transport::{
    Link, SendError, Transport, TransportEvent, WebRtcConfig, WebRtcTransport,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test with each transport.
macro_rules! for_each_transport {
    ($($test:ident)*) => {
        mod webrtc {
            $(#[tokio::test] async fn $test() {
                super::$test(super::loopback()).await;
            })*
        }
        mod memory {
            $(#[tokio::test] async fn $test() {
                super::$test(circlet_node::transport::MemoryTransport::default()).await;
            })*
        }
    };
}

for_each_transport! {
    two_members_connect
    frames_of_all_sizes_pass_on_all_channels_both_ways
    what_is_sent_as_soon_as_a_link_is_up_comes_after_up
    every_byte_queued_is_reported_writable
    frames_are_refused_before_up_and_when_too_large
    a_reader_that_stops_stops_the_sender_and_nothing_is_lost
    what_was_queued_arrives_before_the_other_side_sees_the_close
    a_dropped_link_is_closed
    a_link_closed_by_both_sides_is_closed
    a_link_can_be_closed_at_any_moment_of_its_negotiation
    senseless_descriptions_fail_the_link
    a_rejected_offer_fails_the_link
    a_flood_of_signals_fails_the_link
    senseless_candidates_change_nothing
    signals_may_come_late_and_repeated
}

async fn two_members_connect(transport: impl Transport) {
    let pair = Pair::connect(&transport).await;
    for side in pair.sides() {
        let ups = |event: &&TransportEvent| matches!(event, TransportEvent::Up { .. });
        assert_eq!(side.seen.iter().filter(ups).count(), 1);
        assert!(side.seen.iter().all(|event| event.link() == side.id));
    }
}

async fn frames_of_all_sizes_pass_on_all_channels_both_ways(transport: impl Transport) {
    let mut pair = Pair::connect(&transport).await;
    let sizes = [1, 200, 1160, 16240, MAX_FRAME];
    let mut sent = Vec::new();
    for (index, size) in sizes.into_iter().cycle().take(50).enumerate() {
        for channel in Channel::ALL {
            let frame = frame(index, size);
            pair.offerer.link().send(channel, frame.clone()).unwrap();
            pair.answerer.link().send(channel, frame.clone()).unwrap();
            sent.push((channel, frame));
        }
        // Waits for each round: what is never sent again must not be sent too fast, and what
        // is unordered can then be compared in order.
        let count = sent.len();
        pair.until("the frames arrive", |pair| {
            pair.sides().all(|side| side.frames().count() == count)
        })
        .await;
    }
    for side in pair.sides() {
        for channel in Channel::ALL {
            let of_channel = |(its, frame): (Channel, Bytes)| (its == channel).then_some(frame);
            let sent: Vec<_> = sent.iter().cloned().filter_map(of_channel).collect();
            let arrived: Vec<_> = side.frames().filter_map(of_channel).collect();
            assert!(arrived == sent, "{channel:?}");
        }
    }
}

/// One side is up before the other, and its first frames may be there before the other's channels
/// have said that they are open: more often the busier the machine.
async fn what_is_sent_as_soon_as_a_link_is_up_comes_after_up(transport: impl Transport) {
    let transport = Arc::new(transport);
    let mut pairs = JoinSet::new();
    for _ in 0..32 {
        let mut pair = Pair::open(&*transport);
        pairs.spawn(async move {
            let mut has_sent = [false; 2];
            let all_have_come = |pair: &Pair| pair.sides().all(|side| side.frames().count() == 3);
            let sent = timeout(PATIENCE, async {
                while !all_have_come(&pair) {
                    pair.step().await;
                    for (side, has_sent) in pair.sides().zip(&mut has_sent) {
                        if side.is_up() && !std::mem::replace(has_sent, true) {
                            for channel in [Channel::Control, Channel::Messages, Channel::Bulk] {
                                side.link().send(channel, frame(1, 200)).unwrap();
                            }
                        }
                    }
                }
            });
            assert!(sent.await.is_ok(), "{:?} {:?}", pair.offerer, pair.answerer);
            for side in pair.sides() {
                let is_frame =
                    |event: &TransportEvent| matches!(event, TransportEvent::Frame { .. });
                let is_up = |event: &TransportEvent| matches!(event, TransportEvent::Up { .. });
                let (up, first) = (
                    side.seen.iter().position(is_up),
                    side.seen.iter().position(is_frame),
                );
                assert!(up < first, "{side:?}");
            }
        });
    }
    pairs.join_all().await;
}

async fn every_byte_queued_is_reported_writable(transport: impl Transport) {
    let mut pair = Pair::connect(&transport).await;
    let mut bytes = 0;
    for index in 0..300 {
        for channel in [Channel::Control, Channel::Messages, Channel::Bulk] {
            let frame = frame(index, 1 + index * 10);
            bytes += frame.len();
            pair.offerer.link().send(channel, frame).unwrap();
        }
    }
    pair.until("all has arrived and been reported", |pair| {
        pair.offerer.writable() == bytes && pair.answerer.frames().count() == 900
    })
    .await;
}

async fn frames_are_refused_before_up_and_when_too_large(transport: impl Transport) {
    let early = Side::open(&transport, 9, Role::Answerer);
    assert_eq!(
        early.link().send(Channel::Control, frame(0, 1)),
        Err(SendError::NotOpen)
    );
    let pair = Pair::connect(&transport).await;
    assert_eq!(
        pair.offerer
            .link()
            .send(Channel::Bulk, frame(0, MAX_FRAME + 1)),
        Err(SendError::TooLarge)
    );
}

async fn a_reader_that_stops_stops_the_sender_and_nothing_is_lost(transport: impl Transport) {
    const SIZE: usize = 30_000;
    let mut pair = Pair::connect(&transport).await;
    let mut sent = 0;
    // Only the sender's events are taken, until none comes any more.
    loop {
        match pair
            .offerer
            .link()
            .send(Channel::Messages, frame(sent, SIZE))
        {
            Ok(()) => sent += 1,
            Err(SendError::Full) => {
                let event = pair.offerer.events.recv();
                match timeout(Duration::from_millis(500), event).await {
                    Ok(event) => pair.offerer.seen.extend(event),
                    Err(_) => break,
                }
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 10_000, "the sender is never stopped");
    }
    pair.until("all has arrived", |pair| {
        pair.answerer.frames().count() == sent
    })
    .await;
    for (index, (_, arrived)) in pair.answerer.frames().enumerate() {
        assert!(arrived == frame(index, SIZE), "frame {index}");
    }
}

async fn what_was_queued_arrives_before_the_other_side_sees_the_close(transport: impl Transport) {
    let mut pair = Pair::connect(&transport).await;
    for index in 0..60 {
        let frame = frame(index, 60_000);
        pair.offerer.link().send(Channel::Messages, frame).unwrap();
    }
    let last = frame(60, 40);
    pair.offerer.link().send(Channel::Control, last).unwrap();
    let closed = pair.offerer.take_link().close(PATIENCE);
    pair.until("the answerer sees the close", |pair| {
        pair.answerer.is_down()
    })
    .await;
    timeout(PATIENCE, closed).await.unwrap();
    assert_eq!(pair.answerer.frames().count(), 61);
    pair.answerer.assert_ended(&[DownReason::Closed]).await;
    pair.offerer.assert_ended(&[]).await;
}

async fn a_dropped_link_is_closed(transport: impl Transport) {
    let mut pair = Pair::connect(&transport).await;
    drop(pair.offerer.take_link());
    pair.answerer.assert_ended(&[DownReason::Closed]).await;
    pair.offerer.assert_ended(&[]).await;
}

async fn a_link_closed_by_both_sides_is_closed(transport: impl Transport) {
    let mut pair = Pair::connect(&transport).await;
    let closed = [
        pair.offerer.take_link().close(PATIENCE),
        pair.answerer.take_link().close(PATIENCE),
    ];
    for closed in closed {
        timeout(PATIENCE, closed).await.unwrap();
    }
    pair.offerer.assert_ended(&[]).await;
    pair.answerer.assert_ended(&[]).await;
}

async fn a_link_can_be_closed_at_any_moment_of_its_negotiation(transport: impl Transport) {
    for steps in 0.. {
        let mut pair = Pair::open(&transport);
        for _ in 0..steps {
            pair.step().await;
        }
        let was_up = pair.is_up();
        let closed = pair.offerer.take_link().close(Duration::ZERO);
        timeout(PATIENCE, closed).await.unwrap();
        let closed = pair.answerer.take_link().close(PATIENCE);
        timeout(PATIENCE, closed).await.unwrap();
        if was_up {
            return;
        }
    }
}

async fn senseless_descriptions_fail_the_link(transport: impl Transport) {
    let long = "a=candidate:".repeat(1300);
    for sdp in [
        "",
        "garbage",
        "memory:",
        "memory:18446744073709551615",
        "v=0",
        "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
        "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP \
         webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=setup:active\r\na=mid:0\r\n",
        "\u{0}\u{ffff}=\r\n",
        &long,
    ] {
        let mut answerer = Side::open(&transport, 1, Role::Answerer);
        answerer.link().apply(offer(sdp));
        answerer.assert_ended(&[DownReason::Failed]).await;

        let mut offerer = Side::open(&transport, 2, Role::Offerer);
        offerer.until_offer().await;
        offerer.link().apply(Signal::Answer { sdp: sdp.into() });
        offerer.assert_ended(&[DownReason::Failed]).await;
    }
}

async fn a_rejected_offer_fails_the_link(transport: impl Transport) {
    let mut offerer = Side::open(&transport, 1, Role::Offerer);
    offerer.until_offer().await;
    offerer.link().apply(Signal::Reject {
        reason: RejectReason::Full,
    });
    offerer.assert_ended(&[DownReason::Failed]).await;
}

async fn a_flood_of_signals_fails_the_link(transport: impl Transport) {
    let mut answerer = Side::open(&transport, 1, Role::Answerer);
    for _ in 0..1000 {
        let line = "candidate:1 1 udp 1 192.0.2.1 9 typ host";
        answerer.link().apply(candidate(line));
    }
    answerer.assert_ended(&[DownReason::Failed]).await;
}

async fn senseless_candidates_change_nothing(transport: impl Transport) {
    let mut pair = Pair::open(&transport);
    for line in [
        "",
        "candidate:",
        "candidate:1 1 udp",
        "candidate:1 1 udp x y z typ host",
        "candidate:1 1 udp 1 nowhere.local 9 typ host",
        "candidate:1 1 udp 1 name.invalid 9 typ host",
        "candidate:1 1 tcp 1 127.0.0.1 1 typ host tcptype passive",
        "candidate:1 1 udp 1 127.0.0.1 99999 typ host",
        "candidate:1 1 udp 1 127.0.0.1 0 typ host",
        "candidate:1 1 udp 99999999999999999999 0.0.0.0 9 typ srflx raddr x rport y",
        "candidate:1 1 udp 1 255.255.255.255 9 typ relay raddr",
        "candidate:\u{0} \u{ffff} udp 1 ::1 9 typ",
    ] {
        pair.offerer.link().apply(candidate(line));
        pair.answerer.link().apply(candidate(line));
    }
    pair.until("both are up", Pair::is_up).await;
}

async fn signals_may_come_late_and_repeated(transport: impl Transport) {
    let mut pair = Pair::open(&transport);
    let mut signals = Vec::new();
    while signals.last() != Some(&Signal::EndOfCandidates) {
        match timeout(PATIENCE, pair.offerer.events.recv()).await.unwrap() {
            Some(TransportEvent::Signal { signal, .. }) => signals.push(signal),
            Some(event) => pair.offerer.seen.push(event),
            None => panic!("the offerer has ended"),
        }
    }
    // The offer last, and then everything once more.
    for signal in signals.iter().rev().chain(&signals) {
        pair.answerer.link().apply(signal.clone());
    }
    pair.until("both are up", Pair::is_up).await;
}

/// The DTLS fingerprint is what binds a link to the signature over its descriptions.
#[tokio::test]
async fn another_fingerprint_is_noticed() {
    let mut pair = Pair::open(&loopback());
    pair.forge = Some(|signal| match signal {
        Signal::Answer { sdp } => {
            let at = sdp.find("sha-256 ").unwrap() + "sha-256 ".len();
            let other = if &sdp[at..at + 2] == "00" { "01" } else { "00" };
            let sdp = format!("{}{other}{}", &sdp[..at], &sdp[at + 2..]);
            Signal::Answer { sdp }
        }
        signal => signal,
    });
    pair.until("the handshake is given up", |pair| {
        pair.sides().any(Side::is_down)
    })
    .await;
    for side in pair.sides() {
        assert!(!side.is_up(), "{side:?}");
    }
}

/// What a killed process, or a cable pulled out, looks like from the other side.
#[tokio::test]
async fn silence_is_told_and_then_ends_the_link() {
    let (side_out, side) = oneshot::channel();
    let (freeze, frozen) = oneshot::channel();
    let (thaw, thawed) = std::sync::mpsc::sync_channel::<()>(1);
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let side = Side::open(&loopback(), 2, Role::Answerer);
            assert!(side_out.send(side).is_ok());
            frozen.await.unwrap();
            // From here on nothing that belongs to the answerer runs.
            let _ = thawed.recv();
        });
    });
    let mut pair = Pair {
        offerer: Side::open(&loopback(), 1, Role::Offerer),
        answerer: side.await.unwrap(),
        forge: None,
    };
    pair.until("both are up", Pair::is_up).await;
    freeze.send(()).unwrap();
    pair.offerer.assert_ended(&[DownReason::Failed]).await;
    let suspect = |event: &TransportEvent| matches!(event, TransportEvent::Suspect { .. });
    assert!(pair.offerer.seen.iter().any(suspect), "{:?}", pair.offerer);
    drop(thaw);
    other.join().unwrap();
}

#[tokio::test]
async fn the_default_addresses_reach_loopback_and_each_other() {
    let default = WebRtcTransport::new(WebRtcConfig::default());
    for (one, other) in [
        (&default, &default),
        (&default, &loopback()),
        (&loopback(), &default),
    ] {
        let mut pair = Pair::open(one);
        pair.answerer = Side::open(other, 2, Role::Answerer);
        pair.until("both are up", Pair::is_up).await;
    }
}

#[tokio::test]
async fn an_address_that_is_not_ours_fails_the_link() {
    let transport = WebRtcTransport::new(WebRtcConfig {
        bind: vec![IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7))],
        ..WebRtcConfig::default()
    });
    let mut side = Side::open(&transport, 1, Role::Offerer);
    side.assert_ended(&[DownReason::Failed]).await;
}

#[tokio::test]
async fn stun_servers_that_do_not_answer_are_not_waited_for() {
    let transport = WebRtcTransport::new(WebRtcConfig {
        ice_servers: vec!["stun:127.0.0.1:9".into(), "stun:name.invalid:3478".into()],
        bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
    });
    let start = Instant::now();
    let _pair = Pair::connect(&transport).await;
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn twenty_links_are_set_up_one_after_the_other() {
    let transport = loopback();
    let mut times = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let mut pair = Pair::connect(&transport).await;
        times.push(start.elapsed());
        for side in [&mut pair.offerer, &mut pair.answerer] {
            let closed = side.take_link().close(Duration::ZERO);
            timeout(PATIENCE, closed).await.unwrap();
        }
    }
    report("set-up", &mut times);
    assert!(times[10] < Duration::from_secs(1));
}

#[tokio::test]
#[ignore = "a measurement, not a check: prints figures with --ignored --nocapture"]
async fn close_time() {
    let mut times = Vec::new();
    for _ in 0..20 {
        let mut pair = Pair::connect(&loopback()).await;
        let bye = frame(0, 40);
        pair.offerer.link().send(Channel::Control, bye).unwrap();
        let start = Instant::now();
        let _closed = pair.offerer.take_link().close(Duration::from_secs(1));
        pair.until("the close is seen", |pair| pair.answerer.is_down())
            .await;
        times.push(start.elapsed());
    }
    report("close seen", &mut times);
}

#[tokio::test]
#[ignore = "a measurement, not a check: prints figures with --ignored --nocapture"]
async fn round_trip() {
    let mut pair = Pair::connect(&loopback()).await;
    for channel in [Channel::Control, Channel::Messages] {
        let mut times = Vec::new();
        for index in 0..5000 {
            let start = Instant::now();
            let ping = frame(index, 100);
            pair.offerer.link().send(channel, ping).unwrap();
            let ping = pair.answerer.next_frame().await;
            pair.answerer.link().send(channel, ping).unwrap();
            pair.offerer.next_frame().await;
            times.push(start.elapsed());
        }
        report(&format!("there and back on {channel:?}"), &mut times);
    }
}

/// Resident memory and processor time of links that nothing is sent on.
#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "a measurement, not a check: prints figures with --ignored --nocapture"]
async fn idle() {
    const PAIRS: usize = 100;
    let resident_kb = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kb = line.and_then(|line| line.split_whitespace().nth(1));
        kb.unwrap().parse::<f64>().unwrap()
    };
    let busy_ns = || {
        let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        let busy = times.split_whitespace().next();
        busy.unwrap().parse::<f64>().unwrap()
    };
    let _first = Pair::connect(&loopback()).await;
    let before = resident_kb();
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        pairs.push(Pair::connect(&loopback()).await);
    }
    let ends = 2.0 * PAIRS as f64;
    println!("{:.0} KB for each end", (resident_kb() - before) / ends);
    let before = busy_ns();
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!(
        "{:.0} us/s for each end",
        (busy_ns() - before) / 5.0 / ends / 1e3
    );
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    println!(
        "{:.1} descriptors for each end",
        descriptors() as f64 / ends
    );
    for pair in &mut pairs {
        pair.offerer.take_link().close(Duration::ZERO).await;
        pair.answerer.take_link().close(Duration::ZERO).await;
    }
    println!("{} descriptors left", descriptors());
}

#[tokio::test]
#[ignore = "a measurement, not a check: prints figures with --ignored --nocapture"]
async fn throughput() {
    for size in [100, 1024, 1160, 16240, 16384, MAX_FRAME] {
        let mut pair = Pair::connect(&loopback()).await;
        let template = vec![7; size];
        let (mut waiting, mut received) = (0, 0);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            while waiting < 1 << 20 {
                let frame = Bytes::copy_from_slice(&template);
                pair.offerer.link().send(Channel::Messages, frame).unwrap();
                waiting += size;
            }
            tokio::select! {
                Some(event) = pair.offerer.events.recv() => {
                    if let TransportEvent::Writable { bytes, .. } = event {
                        waiting -= bytes;
                    }
                }
                Some(event) = pair.answerer.events.recv() => {
                    if let TransportEvent::Frame { bytes, .. } = event {
                        received += bytes.len();
                    }
                }
            }
        }
        let rate = received as f64 / start.elapsed().as_secs_f64();
        let frames = rate / size as f64;
        println!(
            "frames of {size} B: {:.0} MB/s, {frames:.0} a second",
            rate / 1e6
        );
    }
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    println!(
        "{what}: median {:?}, least {:?}, most {:?}",
        times[times.len() / 2],
        times[0],
        times[times.len() - 1]
    );
}

fn loopback() -> WebRtcTransport {
    WebRtcTransport::new(WebRtcConfig {
        bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        ..WebRtcConfig::default()
    })
}

fn offer(sdp: &str) -> Signal {
    Signal::Offer {
        sdp: sdp.to_owned(),
        wish: Wish::Ring,
        topology: Topology::default(),
    }
}

fn candidate(line: &str) -> Signal {
    Signal::Candidate {
        candidate: line.to_owned(),
        sdp_mid: None,
        sdp_mline_index: Some(0),
    }
}

/// A frame whose content is different for each index; no greeting.
fn frame(index: usize, size: usize) -> Bytes {
    let seed = (index + 1).to_le_bytes();
    (0..size)
        .map(|at| seed[at % 2].wrapping_add((at / 2) as u8))
        .collect()
}

/// Two links that get each other's signals.
struct Pair {
    offerer: Side,
    answerer: Side,
    /// What becomes of signals on their way.
    forge: Option<fn(Signal) -> Signal>,
}

impl Pair {
    fn open(transport: &impl Transport) -> Self {
        Self {
            offerer: Side::open(transport, 1, Role::Offerer),
            answerer: Side::open(transport, 2, Role::Answerer),
            forge: None,
        }
    }

    async fn connect(transport: &impl Transport) -> Self {
        let mut pair = Self::open(transport);
        pair.until("both are up", Self::is_up).await;
        pair
    }

    /// Takes one event of either side.
    async fn step(&mut self) {
        let (event, from, to) = tokio::select! {
            Some(event) = self.offerer.events.recv() =>
                (event, &mut self.offerer, &self.answerer),
            Some(event) = self.answerer.events.recv() =>
                (event, &mut self.answerer, &self.offerer),
            else => panic!("both have ended"),
        };
        if let (TransportEvent::Signal { signal, .. }, Some(to)) = (&event, &to.link) {
            let signal = signal.clone();
            to.apply(
                self.forge
                    .map_or_else(|| signal.clone(), |forge| forge(signal.clone())),
            );
        }
        from.seen.push(event);
    }

    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let steps = async {
            while !done(self) {
                self.step().await;
            }
        };
        if timeout(PATIENCE, steps).await.is_err() {
            panic!("never: {what}; {:?} {:?}", self.offerer, self.answerer);
        }
    }

    fn is_up(&self) -> bool {
        self.sides().all(Side::is_up)
    }

    fn sides(&self) -> impl Iterator<Item = &Side> {
        [&self.offerer, &self.answerer].into_iter()
    }
}

/// A link and what it has said.
struct Side {
    id: LinkId,
    link: Option<Box<dyn Link>>,
    events: mpsc::Receiver<TransportEvent>,
    seen: Vec<TransportEvent>,
}

impl Side {
    fn open(transport: &impl Transport, id: u64, role: Role) -> Self {
        let (sender, events) = mpsc::channel(256);
        Self {
            id: LinkId(id),
            link: Some(transport.open(LinkId(id), role, sender)),
            events,
            seen: Vec::new(),
        }
    }

    fn link(&self) -> &dyn Link {
        self.link.as_deref().unwrap()
    }

    fn take_link(&mut self) -> Box<dyn Link> {
        self.link.take().unwrap()
    }

    async fn until_offer(&mut self) {
        let is_offer = |event: &TransportEvent| match event {
            TransportEvent::Signal { signal, .. } => matches!(signal, Signal::Offer { .. }),
            _ => false,
        };
        while !self.seen.iter().any(is_offer) {
            let event = timeout(PATIENCE, self.events.recv()).await.unwrap();
            self.seen.push(event.expect("the link has ended"));
        }
    }

    /// The next frame; other events are lost.
    async fn next_frame(&mut self) -> Bytes {
        loop {
            match timeout(PATIENCE, self.events.recv()).await.unwrap() {
                Some(TransportEvent::Frame { bytes, .. }) => return bytes,
                Some(_) => {}
                None => panic!("the link has ended"),
            }
        }
    }

    /// Waits until it has nothing more to say: the last thing was that it is down for this
    /// reason, or it never said so.
    async fn assert_ended(&mut self, down: &[DownReason]) {
        while let Some(event) = timeout(PATIENCE, self.events.recv()).await.unwrap() {
            self.seen.push(event);
        }
        assert_eq!(self.down(), down, "{self:?}");
        if !down.is_empty() {
            let last = self.seen.last();
            assert!(
                matches!(last, Some(TransportEvent::Down { .. })),
                "{self:?}"
            );
        }
    }

    fn is_up(&self) -> bool {
        let up = |event: &TransportEvent| matches!(event, TransportEvent::Up { .. });
        self.seen.iter().any(up)
    }

    fn is_down(&self) -> bool {
        !self.down().is_empty()
    }

    fn down(&self) -> Vec<DownReason> {
        let reason = |event: &TransportEvent| match event {
            TransportEvent::Down { reason, .. } => Some(*reason),
            _ => None,
        };
        self.seen.iter().filter_map(reason).collect()
    }

    fn writable(&self) -> usize {
        let bytes = |event: &TransportEvent| match event {
            TransportEvent::Writable { bytes, .. } => Some(*bytes),
            _ => None,
        };
        self.seen.iter().filter_map(bytes).sum()
    }

    fn frames(&self) -> impl Iterator<Item = (Channel, Bytes)> {
        self.seen.iter().filter_map(|event| match event {
            TransportEvent::Frame { channel, bytes, .. } => Some((*channel, bytes.clone())),
            _ => None,
        })
    }
}

/// Leaves the content of frames out.
impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?} has said:", self.id)?;
        for event in &self.seen {
            match event {
                TransportEvent::Frame { channel, bytes, .. } => {
                    writeln!(f, "  a frame on {channel:?} of {} bytes", bytes.len())?;
                }
                other => writeln!(f, "  {other:?}")?,
            }
        }
        Ok(())
    }
}
