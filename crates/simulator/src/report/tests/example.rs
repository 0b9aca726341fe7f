//! Made-up results with everything in them, to look at and to test with.

use crate::random::{Concern, Stream};
use crate::results::{
    Bound, Detail, Drawing, DrawnLink, DrawnMember, Expectation, Fate, GraphMetrics, LinkKind,
    Load, Mark, MemberLoad, MemberRow, Members, Population, Reference, Results, Sample,
    ScenarioName, Traffic, ViolationRow, Violations,
};

/// 64 members of which 19 crash at 60 s.
pub(super) fn results(name: &str, seed: u64) -> Results {
    let mut stream = Stream::fork(seed, Concern::Scenario, 0);
    let members = 64u32;
    let drawn = (0..members)
        .map(|index| DrawnMember {
            member: format!("member {index}"),
            turn: f64::from(index) / f64::from(members),
            alive: index % 7 != 3,
            whole: false,
        })
        .collect();
    let mut links = Vec::new();
    for from in 0..members {
        links.push(DrawnLink {
            from,
            to: (from + 1) % members,
            kind: LinkKind::Ring,
        });
        for _ in 0..4 {
            let to = stream.below(u64::from(members)) as u32;
            links.push(DrawnLink {
                from,
                to,
                kind: LinkKind::Long,
            });
        }
    }
    let mut load = Load {
        uplink_limit_bits_per_s: Some(500_000),
        ..Load::default()
    };
    let mut rows = Vec::new();
    for member in 0..u64::from(members) {
        let uplink = if member == 0 {
            320_000
        } else {
            60_000 + stream.below(120_000)
        };
        let downlink = if member == 0 {
            120_000
        } else {
            80_000 + stream.below(60_000)
        };
        let open = if member == 0 {
            16
        } else {
            6 + stream.below(6) + stream.below(6)
        };
        load.links.record(open);
        load.uplink_bits_per_s.record(uplink);
        load.downlink_bits_per_s.record(downlink);
        rows.push(MemberRow {
            member: format!("member {member}"),
            position: format!("{:016x}", member << 58),
            started_s: 0.25 * member as f64,
            ended_s: (member % 7 == 3).then_some(60.0),
            fate: if member % 7 == 3 {
                Fate::Crashed
            } else {
                Fate::Living
            },
            links: open,
            uplink_bits_per_s: uplink,
            downlink_bits_per_s: downlink,
            ..MemberRow::default()
        });
    }
    load.busiest = Some(MemberLoad {
        member: "member 0".to_owned(),
        uplink_bits_per_s: 320_000,
        downlink_bits_per_s: 120_000,
        links: 16,
    });
    let graph = GraphMetrics::measure(
        120.0,
        members,
        links.iter().map(|link| (link.from, link.to)),
    );
    Results {
        scenario: ScenarioName {
            name: name.to_owned(),
            title: "A third of 64 members crash at once".to_owned(),
            description:
                "Shows how long the ring is wrong after a mass failure, and what is lost until \
                          the survivors have found each other.\n\nNobody is told of the crashes."
                    .to_owned(),
        },
        version: "0.1.0".to_owned(),
        seed,
        detail: Detail::Full,
        topology: "small-world".to_owned(),
        duration_s: 120.0,
        complete: true,
        events: 1_234_567,
        population: Population {
            started: 64,
            left: 0,
            crashed: 9,
            living: 55,
        },
        traffic: vec![
            traffic(&mut stream, "reliable", 3),
            traffic(&mut stream, "broadcast", 5),
        ],
        marks: vec![
            Mark {
                time_s: 60.0,
                label: "30 % crash".to_owned(),
            },
            Mark {
                time_s: 90.0,
                label: "the tracker is back".to_owned(),
            },
        ],
        series: (1..=120)
            .map(|second| sample(second, &mut stream))
            .collect(),
        load,
        members: Members { total: 64, rows },
        graph: Some(graph),
        drawing: Some(Drawing::of(120.0, drawn, &links)),
        violations: Violations {
            count: 1,
            first: vec![ViolationRow {
                time_s: 61.5,
                invariant: "order".to_owned(),
                what: "member 3 got 17 before 16".to_owned(),
            }],
        },
        expectations: vec![
            Expectation::new(
                "mean hops",
                Bound::AtMost(3.0),
                Some(2.7),
                "prototype, k = 8",
            ),
            Expectation::new("delivered, %", Bound::AtLeast(99.99), Some(99.98), "issue"),
            Expectation::new(
                "repair, s",
                Bound::Within {
                    of: 4.0,
                    percent: 5.0,
                },
                None,
                "DESIGN 5",
            ),
        ],
        references: vec![
            reference(
                "Chord, ToN 2003, Table II",
                "mean path, none failed",
                3.84,
                3.91,
            ),
            reference(
                "Chord, ToN 2003, Table II",
                "mean path, 30 % failed",
                4.44,
                4.3,
            ),
        ],
    }
}

fn reference(source: &str, name: &str, published: f64, measured: f64) -> Reference {
    Reference {
        source: source.to_owned(),
        name: name.to_owned(),
        published,
        measured: Some(measured),
        note: "clockwise only".to_owned(),
    }
}

fn traffic(stream: &mut Stream, class: &str, spread: u64) -> Traffic {
    let mut traffic = Traffic {
        class: class.to_owned(),
        sent: 10_000,
        expected: 10_000,
        delivered: 9_998,
        lost: 2,
        ..Traffic::default()
    };
    for _ in 0..traffic.delivered {
        let hops = 1 + stream.below(spread) + stream.below(spread);
        traffic.hops.record(hops);
        let latency = (0..hops).map(|_| 20_000 + stream.below(80_000)).sum();
        traffic.latency_us.record(latency);
        traffic.timeouts.record(u64::from(stream.chance(0.02)));
    }
    traffic
}

fn sample(second: u32, stream: &mut Stream) -> Sample {
    let since = second.saturating_sub(60);
    let broken = second >= 60 && since < 9;
    let wrong = if broken {
        0.3 / f64::from(since + 1)
    } else {
        0.0
    };
    let expected = 80 + stream.below(20);
    Sample {
        time_s: f64::from(second),
        living: if second < 16 {
            u64::from(second) * 4
        } else if second < 60 {
            64
        } else {
            55
        },
        ring_correct_share: 1.0 - wrong,
        ring_is_right: !broken && second > 16,
        rings: Some(if broken { 3 - u64::from(since / 4) } else { 1 }),
        links_mean: 12.0 + stream.below(10) as f64 / 10.0,
        links_max: 16 + stream.below(2),
        expected,
        delivered: expected - if broken { stream.below(9) } else { 0 },
        bytes_sent_per_member: 14_000.0 + stream.below(2_000) as f64,
    }
}
