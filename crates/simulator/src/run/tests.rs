use std::num::NonZeroUsize;
use std::time::Duration;

use super::*;
use crate::random::{Concern, Stream};
use crate::scenario::mutilate::mutilate;
use crate::scenario::{BUILT_IN, Files, Overrides};

fn scenario(text: &str) -> Scenario {
    Scenario::parse("test.toml", text, &Files::none(), Overrides::default()).unwrap()
}

fn results_of(text: &str) -> Results {
    results_on(1, text)
}

const QUIET: &str = "
duration_s = 10
[overlay]
nodes = 12
[[traffic]]
kind = \"unicast\"
from = \"all\"
per_s = 2
[[traffic]]
kind = \"broadcast\"
per_s = 1
[[traffic]]
kind = \"circulate\"
per_s = 0.5
[measure]
every_s = 1
";

#[test]
fn a_quiet_overlay_delivers_everything() {
    let results = results_of(QUIET);
    assert!(results.complete && results.passed());
    for class in &results.traffic {
        assert!(class.delivered > 0 && class.lost == 0, "{class:?}");
    }
}

fn results_on(threads: usize, text: &str) -> Results {
    let threads = NonZeroUsize::new(threads).unwrap();
    let run = run(&scenario(text), threads, &Stop::default(), &mut |_| {});
    run.unwrap().results
}

/// Everything that the overlay engine can do, at once.
const BUSY: &str = r#"
    detail = "overlay"
    duration_s = 16
    [overlay]
    nodes = 150
    [network]
    latency = { model = "uniform", min_ms = 5, max_ms = 80 }
    loss = 0.01
    unconnectable_share = 0.05
    uplink_mbit_per_s = 20
    downlink_mbit_per_s = 50
    [[arrivals]]
    kind = "poisson"
    per_s = 2
    [[departures]]
    per_s = 2
    crash_share = 0.5
    [[faults]]
    at_s = 5
    kind = "crash"
    share = 0.1
    [[faults]]
    at_s = 8
    kind = "restart"
    count = 10
    [[faults]]
    at_s = 10
    kind = "partition"
    shares = [0.5, 0.5]
    [[faults]]
    at_s = 11
    kind = "heal"
    [[traffic]]
    kind = "unicast"
    per_s = 100
    [[traffic]]
    kind = "lookup"
    per_s = 50
    [[traffic]]
    kind = "broadcast"
    per_s = 2
"#;

#[test]
fn threads_change_no_byte_of_the_results() {
    let json = |threads| serde_json::to_string(&results_on(threads, BUSY)).unwrap();
    let one = json(1);
    assert_eq!(one, json(1), "on one thread, twice");
    assert_eq!(one, json(2), "on two threads");
    assert_eq!(one, json(3), "on three threads");
}

#[test]
fn an_overlay_under_churn_heals_and_delivers() {
    let results = results_on(2, BUSY);
    assert_eq!(results.violations.count, 0, "{:?}", results.violations);
    let last = results.series.last().unwrap();
    // Those who crashed less than 3.4 s ago are in lists still.
    assert!(last.ring_correct_share > 0.9, "{last:?}");
    assert_eq!(last.rings, Some(1));
    for traffic in &results.traffic {
        let share = traffic.delivered_share().unwrap();
        let least = if traffic.class == "unicast" {
            0.95
        } else {
            0.85
        };
        assert!(share > least, "{}: {share}", traffic.class);
    }
}

#[test]
fn members_that_join_one_after_another_become_a_ring() {
    let results = results_of(
        r#"
        detail = "overlay"
        duration_s = 20
        [overlay]
        nodes = 200
        start = "join"
        join_every_ms = 20
        [[traffic]]
        kind = "unicast"
        per_s = 100
        start_s = 15
        "#,
    );
    let last = results.series.last().unwrap();
    assert!(last.ring_is_right, "{last:?}");
    assert_eq!((last.living, last.rings), (200, Some(1)));
    let [unicast] = &results.traffic[..] else {
        panic!("{:?}", results.traffic)
    };
    assert_eq!(unicast.lost, 0);
    assert!(unicast.sent > 300);
}

