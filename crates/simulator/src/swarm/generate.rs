//! From a seed to a plan.
//!
//! Each plan leaves about half of the kinds of faults out and draws the weights of the others:
//! what many kinds together would mask comes to light where some of them are missing (Groce,
//! Zhang, Eide, Chen, Regehr, "Swarm testing", ISSTA 2012).

use std::collections::BTreeSet;

use circlet_core::Topology;

use super::plan::{Action, Plan, Reach, Settings, Shout, Step, Talk};
use crate::random::{Concern, Stream};

/// Nodes are started and stopped only while that leaves as many.
const FEWEST: usize = 2;

/// The plan of a seed.
#[must_use]
pub fn generate(seed: u64) -> Plan {
    // Another stream than the simulation's own scenario has.
    let mut random = Stream::fork(seed, Concern::Scenario, 1);
    let most = most_nodes(&mut random);
    let settings = settings(&mut random, most);
    let faults = 10 + random.below(50);
    let mut generator = Generator {
        weights: weights(&mut random),
        settings: &settings,
        random,
        most,
        now: 0,
        steps: Vec::new(),
        running: Vec::new(),
        ended: Vec::new(),
        trackers_down: BTreeSet::new(),
        blocked: Vec::new(),
    };
    generator.start();
    for _ in 0..faults {
        generator.pause();
        let burst = 1 + generator.most as u64 / 40;
        for _ in 0..1 + generator.random.below(burst) {
            generator.fault();
        }
        for _ in 0..generator.random.below(4) {
            generator.message();
        }
    }
    generator.pause();
    let (heal_ms, steps) = (generator.now, generator.steps);
    Plan {
        seed,
        heal_ms,
        final_rounds: 5,
        settings,
        steps,
    }
}

/// Most runs are small: that is where the lists end before their owner, and where r + 1 members
/// come and go. A few are not.
fn most_nodes(random: &mut Stream) -> usize {
    let range = match random.below(1000) {
        0..450 => 3..11,
        450..800 => 8..25,
        800..985 => 20..41,
        985..998 => 40..100,
        _ => 100..201,
    };
    (range.start + random.below(range.end - range.start)) as usize
}

fn settings(random: &mut Stream, most: usize) -> Settings {
    let plain = Settings::plain();
    let topology = match random.below(10) {
        0..2 => Topology::Ring,
        2..4 => Topology::Mesh,
        4..6 => Topology::Star,
        _ => Topology::SmallWorld,
    };
    let lowest = random.below(30);
    let highest = lowest + [5, 30, 150][random.below(3) as usize];
    let mut settings = Settings {
        topology,
        deadline_ms: deadline_ms(topology, most, highest),
        trackers: if random.chance(0.2) { 2 } else { 1 },
        clock_skew_ms: [0, 0, 30_000][random.below(3) as usize],
        latency_ms: [lowest, highest],
        loss_permille: [0, 0, 10, 100][random.below(4) as usize],
        bandwidth: [0, 1_000_000, 12_500_000][random.below(3) as usize],
        late_events_percent: [0, 50, 100][random.below(3) as usize],
        path_timeouts: random.chance(0.5),
        encode: random.chance(0.3),
        ..plain
    };
    if random.chance(0.4) {
        settings.list_len = 2 + random.below(7) as usize;
        settings.ring_links = 1 + random.below(settings.list_len.min(4) as u64) as usize;
        settings.long_links = 1 + random.below(8) as usize;
    }
    if topology.has_hub() && random.chance(0.5) {
        settings.hub = Some(random.below(most as u64) as u32);
    }
    if topology.is_direct() && random.chance(0.2) {
        settings.max_links = 16 + random.below(16) as usize;
    }
    if random.chance(0.2) {
        settings.window_messages = 1 + random.below(16) as usize;
        settings.link_window = 16_384;
    }
    settings
}

/// Long enough for a message to go round a ring of so many nodes with so much latency, twice
/// over; else short, because what was said to the dead has to be waited for in the end.
fn deadline_ms(topology: Topology, most: usize, latency_ms: u64) -> u64 {
    let hops = match topology {
        Topology::Ring => most as u64,
        _ => 16,
    };
    10_000 + 4 * hops * latency_ms
}

/// The kinds of faults, with how often each is drawn.
type Weights = Vec<(u64, Kind)>;

