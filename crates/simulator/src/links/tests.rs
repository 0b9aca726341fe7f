//! Two ends of a link without nodes: signals are carried by hand.

use std::time::Duration;

use circlet_core::wire::{Frame, Ping};

use super::*;
use crate::invariants::ledger::Ledger;
use crate::network::{Network, NetworkConfig, PathTimeouts, TrackerReach};
use crate::queue::EventQueue;
use crate::random::Concern;
use crate::trace::Trace;

const LINK: LinkId = LinkId(0);

struct Bench {
    world: World,
    ends: [Links; 2],
    randoms: [Stream; 2],
    inputs: [Vec<Input>; 2],
    /// Whether signals are carried to the other side; candidates may be withheld.
    carry_candidates: bool,
}

impl Bench {
    fn new(config: NetworkConfig) -> Self {
        let mut queue = EventQueue::new();
        let sources = [queue.add_source(), queue.add_source()];
        let mut network = Network::new(config, 1, 0);
        for node in [0, 1] {
            network.set_running(NodeIndex(node), Some(1));
        }
        Self {
            world: World {
                now: Timestamp::ZERO,
                queue,
                network,
                trace: Trace::new(0),
                ledger: Ledger::default(),
                violations: Vec::new(),
                misbehaviour: false,
            },
            ends: [0, 1].map(|node| Links::new(NodeIndex(node), 1, sources[node as usize], false)),
            randoms: [0, 1].map(|node| Stream::fork(1, Concern::Network, node)),
            inputs: [Vec::new(), Vec::new()],
            carry_candidates: true,
        }
    }

    /// Both ends open and up.
    fn connected(config: NetworkConfig) -> Self {
        let mut bench = Self::new(config);
        bench.open();
        bench.run(secs(2));
        for side in [0, 1] {
            assert_eq!(
                bench.inputs[side].last(),
                Some(&Input::LinkUp { link: LINK })
            );
            bench.inputs[side].clear();
        }
        bench
    }

    fn open(&mut self) {
        for (side, role) in [(0, Role::Offerer), (1, Role::Answerer)] {
            let peer = NodeId::from_bytes([side as u8; 32]);
            self.act(side, |links, random, world| {
                links.open(LINK, peer, role, random, world);
            });
        }
    }

    fn act(&mut self, side: usize, act: impl FnOnce(&mut Links, &mut Stream, &mut World)) {
        act(
            &mut self.ends[side],
            &mut self.randoms[side],
            &mut self.world,
        );
    }

    fn send(&mut self, side: usize, channel: Channel, stamp: u64) {
        let frame = Frame::from(Ping { stamp }).into();
        self.act(side, |links, random, world| {
            links.send(LINK, channel, frame, random, world);
        });
    }

    fn run(&mut self, duration: Duration) {
        let end = self.world.now + duration;
        while let Some((time, event)) = self.world.queue.pop_until(end) {
            self.world.now = time;
            let Event::Node { node, what, .. } = event else {
                panic!("{event:?}");
            };
            let NodeEvent::Link { link, what } = what else {
                panic!("{what:?}");
            };
            let side = node.0 as usize;
            let mut inputs = VecDeque::new();
            self.act(side, |links, random, world| {
                links.on_event(link, what, random, world, &mut inputs);
            });
            for input in inputs {
                if let Input::LocalSignal { signal, .. } = &input
                    && (self.carry_candidates || !matches!(signal, Signal::Candidate { .. }))
                {
                    let signal = signal.clone();
                    self.act(1 - side, |links, random, world| {
                        links.apply(LINK, &signal, random, world);
                    });
                }
                self.inputs[side].push(input);
            }
        }
        self.world.now = end;
    }

    /// The stamps of the pings that have come to a side.
    fn stamps(&self, side: usize) -> Vec<u64> {
        self.inputs[side]
            .iter()
            .filter_map(|input| match input {
                Input::Frame { frame, .. } => {
                    let room = circlet_core::room::RoomId::open("room");
                    match frame.decode(&room).unwrap().head {
                        circlet_core::wire::Head::Ping(ping) => Some(ping.stamp),
                        _ => None,
                    }
                }
                _ => None,
            })
            .collect()
    }

    fn cut(&mut self) {
        self.world
            .network
            .partition(&[vec![NodeIndex(0)]], TrackerReach::Nobody);
        self.look_at_paths();
    }

    fn heal(&mut self) {
        self.world.network.heal();
        self.look_at_paths();
    }

