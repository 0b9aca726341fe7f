//! A member that misbehaves beside honest ones: whatever it does, they keep the ring, their messages
//! arrive, what they hold stays bounded, and it is counted; where it is plain, it is cut off.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;

use bytes::Bytes;
use circlet_core::identity::{Identity, Incarnation, NodeId, Purpose, Signature};
use circlet_core::node::{Channel, Class, Counters, Event};
use circlet_core::overlay::Detour;
use circlet_core::ring::Place;
use circlet_core::room::RoomId;
use circlet_core::wire::{
    Body, Broadcast, BroadcastRequest, Circulate, Frame, FrameBuf, Gone, Head, Hops, Join, Lookup,
    MAX_LIST, NodeKind, Notify, Ping, Places, Presence, PresenceRequest, Routed, Signal,
    SignalBody, SignedSignal, Stabilize, Table, TrackerMessage, VERSION, Wish,
};
use circlet_core::{Config, Topology};
use circlet_simulator::invariants::ledger::Outcome;
use circlet_simulator::{NodeIndex, SimConfig, Simulation, each_seed};
use common::{TRACKER, config, ms, numbered, received, ring_of, secs};

/// Eight honest members and one that is not.
struct Scene {
    sim: Simulation,
    honest: Vec<NodeIndex>,
    hostile: NodeIndex,
    sent: u64,
}

impl Scene {
    fn new(config: SimConfig) -> Self {
        Self::of(8, config)
    }

    fn of(count: usize, config: SimConfig) -> Self {
        let (sim, mut nodes) = ring_of(count + 1, config);
        let hostile = nodes.swap_remove(count / 2);
        Self {
            sim,
            honest: nodes,
            hostile,
            sent: 0,
        }
    }

    fn room(&self) -> RoomId {
        RoomId::open(&SimConfig::default().room)
    }

    fn place(&self, node: NodeIndex) -> Place {
        Place::of(&self.room(), self.sim.node_id(node))
    }

    fn incarnation(&self, node: NodeIndex) -> Incarnation {
        self.sim.session(node).incarnation
    }