#[derive(Clone, Copy)]
enum Kind {
    Spawn,
    Crash,
    CrashNoticed,
    CrashMany,
    Leave,
    Restart,
    CrashTracker,
    StartTracker,
    Partition,
    Heal,
    Block,
    Unblock,
    Loss,
}

/// Those that a plan may leave out.
const FAULTS: [Kind; 9] = [
    Kind::Crash,
    Kind::CrashNoticed,
    Kind::CrashMany,
    Kind::Leave,
    Kind::Restart,
    Kind::CrashTracker,
    Kind::Partition,
    Kind::Block,
    Kind::Loss,
];

/// Those that every plan has: somebody comes, something works again.
const REPAIRS: [(u64, Kind); 4] = [
    (8, Kind::Spawn),
    (3, Kind::StartTracker),
    (3, Kind::Heal),
    (2, Kind::Unblock),
];

fn weights(random: &mut Stream) -> Weights {
    let mut weights: Weights = FAULTS
        .into_iter()
        .filter_map(|kind| {
            let weight = 1 + random.below(8);
            random.chance(0.5).then_some((weight, kind))
        })
        .collect();
    weights.extend(REPAIRS);
    weights
}

struct Generator<'a> {
    settings: &'a Settings,
    weights: Weights,
    random: Stream,
    most: usize,
    now: u64,
    steps: Vec<Step>,
    running: Vec<u32>,
    ended: Vec<u32>,
    trackers_down: BTreeSet<u16>,
    blocked: Vec<[u32; 2]>,
}