#[test]
fn hops_are_those_of_the_prototype() {
    // REFERENCES: 3.6 greedy and 2.7 with lookahead at 1,000 members with 8 long links.
    for (lookahead, hops) in [(false, 3.6), (true, 2.7)] {
        let results = results_of(&format!(
            r#"
            detail = "overlay"
            duration_s = 10
            [overlay]
            nodes = 1000
            lookahead = {lookahead}
            [[traffic]]
            kind = "unicast"
            per_s = 2000
            end_s = 8
            "#
        ));
        let unicast = &results.traffic[0];
        assert_eq!(unicast.lost, 0);
        let mean = unicast.hops.mean().unwrap();
        assert!((mean / hops - 1.0).abs() < 0.1, "{mean} against {hops}");
    }
}

#[test]
fn messages_find_their_way_among_the_dead() {
    // Nobody is told who has died: whoever gives a message to the dead finds that one out.
    let results = results_of(
        r#"
        detail = "overlay"
        duration_s = 14
        [overlay]
        nodes = 2000
        maintained = false
        acknowledged_hops = true
        [[faults]]
        at_s = 1
        kind = "crash"
        share = 0.5
        [[traffic]]
        kind = "unicast"
        per_s = 1000
        start_s = 2
        end_s = 8
        "#,
    );
    let unicast = &results.traffic[0];
    let share = unicast.delivered as f64 / unicast.expected as f64;
    assert!(share > 0.995, "{share}");
}

/// Everything that the engine of whole nodes can do, at once.
const BUSY_NODES: &str = r#"
    duration_s = 20
    [overlay]
    nodes = 16
    start = "join"
    join_every_ms = 50
    [network]
    latency = { model = "log-normal", median_ms = 20, sigma = 0.5 }
    loss = 0.01
    unconnectable_share = 0.05
    uplink_mbit_per_s = 20
    downlink_mbit_per_s = 50
    [trackers]
    count = 2
    [[arrivals]]
    kind = "poisson"
    per_s = 0.5
    [[arrivals]]
    kind = "flash-crowd"
    count = 3
    at_s = 4
    over_s = 1
    [[departures]]
    per_s = 0.2
    crash_share = 0.5
    [sessions]
    distribution = "weibull"
    shape = 0.5
    scale_s = 60
    crash_share = 0.5
    [[faults]]
    at_s = 5
    kind = "crash"
    count = 2
    choice = "adjacent"
    [[faults]]
    at_s = 6
    kind = "leave"
    members = ["n0", "n1"]
    [[faults]]
    at_s = 8
    kind = "restart"
    count = 1
    [[faults]]
    at_s = 9
    kind = "tracker-down"
    tracker = 1
    [[faults]]
    at_s = 10
    kind = "partition"
    shares = [0.5, 0.5]
    trackers = "0"
    [[faults]]
    at_s = 12
    kind = "heal"
    [[faults]]
    at_s = 13
    kind = "tracker-up"
    [[faults]]
    at_s = 14
    kind = "loss"
    share = 0.05
    [[traffic]]
    kind = "unicast"
    from = "all"
    per_s = 1
    [[traffic]]
    kind = "datagram"
    per_s = 2
    [[traffic]]
    kind = "lookup"
    per_s = 2
    count = 10
    [[traffic]]
    kind = "circulate"
    per_s = 0.5
    [[traffic]]
    kind = "stream"
    mbit_per_s = 0.1
    start_s = 2
    end_s = 10
    [measure]
    every_s = 0.5
    start_s = 1
    drawing_s = 9
"#;

#[test]
fn whole_nodes_do_the_same_each_time() {
    let json = || serde_json::to_string(&results_of(BUSY_NODES)).unwrap();
    assert_eq!(json(), json());
}