    /// A member that does not exist, with its key.
    fn nobody(&self, number: u64) -> (Identity, Place) {
        let mut seed = [0xee; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let identity = Identity::from_seed(&seed);
        let place = Place::of(&self.room(), identity.node_id());
        (identity, place)
    }

    /// Sends a frame to each honest member that the hostile one has a link with; to how many.
    fn say(&mut self, channel: Channel, frame: impl Into<FrameBuf>) -> usize {
        let frame = frame.into();
        let (sim, hostile) = (&mut self.sim, self.hostile);
        self.honest
            .iter()
            .filter(|to| sim.inject(hostile, **to, channel, frame.clone()))
            .count()
    }

    /// Honest members send each other messages, one each 10 ms, while `attack` goes on.
    fn meanwhile(&mut self, rounds: u64, mut attack: impl FnMut(&mut Self, u64)) {
        let mut sends = Vec::new();
        for round in 0..rounds {
            attack(self, round);
            let from = *self.sim.random().pick(&self.honest).unwrap();
            let to = *self.sim.random().pick(&self.honest).unwrap();
            if from != to {
                let payload = numbered(self.sent, 100);
                self.sent += 1;
                sends.push((from, self.sim.send(from, to, payload).unwrap()));
            }
            self.sim.run_for(ms(10));
        }
        self.sim.run_for(secs(5));
        for (from, id) in sends {
            let outcome = self.sim.ledger().outcome(self.sim.session(from), id);
            assert_eq!(outcome, Some(Outcome::Delivered), "a message of {from}");
        }
    }

    /// Each honest member's next honest one on both sides is the right one.
    #[track_caller]
    fn assert_ring(&self) {
        let ids: BTreeSet<NodeId> = self.honest.iter().map(|n| self.sim.node_id(*n)).collect();
        let mut order: Vec<_> = self.honest.iter().map(|n| (self.place(*n), *n)).collect();
        order.sort();
        for (at, (_, node)) in order.iter().enumerate() {
            let snapshot = self.sim.snapshot(*node).expect("an honest member runs on");
            let next = |list: &[NodeId]| list.iter().find(|id| ids.contains(*id)).copied();
            let beside = |step: usize| Some(order[(at + step) % order.len()].0.id);
            assert_eq!(next(&snapshot.successors), beside(1), "{node}");
            assert_eq!(
                next(&snapshot.predecessors),
                beside(order.len() - 1),
                "{node}"
            );
        }
    }

    /// What the honest members have counted in all.
    fn counted(&self, of: impl Fn(&Counters) -> u64) -> u64 {
        let snapshots = self
            .honest
            .iter()
            .filter_map(|node| self.sim.snapshot(*node));
        snapshots.map(|snapshot| of(&snapshot.counters)).sum()
    }

    fn honest_bytes(&self) -> u64 {
        self.honest
            .iter()
            .map(|node| self.sim.volume(*node).sent_bytes)
            .sum()
    }

    /// The honest members that have a link with the hostile one.
    fn linked(&self) -> usize {
        let id = self.sim.node_id(self.hostile);
        let has_link = |node: &&NodeIndex| {
            let snapshot = self.sim.snapshot(**node).expect("an honest member runs on");
            snapshot.links.iter().any(|link| link.peer == id)
        };
        self.honest.iter().filter(has_link).count()
    }

    /// Nobody has a link with it any more, or will soon.
    #[track_caller]
    fn assert_cut_off(&mut self) {
        assert_eq!(self.linked(), 0, "it still has links");
        assert!(
            self.counted(|counted| counted.cut_off) > 0,
            "nobody says that it was cut off"
        );
        self.sim.run_for(secs(20));
        assert_eq!(self.linked(), 0, "it is back before its time");
    }

    /// The ring is right, now and after the hostile member has gone.
    #[track_caller]
    fn finish(self) {
        self.assert_ring();
        self.depart();
    }

    /// Honest members that are next to each other have links, whoever claims to lie between.
    #[track_caller]
    fn assert_linked(&self) {
        let mut order: Vec<_> = self.honest.iter().map(|n| (self.place(*n), *n)).collect();
        order.sort();
        for (at, (_, node)) in order.iter().enumerate() {
            let (next, _) = order[(at + 1) % order.len()];
            let links = self
                .sim
                .snapshot(*node)
                .expect("an honest member runs on")
                .links;
            assert!(
                links.iter().any(|link| link.peer == next.id),
                "{node} has lost {next:?}"
            );
        }
    }

    /// Once the hostile member has gone, all is as if it had never been there.
    fn depart(mut self) {
        self.sim.crash(self.hostile);
        common::becomes_ideal(&mut self.sim, secs(30));
        let left: Vec<_> = self
            .honest
            .iter()
            .map(|n| self.sim.snapshot(*n).unwrap())
            .collect();
        assert!(left.iter().all(|node| node.member));
    }
}

/// A signed record of a member.
fn record(scene: &Scene, identity: &Identity, incarnation: u64, revision: u32) -> Presence {
    let mut presence = Presence {
        node: Place::of(&scene.room(), identity.node_id()),
        incarnation: Incarnation(incarnation),
        revision,
        name: "mallory".to_owned(),
        kind: NodeKind::Native,
        leaving: false,
        may_be_hub: true,
        hub: None,
        neighbours: Vec::new(),
        urls: Vec::new(),
        signature: Signature::from_bytes([0; 64]),
    };
    let signed = presence.signed_bytes(&scene.room());
    presence.signature = identity.sign(Purpose::Presence, &signed);
    presence
}

fn broadcast(scene: &Scene, identity: &Identity, sequence: u64, payload: &[u8]) -> Frame {
    let mut head = Broadcast {
        hops: Hops::new(1),
        origin: Place::of(&scene.room(), identity.node_id()),
        incarnation: Incarnation(1),
        sequence,
        count: 1,
        signature: Signature::from_bytes([0; 64]),
    };
    let signed = head.signed_bytes(&scene.room(), payload);
    head.signature = identity.sign(Purpose::Broadcast, &signed);
    Frame {
        head: Head::Broadcast(head),
        payload: Bytes::copy_from_slice(payload),
    }
}

fn routed(scene: &Scene, from: NodeIndex, to: NodeIndex, body: Body) -> Routed {
    Routed {
        hops: Hops::new(1),
        hop_limit: 64,
        to: scene.place(to),
        from: scene.place(from),
        incarnation: scene.incarnation(from),
        detour: Detour::default(),
        body,
    }
}

fn message(head: Routed) -> Frame {
    Frame {
        head: Head::Routed(head),
        payload: Bytes::from_static(b"not what it says"),
    }
}

#[test]
fn garbage_and_oversized_lists_close_the_link() {
    each_seed!("garbage_and_oversized_lists_close_the_link", 2, |seed| {
        let mut scene = Scene::new(config(seed));
        let many = Frame::from(Table {
            links: Places::from(vec![scene.nobody(1).1; MAX_LIST + 1]),
            ..Table::default()
        });
        let frames = [
            many.encode(),
            Bytes::from(vec![0x13; 70_000]),
            Bytes::from_static(&[0x01]),
        ];
        let channels = Channel::ALL.into_iter().cycle();
        let mut attacks = channels.zip(frames.into_iter().cycle());
        scene.meanwhile(20, |scene, _| {
            let (channel, frame) = attacks.next().unwrap();
            scene.say(channel, frame);
        });
        assert!(scene.counted(|counted| counted.bad_frames) >= 8);
        scene.assert_cut_off();
        scene.finish();
    });
}

#[test]
fn a_flood_of_frames_is_dropped_and_then_the_link() {
    each_seed!(
        "a_flood_of_frames_is_dropped_and_then_the_link",
        2,
        |seed| {
            for kind in 0..4 {
                let mut scene = Scene::new(config(seed));
                let before = scene.honest_bytes();
                scene.meanwhile(100, |scene, round| {
                    for number in 0..300 {
                        let frame = match kind {
                            0 => Frame::from(Ping { stamp: number }),
                            1 => Frame::from(Stabilize { version: 0 }),
                            2 => Frame::from(Notify {}),
                            _ => Frame::from(Join {
                                unreachable: vec![scene.nobody(round).1; MAX_LIST].into(),
                            }),
                        };
                        if scene.say(Channel::Control, frame) == 0 {
                            break;
                        }
                    }
                });
                assert!(scene.counted(|counted| counted.throttled) > 8_000);
                scene.assert_cut_off();
                // Each link's allowance, with a table of 800 bytes for an answer.
                let bytes = scene.honest_bytes() - before;
                assert!(
                    bytes < 80 << 20,
                    "{bytes} bytes were sent for its sake, kind {kind}"
                );
                scene.finish();
            }
        }
    );
}

#[test]
fn questions_that_take_long_answers_are_answered_a_few_times() {
    each_seed!(
        "questions_that_take_long_answers_are_answered_a_few_times",
        2,
        |seed| {
            let mut scene = Scene::new(config(seed));
            let asked = scene.honest[0];
            for number in 0..100 {
                scene.sim.broadcast(asked, numbered(number, 1000)).unwrap();
            }
            scene.sim.run_for(secs(1));
            let request = BroadcastRequest {
                origin: scene.sim.node_id(asked),
                incarnation: scene.incarnation(asked),
                first: 0,
                last: u64::MAX,
            };
            let before = scene.honest_bytes();
            scene.meanwhile(100, |scene, _| {
                for _ in 0..100 {
                    scene.say(Channel::Control, Frame::from(request.clone()));
                    scene.say(Channel::Control, Frame::from(PresenceRequest {}));
                }
            });
            let bytes = scene.honest_bytes() - before;
            let links = scene.honest.len() as u64;
            assert!(
                bytes / links < 20 << 20,
                "{bytes} bytes were sent for its sake"
            );
            assert!(scene.counted(|counted| counted.throttled) > 1_000);
            scene.assert_cut_off();
            scene.finish();
        }
    );
}

#[test]
fn lookups_do_not_run_for_ever() {
    each_seed!("lookups_do_not_run_for_ever", 2, |seed| {
        let mut scene = Scene::new(config(seed));
        let before = scene.honest_bytes();
        let (_, nobody) = scene.nobody(7);
        scene.meanwhile(50, |scene, round| {
            for number in 0..20 {
                let lookup = Lookup {
                    hops: Hops::new(1),
                    hop_limit: u16::MAX,
                    target: (round * 20 + number) << 48,
                    origin: nobody,
                    id: 1,
                };
                scene.say(Channel::Control, Frame::from(lookup));
            }
        });
        let bytes = scene.honest_bytes() - before;
        // Each goes on for 64 links at most, and so does its answer to nobody.
        let most = 8 * 1_000 * 2 * 64 * 128;
        assert!(bytes < most, "{bytes} bytes were sent for its sake");
        scene.finish();
    });
}

#[test]
fn records_told_too_often_go_no_further() {
    each_seed!("records_told_too_often_go_no_further", 2, |seed| {
        let mut scene = Scene::new(config(seed));
        let (identity, _) = scene.nobody(1);
        let before = scene.honest_bytes();
        scene.meanwhile(200, |scene, round| {
            for number in 0..5 {
                // Another session each time, or another revision.
                let revision = 1_000 + u32::try_from(round * 5 + number).unwrap();
                let session = 1 + (round % 2) * round;
                let presence = record(scene, &identity, session, revision);
                scene.say(Channel::Control, Frame::from(presence));
            }
        });
        let bytes = scene.honest_bytes() - before;
        assert!(bytes < 2 << 20, "{bytes} bytes were sent for its sake");
        assert!(scene.counted(|counted| counted.throttled) > 1_000);
        scene.finish();
    });
}

#[test]
fn invented_members_fill_no_more_than_the_list() {
    each_seed!("invented_members_fill_no_more_than_the_list", 1, |seed| {
        let node = Config {
            max_presence: 50,
            ..Config::default()
        };
        let mut scene = Scene::new(SimConfig {
            node,
            ..config(seed)
        });
        scene.meanwhile(100, |scene, round| {
            for number in 0..3 {
                let (identity, _) = scene.nobody(round * 3 + number);
                let presence = record(scene, &identity, 1, 1);
                scene.say(Channel::Control, Frame::from(presence));
            }
        });
        for node in &scene.honest {
            assert!(scene.sim.snapshot(*node).unwrap().members.len() <= 50);
        }
        scene.finish();
    });
}

#[test]
fn what_others_have_not_signed_is_nobodys_and_costs_the_link() {
    each_seed!(
        "what_others_have_not_signed_is_nobodys_and_costs_the_link",
        2,
        |seed| {
            for kind in 0..4 {
                let mut scene = Scene::new(config(seed));
                let victim = scene.honest[1];
                let key = scene.sim.identity(scene.hostile).clone();
                let (place, incarnation) = (scene.place(victim), scene.incarnation(victim));
                scene.meanwhile(20, |scene, round| {
                    let forged = match kind {
                        // Signed, but by another.
                        0 => Frame::from(Presence {
                            node: place,
                            ..record(scene, &key, incarnation.0 + 1, 1)
                        }),
                        // Keys that are none, and signatures that some would take for theirs.
                        1 => Frame::from(Presence {
                            node: Place::of(&scene.room(), weak_key(round)),
                            signature: Signature::from_bytes([0; 64]),
                            ..record(scene, &key, 1, 1)
                        }),
                        2 => match broadcast(scene, &key, 1_000 + round, b"forged") {
                            Frame {
                                head: Head::Broadcast(head),
                                payload,
                            } => Frame {
                                head: Head::Broadcast(Broadcast {
                                    origin: place,
                                    incarnation,
                                    ..head
                                }),
                                payload,
                            },
                            other => other,
                        },
                        _ => Frame {
                            head: Head::Circulate(Circulate {
                                origin: place,
                                incarnation,
                                id: 1_000 + round,
                                seen: Vec::new(),
                                count: 1,
                                signature: Signature::from_bytes([7; 64]),
                            }),
                            payload: Bytes::from_static(b"forged"),
                        },
                    };
                    scene.say(Channel::Control, forged);
                });
                assert!(
                    scene.counted(|counted| counted.bad_signatures) >= 8,
                    "{kind}"
                );
                scene.assert_cut_off();
                // Nothing was given to an application that was not sent.
                common::ok(scene.sim.check());
                scene.finish();
            }
        }
    );
}

/// Points of small order and what is no point at all (RFC 8032, section 5.1.7).
fn weak_key(number: u64) -> NodeId {
    let mut bytes = [0; 32];
    match number % 4 {
        0 => bytes[0] = 1,
        1 => {}
        2 => bytes = [0xff; 32],
        _ => {
            bytes = [0xff; 32];
            bytes[0] = 0xec;
            bytes[31] = 0x7f;
        }
    }
    NodeId::from_bytes(bytes)
}

#[test]
fn nobody_dies_of_rumours() {
    each_seed!("nobody_dies_of_rumours", 2, |seed| {
        let mut scene = Scene::new(config(seed));
        let before = scene.honest_bytes();
        scene.meanwhile(300, |scene, _| {
            for victim in scene.honest.clone() {
                let gone = Gone {
                    node: scene.place(victim),
                    incarnation: scene.incarnation(victim),
                    revision: u32::MAX,
                };
                scene.say(Channel::Control, Frame::from(gone));
            }
        });
        let bytes = scene.honest_bytes() - before;
        assert!(bytes < 20 << 20, "{bytes} bytes were sent for its sake");
        scene.assert_ring();
        for node in &scene.honest {
            let members = scene.sim.snapshot(*node).unwrap().members;
            let known: BTreeSet<_> = members.into_iter().map(|(id, ..)| id).collect();
            for other in scene.honest.iter().filter(|other| *other != node) {
                assert!(
                    known.contains(&scene.sim.node_id(*other)),
                    "{node} has lost {other}"
                );
            }
        }
        assert_eq!(scene.counted(|counted| counted.links_timed_out), 0);
        scene.finish();
    });
}

#[test]
fn nobody_speaks_for_a_neighbour() {
    each_seed!("nobody_speaks_for_a_neighbour", 2, |seed| {
        let mut scene = Scene::new(config(seed));
        // All nine are linked with each other; long enough for nothing to be under way any more.
        scene.sim.run_for(secs(10));
        scene.meanwhile(100, |scene, round| {
            let from = scene.honest[usize::try_from(round).unwrap() % 8];
            for to in scene.honest.clone().into_iter().filter(|to| *to != from) {
                let bodies = [
                    Body::Datagram,
                    // Takes numbers, skips what is to come, claims a later session.
                    Body::Reliable {
                        sequence: round + 1,
                        floor: 1,
                    },
                    Body::Reliable {
                        sequence: 1 << 50,
                        floor: 1 << 50,
                    },
                ];
                for body in bodies {
                    let hostile = scene.hostile;
                    let mut head = routed(scene, from, to, body);
                    scene
                        .sim
                        .inject(hostile, to, Channel::Messages, message(head.clone()));
                    head.incarnation.0 += 1;
                    scene
                        .sim
                        .inject(hostile, to, Channel::Messages, message(head));
                }
            }
        });
        assert!(scene.counted(|counted| counted.forged) > 1_000);
        common::ok(scene.sim.check());
        scene.finish();
    });
}

#[test]
fn who_says_that_a_frame_is_fresh_from_another_is_cut_off() {
    each_seed!(
        "who_says_that_a_frame_is_fresh_from_another_is_cut_off",
        2,
        |seed| {
            let mut scene = Scene::new(config(seed));
            scene.meanwhile(20, |scene, _| {
                let (from, to) = (scene.honest[0], scene.honest[1]);
                let head = routed(scene, from, to, Body::Datagram);
                let fresh = Routed {
                    hops: Hops::new(0),
                    ..head
                };
                scene.say(Channel::Realtime, message(fresh));
            });
            scene.assert_cut_off();
            common::ok(scene.sim.check());
            scene.finish();
        }
    );
}

/// In a room that is larger than the circle of neighbours, names can be borrowed as long as messages
/// to one member are not signed; what they cost is bounded.
#[test]
fn sequence_numbers_from_nowhere_are_held_within_bounds() {
    each_seed!(
        "sequence_numbers_from_nowhere_are_held_within_bounds",
        1,
        |seed| {
            let node = Config {
                held_bytes: 1 << 20,
                ..Config::default()
            };
            let mut scene = Scene::new(SimConfig {
                node,
                ..config(seed)
            });
            let payload = Bytes::from(vec![7; 16 << 10]);
            scene.meanwhile(60, |scene, round| {
                for number in 0..4 {
                    let (key, place) = scene.nobody(round * 4 + number);
                    // In the middle of a stream that never began: it waits for the rest.
                    let frame = broadcast(scene, &key, 1 << 40, &payload);
                    scene.say(Channel::Messages, frame);
                    for to in scene.honest.clone() {
                        let body = Body::Reliable {
                            sequence: 2 + number,
                            floor: 1,
                        };
                        let head = Routed {
                            from: place,
                            ..routed(scene, scene.hostile, to, body)
                        };
                        let frame = Frame {
                            head: Head::Routed(head),
                            payload: payload.clone(),
                        };
                        scene
                            .sim
                            .inject(scene.hostile, to, Channel::Messages, frame);
                    }
                    for sequence in [0, u64::MAX, u64::MAX >> 8] {
                        let frame = broadcast(scene, &key, sequence, b"odd");
                        scene.say(Channel::Messages, frame);
                        let body = Body::Reliable {
                            sequence,
                            floor: sequence,
                        };
                        let to = scene.honest[0];
                        let head = Routed {
                            from: place,
                            ..routed(scene, scene.hostile, to, body)
                        };
                        scene
                            .sim
                            .inject(scene.hostile, to, Channel::Messages, message(head));
                    }
                }
                for node in &scene.honest {
                    let held = scene.sim.snapshot(*node).unwrap().held_bytes;
                    assert!(held <= 2 << 20, "{node} holds {held} bytes");
                }
            });
            assert!(scene.counted(|counted| counted.dropped) > 0);
            scene.finish();
        }
    );
}

#[test]
fn broadcasts_of_one_do_not_hold_up_those_of_others() {
    each_seed!(
        "broadcasts_of_one_do_not_hold_up_those_of_others",
        1,
        |seed| {
            let mut scene = Scene::new(config(seed));
            let key = scene.sim.identity(scene.hostile).clone();
            let payload = vec![7; 1 << 10];
            let mut sequence = 0;
            let before: Vec<_> = scene
                .honest
                .iter()
                .map(|n| received(&scene.sim, *n, Class::Broadcast))
                .collect();
            assert!(before.iter().all(|count| *count == 0));
            let honest = scene.honest.clone();
            let shouter = honest[3];
            scene.meanwhile(200, |scene, round| {
                for _ in 0..20 {
                    sequence += 1;
                    let frame = broadcast(scene, &key, sequence, &payload);
                    scene.say(Channel::Messages, frame);
                }
                scene.sim.broadcast(shouter, numbered(round, 100)).unwrap();
            });
            for node in honest.into_iter().filter(|node| *node != shouter) {
                let from = scene.sim.node_id(shouter);
                let heard = scene.sim.events(node).filter(|(_, event)| {
                    matches!(event, Event::Message(message)
                    if message.class == Class::Broadcast && message.from == from)
                });
                assert_eq!(heard.count(), 200, "{node}");
            }
            scene.finish();
        }
    );
}

#[test]
fn invented_senders_set_nobody_against_anybody() {
    each_seed!("invented_senders_set_nobody_against_anybody", 2, |seed| {
        let mut scene = Scene::new(config(seed));
        let before = scene.honest_bytes();
        // Each is heard of in the middle of its stream, so that something seems to be missing.
        scene.meanwhile(300, |scene, round| {
            for number in 0..3 {
                let (identity, _) = scene.nobody(round * 3 + number);
                let frame = broadcast(scene, &identity, 5, b"of nobody");
                scene.say(Channel::Messages, frame);
            }
        });
        let bytes = scene.honest_bytes() - before;
        assert_eq!(scene.counted(|counted| counted.cut_off), 0);
        // 11 MB in 8 s; 96 MB if each made everybody ask everybody for all the others.
        assert!(bytes < 30 << 20, "{bytes} bytes were sent for its sake");
        scene.finish();
    });
}

fn signal(scene: &Scene, by: &Identity, from: NodeId, to: NodeId, sequence: u64) -> SignedSignal {
    SignalBody {
        version: VERSION,
        room: scene.room(),
        from,
        to,
        incarnation: Incarnation(1 << 50),
        attempt: sequence,
        sequence,
        expires_unix_ms: SimConfig::default().unix_ms + scene.sim.now().as_micros() / 1000 + 30_000,
        signal: Signal::Offer {
            sdp: "999999:1:1".to_owned(),
            wish: Wish::Ring,
            topology: Topology::SmallWorld,
        },
    }
    .sign(by)
}

#[test]
fn forged_and_repeated_signals_open_nothing() {
    each_seed!("forged_and_repeated_signals_open_nothing", 2, |seed| {
        let mut scene = Scene::new(config(seed));
        let to = scene.honest[0];
        let id = scene.sim.node_id(to);
        let links = scene.sim.snapshot(to).unwrap().links.len();
        let (key, nobody) = scene.nobody(1);
        let victim = scene.sim.node_id(scene.honest[1]);
        // In another's name, for another, from itself.
        for signal in [
            signal(&scene, &key, victim, id, 1),
            signal(&scene, &key, nobody.id, victim, 1),
            signal(&scene, &key, id, id, 1),
        ] {
            scene.sim.inject_signal(to, TRACKER, signal);
        }
        let refused = scene.sim.snapshot(to).unwrap();
        assert_eq!(refused.counters.bad_signals, 3);
        assert_eq!(refused.links.len(), links);
        // Genuine once; a repeat is nothing, however often it comes.
        let genuine = signal(&scene, &key, nobody.id, id, 2);
        for _ in 0..100 {
            scene.sim.inject_signal(to, TRACKER, genuine.clone());
        }
        let after = scene.sim.snapshot(to).unwrap();
        assert_eq!(after.links.len(), links + 1);
        assert_eq!(after.counters.repeats - refused.counters.repeats, 99);
        scene.meanwhile(100, |_, _| {});
        scene.sim.run_for(secs(15));
        // Nobody was there to link with.
        assert_eq!(scene.sim.snapshot(to).unwrap().links.len(), links);
        scene.finish();
    });
}

#[test]
fn offers_without_end_leave_room_for_honest_ones() {
    each_seed!("offers_without_end_leave_room_for_honest_ones", 2, |seed| {
        let mut scene = Scene::new(config(seed));
        let to = scene.honest[0];
        let id = scene.sim.node_id(to);
        let (key, nobody) = scene.nobody(1);
        let before = scene.sim.snapshot(to).unwrap();
        scene.meanwhile(300, |scene, round| {
            for number in 0..20 {
                // The same member over and over: each offer would take the place of the last one.
                let offer = signal(scene, &key, nobody.id, id, round * 20 + number + 1);
                scene.sim.inject_signal(to, TRACKER, offer);
            }
        });
        let after = scene.sim.snapshot(to).unwrap();
        let events = scene.sim.events(to);
        let attempts = events.filter(|(_, event)| {
            matches!(event, Event::Link { peer, state: Some(_) } if *peer == nobody.id)
        });
        // The burst, and ten in each of eight seconds.
        assert!(attempts.count() <= 64 + 80);
        assert!(after.counters.throttled - before.counters.throttled > 3_000);
        // Somebody who comes now gets in.
        scene.honest.push(scene.sim.spawn());
        scene.sim.run_for(secs(20));
        scene.finish();
    });
}

#[test]
fn tables_full_of_nobody_lead_nowhere() {
    each_seed!("tables_full_of_nobody_lead_nowhere", 3, |seed| {
        let mut scene = Scene::of(16, config(seed));
        let hostile = scene.place(scene.hostile);
        let before = scene.counted(|counted| counted.links_failed);
        scene.meanwhile(1_000, |scene, round| {
            // New ones each time, in the right order, right behind itself.
            let mut invented: Vec<_> = (0..64).map(|n| scene.nobody(round * 64 + n).1).collect();
            invented.sort();
            let split = invented.partition_point(|place| *place < hostile);
            invented.rotate_left(split);
            let list = |places: &[Place]| Places::from(places.to_vec());
            let reversed: Vec<_> = invented.iter().rev().copied().collect();
            let table = Table {
                version: 1_000_000 + round,
                member: true,
                successors: list(&invented[..8]),
                predecessors: list(&reversed[..8]),
                links: list(&invented),
            };
            scene.say(Channel::Control, Frame::from(table));
        });
        // Hints are followed, a few at a time.
        let failed = scene.counted(|counted| counted.links_failed) - before;
        println!("seed {seed}: {failed} attempts in vain");
        assert!(failed < 16 * 15 * 16, "{failed} attempts in vain");
        // Next to it the lists end in nobody, as long as it is there: it alone vouches for them.
        scene.assert_linked();
        scene.depart();
    });
}

#[test]
fn everybodys_neighbour_gets_no_more_than_its_share() {
    each_seed!(
        "everybodys_neighbour_gets_no_more_than_its_share",
        3,
        |seed| {
            let node = Config {
                ring_links: 2,
                long_links: 2,
                ..Config::default()
            };
            let mut scene = Scene::of(
                16,
                SimConfig {
                    node,
                    ..config(seed)
                },
            );
            let mut everybody: Vec<_> = scene.honest.iter().map(|n| scene.place(*n)).collect();
            everybody.sort();
            let own = scene.place(scene.hostile);
            let list_from = |step: isize| {
                let mut list = everybody.clone();
                list.push(own);
                list.sort();
                let at = list.iter().position(|place| *place == own).unwrap();
                if step > 0 {
                    list.rotate_left(at + 1);
                } else {
                    list.rotate_left(at);
                    list.reverse();
                }
                list.retain(|place| *place != own);
                Places::from(list[..8].to_vec())
            };
            let (successors, predecessors) = (list_from(1), list_from(-1));
            scene.meanwhile(500, |scene, round| {
                let table = Table {
                    version: 1_000_000 + round,
                    member: true,
                    successors: successors.clone(),
                    predecessors: predecessors.clone(),
                    links: everybody.clone().into(),
                };
                scene.say(Channel::Control, Frame::from(table));
            });
            scene.finish();
        }
    );
}

/// It is in the way of messages, and passes none on.
#[test]
fn a_member_that_drops_everything_is_gone_round() {
    each_seed!("a_member_that_drops_everything_is_gone_round", 3, |seed| {
        let mut scene = Scene::of(16, config(seed));
        scene.sim.tamper(scene.hostile, |frame| match &frame.head {
            Head::Routed(_) | Head::Broadcast(_) | Head::Lookup(_) | Head::Circulate(_) => None,
            _ => Some(frame),
        });
        scene.meanwhile(500, |scene, round| {
            if round % 10 == 0 {
                let from = scene.honest[0];
                scene.sim.broadcast(from, numbered(round, 100)).unwrap();
            }
        });
        for node in &scene.honest[1..] {
            assert_eq!(received(&scene.sim, *node, Class::Broadcast), 50, "{node}");
        }
        scene.finish();
    });
}

#[test]
fn a_tracker_does_not_pass_on_signals_in_others_names() {
    let mut scene = Scene::new(config(1));
    let (victim, to) = (scene.honest[0], scene.honest[1]);
    let key = scene.sim.identity(scene.hostile).clone();
    let before = scene.counted(|counted| counted.bad_signals);
    let (victim, to) = (scene.sim.node_id(victim), scene.sim.node_id(to));
    let forged = signal(&scene, &key, victim, to, 1);
    let message = TrackerMessage::Signal { signal: forged };
    scene.sim.inject_to_tracker(scene.hostile, TRACKER, message);
    scene.meanwhile(100, |_, _| {});
    assert_eq!(scene.counted(|counted| counted.bad_signals), before);
    scene.finish();
}