impl Generator<'_> {
    /// The first nodes: all at once, or one after another.
    fn start(&mut self) {
        let first = 1 + self.random.below(self.most as u64);
        let at_once = self.random.chance(0.5);
        for _ in 0..first {
            self.spawn();
            if !at_once {
                self.now += self.random.below(100);
            }
        }
        // Faults befall a ring that forms, or one that has settled.
        if self.random.chance(0.5) {
            self.now += 12_000;
        }
    }

    /// Faults come in bursts, one after another, or when the last one has been dealt with.
    fn pause(&mut self) {
        self.now += match self.random.below(10) {
            0..2 => 0,
            2..5 => self.random.below(100),
            5..9 => self.random.below(1500),
            _ => self.random.below(8000),
        };
    }

    fn push(&mut self, action: Action) {
        let at_ms = self.now;
        self.steps.push(Step { at_ms, action });
    }

    fn spawn(&mut self) {
        let node = (self.running.len() + self.ended.len()) as u32;
        self.running.push(node);
        self.push(Action::Spawn(node));
    }

    fn fault(&mut self) {
        let total = self.weights.iter().map(|(weight, _)| weight).sum();
        let mut roll = self.random.below(total);
        let kind = self.weights.iter().find(|(weight, _)| {
            let found = roll < *weight;
            roll = roll.saturating_sub(*weight);
            found
        });
        if let Some((_, kind)) = kind.copied() {
            self.fault_of(kind);
        }
    }

    fn fault_of(&mut self, kind: Kind) {
        match kind {
            Kind::Spawn if self.running.len() < self.most => self.spawn(),
            Kind::Spawn => {}
            Kind::Crash => self.end(Action::Crash),
            Kind::CrashNoticed => self.end(Action::CrashNoticed),
            Kind::CrashMany => {
                for _ in 0..2 + self.random.below(1 + self.running.len() as u64 / 3) {
                    self.end(Action::Crash);
                }
            }
            Kind::Leave => self.end(Action::Leave),
            Kind::Restart => self.restart(),
            Kind::CrashTracker => {
                let tracker = self.any_tracker();
                if self.trackers_down.insert(tracker) {
                    self.push(Action::CrashTracker(tracker));
                }
            }
            Kind::StartTracker => {
                if let Some(tracker) = self.trackers_down.pop_first() {
                    self.push(Action::StartTracker(tracker));
                }
            }
            Kind::Partition => self.partition(),
            Kind::Heal => self.push(Action::Heal),
            Kind::Block => {
                let pair = [self.any(), self.any()];
                if let [Some(a), Some(b)] = pair
                    && a != b
                {
                    self.blocked.push([a, b]);
                    self.push(Action::Block([a, b]));
                }
            }
            Kind::Unblock => {
                if let Some(pair) = self.blocked.pop() {
                    self.push(Action::Unblock(pair));
                }
            }
            Kind::Loss => {
                let loss = [0, 10, 100, 300][self.random.below(4) as usize];
                self.push(Action::Loss(loss));
            }
        }
    }

    fn end(&mut self, how: impl FnOnce(u32) -> Action) {
        if self.running.len() > FEWEST {
            let at = self.random.below(self.running.len() as u64) as usize;
            let node = self.running.swap_remove(at);
            self.ended.push(node);
            self.push(how(node));
        }
    }

    /// One who has ended if there is any, else one who runs.
    fn restart(&mut self) {
        if self.ended.is_empty() {
            if let Some(node) = self.any() {
                self.push(Action::Restart(node));
            }
        } else if self.running.len() < self.most {
            let at = self.random.below(self.ended.len() as u64) as usize;
            let node = self.ended.swap_remove(at);
            self.running.push(node);
            self.push(Action::Restart(node));
        }
    }

    fn partition(&mut self) {
        let mut group = self.running.clone();
        self.random.shuffle(&mut group);
        let size = 1 + self.random.below(1 + self.running.len() as u64 / 2);
        group.truncate(size as usize);
        group.sort_unstable();
        let reaches = [Reach::Nobody, Reach::Group, Reach::Everybody];
        let trackers = reaches[self.random.below(3) as usize];
        self.push(Action::Partition { group, trackers });
    }

    fn message(&mut self) {
        let (Some(from), Some(to)) = (self.any(), self.any()) else {
            return;
        };
        let bytes = [8, 100, 100, 5000][self.random.below(4) as usize];
        let burst = self.random.chance(0.1);
        let count = if burst {
            10 + self.random.below(40) as u32
        } else {
            1
        };
        let talk = Talk {
            from,
            to,
            count,
            bytes,
        };
        let shout = Shout {
            from,
            count: count.min(10),
            bytes,
        };
        let action = match self.random.below(10) {
            0 => Action::Broadcast(shout),
            1 => Action::Circulate(shout),
            2 => Action::Datagram(talk),
            _ => Action::Send(talk),
        };
        self.push(action);
    }

    fn any(&mut self) -> Option<u32> {
        self.random.pick(&self.running).copied()
    }

    fn any_tracker(&mut self) -> u16 {
        self.random.below(u64::from(self.settings.trackers)) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use circlet_core::Config;

    #[test]
    fn a_seed_has_one_plan_and_seeds_differ() {
        assert_eq!(generate(7), generate(7));
        assert_ne!(generate(7), generate(8));
    }

    #[test]
    fn steps_are_in_order_and_name_whom_there_is() {
        for seed in 0..200 {
            let plan = generate(seed);
            assert!(plan.steps.is_sorted_by_key(|step| step.at_ms));
            assert!(plan.steps.iter().all(|step| step.at_ms <= plan.heal_ms));
            let nodes = plan.nodes();
            for step in &plan.steps {
                assert!(step.action.nodes().iter().all(|node| nodes.contains(node)));
            }
        }
    }

    #[test]
    fn every_kind_of_action_and_size_occurs() {
        let plans: Vec<_> = (0..500).map(generate).collect();
        let kinds: BTreeSet<_> = plans
            .iter()
            .flat_map(|plan| &plan.steps)
            .map(|step| {
                let text = format!("{:?}", step.action);
                text.split(['(', ' ']).next().map(str::to_owned)
            })
            .collect();
        assert_eq!(kinds.len(), 16, "{kinds:?}");
        let sizes: Vec<_> = plans.iter().map(|plan| plan.nodes().len()).collect();
        assert!(sizes.iter().any(|size| *size <= 3) && sizes.iter().any(|size| *size > 60));
        let small = sizes.iter().filter(|size| **size <= 40).count();
        assert!(small > 300, "{small}");
        let any = |wanted: &dyn Fn(&Settings) -> bool| plans.iter().any(|p| wanted(&p.settings));
        assert!(any(
            &|settings| settings.list_len < Config::default().list_len
        ));
        for topology in Topology::ALL {
            assert!(any(&|settings| settings.topology == topology), "{topology}");
        }
        assert!(any(&|settings| settings.hub.is_some()));
    }
}