#[test]
fn whole_nodes_do_what_the_scenario_says() {
    let results = results_of(BUSY_NODES);
    assert_eq!(results.violations.count, 0, "{:?}", results.violations);
    let labels: Vec<_> = results.marks.iter().map(|mark| &mark.label[..]).collect();
    let wanted = [
        "3 arrive",
        "2 crash",
        "1 come back",
        "tracker 1 down",
        "healed",
        "trackers up",
        "5 % of messages lost",
    ];
    for label in wanted {
        assert!(labels.contains(&label), "{label}: {labels:?}");
    }
    // Of the two who are named, those who have not gone before.
    assert!(labels.iter().any(|label| label.ends_with(" leave")));
    let population = results.population;
    assert!(
        population.crashed >= 1 && population.left >= 1,
        "{population:?}"
    );
    let fates = population.crashed + population.left + population.living;
    assert_eq!(fates, population.started);
    assert_eq!(results.drawing.as_ref().unwrap().time_s, 9.0);
    let lookups = results
        .traffic
        .iter()
        .find(|of| of.class == "lookup")
        .unwrap();
    assert!((1..=10).contains(&lookups.sent), "{lookups:?}");
    // 100 kbit/s for 8 s, in messages of 1000 bytes; now and then nobody can send one yet.
    let stream = results.traffic.iter().find(|of| of.class == "stream");
    let sent = stream.unwrap().sent;
    assert!((90..=100).contains(&sent), "{sent}");
    let centre = results.load.centre.as_ref().unwrap();
    assert!(centre.uplink_bits_per_s > 0);
    // In order, twice a second and at the end.
    let times: Vec<f64> = results.series.iter().map(|sample| sample.time_s).collect();
    assert!(times.is_sorted() && times.len() == 41, "{times:?}");
}

/// The first lists of a run show what a fault has done right after it.
#[test]
fn a_crash_shows_in_the_series() {
    let results = results_of(
        r#"
        duration_s = 12
        overlay.nodes = 20
        measure.every_s = 0.5
        [[faults]]
        at_s = 2
        kind = "crash"
        share = 0.2
        [[expect]]
        metric = "ring.right_after_s"
        at_most = 8
        [[expect]]
        metric = "ring.correct_share_min"
        at_most = 0.9
        "#,
    );
    assert!(results.passed(), "{:?}", results.expectations);
    let at = |time_s: f64| {
        let found = results.series.iter().find(|sample| sample.time_s == time_s);
        found.unwrap()
    };
    assert_eq!((at(2.0).living, at(2.5).living), (20, 16));
    assert!(at(2.0).ring_is_right && !at(2.5).ring_is_right);
    let crashed = results
        .members
        .rows
        .iter()
        .filter(|row| row.ended_s == Some(2.0));
    assert_eq!(crashed.count(), 4);
}

#[test]
fn a_run_that_is_stopped_gives_what_is_known() {
    let stop = Stop::default();
    let scenario = scenario(QUIET);
    let mut stop_at_3 = |at: &Progress| {
        if at.time_s >= 3.0 {
            stop.stop();
        }
    };
    let results = run(&scenario, NonZeroUsize::MIN, &stop, &mut stop_at_3)
        .unwrap()
        .results;
    assert!(!results.complete);
    assert!(
        (3.0..4.0).contains(&results.duration_s),
        "{}",
        results.duration_s
    );
    assert!(results.traffic.iter().any(|of| of.delivered > 0));
}

/// Broken scenarios that are valid nevertheless end, and soon if they are small.
#[test]
fn mutilated_scenarios_run_to_their_end() {
    let mut random = Stream::fork(2, Concern::Scenario, 0);
    let texts: Vec<&str> = BUILT_IN
        .iter()
        .map(|(_, text)| *text)
        .chain([BUSY_NODES])
        .collect();
    let few = Overrides {
        seed: None,
        nodes: Some(3),
    };
    let mut runs = 0;
    while runs < 40 {
        let text = mutilate(&texts, &mut random);
        let Ok(mut scenario) = Scenario::parse("test.toml", &text, &Files::none(), few) else {
            continue;
        };
        scenario.measure.settle = scenario.measure.settle.min(Duration::from_secs(2));
        let stop = Stop::default();
        let mut slices = 0;
        let mut stop_early = |at: &Progress| {
            slices += 1;
            if slices > 20 || at.events > 30_000 {
                stop.stop();
            }
        };
        if let Ok(run) = run(&scenario, NonZeroUsize::MIN, &stop, &mut stop_early) {
            serde_json::to_string(&run.results).unwrap();
            runs += 1;
        }
    }
}