    fn look_at_paths(&mut self) {
        for side in [0, 1] {
            self.act(side, |links, _, world| links.look_at_paths(world));
        }
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn lossy() -> NetworkConfig {
    NetworkConfig {
        loss: 0.2,
        ..NetworkConfig::default()
    }
}

const DOWN: fn(DownReason) -> Input = |reason| Input::LinkDown { link: LINK, reason };

#[test]
fn channels_keep_their_promises_over_a_lossy_network() {
    for channel in Channel::ALL {
        let mut bench = Bench::connected(lossy());
        let sent: Vec<_> = (0..200).collect();
        for stamp in &sent {
            bench.send(0, channel, *stamp);
        }
        bench.run(secs(60));
        let came = bench.stamps(1);
        let mut sorted = came.clone();
        sorted.sort_unstable();
        assert_eq!(channel.is_reliable(), sorted == sent, "{channel:?}");
        assert_eq!(channel.is_ordered(), came == sent, "{channel:?}");
        assert_eq!(bench.world.violations, []);
    }
}

#[test]
fn a_close_comes_after_what_was_sent_before() {
    let mut bench = Bench::connected(lossy());
    for stamp in 0..20 {
        bench.send(0, Channel::Messages, stamp);
    }
    bench.act(0, |links, random, world| links.close(LINK, random, world));
    bench.run(secs(60));
    assert_eq!(bench.stamps(1).len(), 20);
    assert_eq!(bench.inputs[1].last(), Some(&DOWN(DownReason::Closed)));
}

#[test]
fn without_a_candidate_there_is_no_link() {
    let mut bench = Bench::new(NetworkConfig::default());
    bench.carry_candidates = false;
    bench.open();
    bench.run(secs(20));
    for side in [0, 1] {
        assert_eq!(bench.inputs[side].last(), Some(&DOWN(DownReason::Failed)));
    }
}

#[test]
fn a_blocked_pair_fails_to_connect() {
    let mut bench = Bench::new(NetworkConfig::default());
    bench.world.network.block(NodeIndex(0), NodeIndex(1));
    bench.open();
    bench.run(secs(20));
    for side in [0, 1] {
        assert_eq!(bench.inputs[side].last(), Some(&DOWN(DownReason::Failed)));
    }
}

#[test]
fn a_cut_holds_reliable_frames_back_until_it_is_healed() {
    let mut bench = Bench::connected(NetworkConfig::default());
    // One is under way when the cut comes, the other is sent during it.
    bench.send(0, Channel::Messages, 0);
    bench.cut();
    bench.send(0, Channel::Messages, 1);
    bench.send(0, Channel::Realtime, 2);
    bench.run(secs(5));
    assert_eq!(bench.inputs[1], []);
    // Nor is the buffer any emptier.
    assert_eq!(bench.inputs[0], []);
    bench.heal();
    bench.run(secs(20));
    assert_eq!(bench.stamps(1), [0, 1]);
    assert!(
        bench.inputs[0]
            .iter()
            .any(|input| matches!(input, Input::LinkWritable { .. }))
    );
}

#[test]
fn a_dead_path_is_noticed_if_asked_for() {
    let config = NetworkConfig {
        path_timeouts: Some(PathTimeouts {
            suspect: secs(2),
            failed: secs(6),
        }),
        ..NetworkConfig::default()
    };
    let mut bench = Bench::connected(config);
    bench.cut();
    bench.run(secs(1));
    bench.heal();
    bench.run(secs(10));
    assert_eq!(bench.inputs[0], []);
    bench.cut();
    bench.run(secs(3));
    assert_eq!(bench.inputs[0], [Input::LinkSuspect { link: LINK }]);
    bench.run(secs(4));
    assert_eq!(bench.inputs[0].last(), Some(&DOWN(DownReason::Failed)));
}

#[test]
fn every_byte_is_reported_as_sent_once() {
    let mut bench = Bench::connected(NetworkConfig::default());
    let mut total = 0;
    for stamp in 0..50 {
        bench.send(0, Channel::Control, stamp);
        total += circlet_core::wire::FrameBuf::from(Frame::from(Ping { stamp })).size();
    }
    bench.run(secs(1));
    let reported: usize = bench.inputs[0]
        .iter()
        .map(|input| match input {
            Input::LinkWritable { bytes, .. } => *bytes,
            _ => 0,
        })
        .sum();
    assert_eq!(reported, total);
}

#[test]
fn uplink_and_downlink_let_so_many_bytes_through() {
    let narrow = Some(1_000);
    let no_limit = NetworkConfig {
        bandwidth: None,
        ..NetworkConfig::default()
    };
    let (up, down) = (no_limit.clone(), no_limit.clone());
    let configs = [
        NetworkConfig {
            uplink: narrow,
            ..up
        },
        NetworkConfig {
            downlink: narrow,
            ..down
        },
    ];
    for config in configs {
        let mut bench = Bench::connected(config);
        let size = circlet_core::wire::FrameBuf::from(Frame::from(Ping { stamp: 1 })).size();
        let through_in_a_second = 1_000 / size;
        let sent: Vec<_> = (0..3 * through_in_a_second as u64).collect();
        for stamp in &sent {
            bench.send(0, Channel::Control, *stamp);
        }
        bench.act(0, |links, random, world| links.close(LINK, random, world));
        bench.run(secs(1));
        let came = bench.stamps(1).len();
        // What takes up to 15 ms on its way is not there yet.
        let slack = 1 + through_in_a_second / 50;
        assert!(
            came.abs_diff(through_in_a_second) <= slack,
            "{came} of {size} bytes"
        );
        bench.run(secs(3));
        let mut came = bench.stamps(1);
        came.sort_unstable();
        assert_eq!(came, sent);
        assert_eq!(bench.inputs[1].last(), Some(&DOWN(DownReason::Closed)));
        let bytes = (sent.len() * size) as u64;
        assert_eq!(bench.ends[0].volume().sent_bytes, bytes);
        assert_eq!(bench.ends[1].volume().received_bytes, bytes);
    }
}

#[test]
fn misuse_is_a_violation() {
    let misuse: [fn(&mut Links, &mut Stream, &mut World); 4] = [
        |links, random, world| {
            links.open(
                LINK,
                NodeId::from_bytes([1; 32]),
                Role::Offerer,
                random,
                world,
            );
        },
        |links, random, world| links.close(LinkId(7), random, world),
        |links, random, world| links.apply(LINK, &Signal::EndOfCandidates, random, world),
        |links, random, world| {
            links.close(LINK, random, world);
            let frame = Frame::from(Ping { stamp: 0 }).into();
            links.send(LINK, Channel::Control, frame, random, world);
        },
    ];
    for (number, misuse) in misuse.into_iter().enumerate() {
        let mut bench = Bench::connected(NetworkConfig::default());
        bench.act(0, misuse);
        // The third is none: it only says what is known.
        let expected = usize::from(number != 2);
        assert_eq!(bench.world.violations.len(), expected, "misuse {number}");
    }
}
