//! Runs a plan: safety under its faults first, then everything is healed, and liveness is
//! demanded (the way of TigerBeetle's VOPR and of openraft's simulated cluster tests).

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use circlet_core::Timestamp;
#[cfg(doc)]
use circlet_core::Topology;
use circlet_core::node::TrackerId;

use super::plan::{Action, Plan, Reach, Shout, Step, Talk};
use crate::config::{NodeOptions, SimConfig};
use crate::host::{Ended, HostState};
use crate::invariants::settled::Settled;
use crate::invariants::view::RingView;
use crate::invariants::{ideal_ring, symmetry};
use crate::network::{NetworkConfig, TrackerReach};
use crate::random::{Concern, Stream};
use crate::simulation::Simulation;
use crate::world::{NodeIndex, Violation};

/// Virtual time between two looks at the invariants while nothing is done from outside.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Virtual time in which the ring must become ideal once everything is healed, and then the
/// links right: quarantines of 10 s and backoffs of as long may follow each other.
const HEALING_LIMIT: Duration = Duration::from_secs(60);

/// Virtual time after a message's deadline by which it must have its outcome.
const OUTCOME_SLACK: Duration = Duration::from_secs(3);

/// The share of messages lost at which hardly any link's set-up times out.
const MOST_LOSS_OF_SETTLED: f64 = 0.02;

/// Hops after which a message for somebody who has gone ends: see [`Topology::hop_limit`].
const MOST_HOPS: u64 = 64;

/// What ten repetitions of a lost frame take: 0.3 s, doubled five times.
const LONGEST_REPETITION: Duration = Duration::from_secs(60);

/// Messages in a final round.
const FINAL_MESSAGES: u64 = 10;

/// Virtual time between two final rounds.
const FINAL_PAUSE: Duration = Duration::from_millis(50);

/// Events that a run may have: several times what the largest needs.
const MAX_EVENTS: u64 = 100_000_000;

/// What a run that passed was like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events executed.
    pub events: u64,
    /// Virtual time that passed.
    pub virtual_time: Duration,
    /// Nodes that ran at the end.
    pub nodes: usize,
    /// Times that the invariants were looked at.
    pub checks: u64,
    /// Those of them at which members had [settled](crate::invariants::settled).
    pub settled_checks: u64,
    /// Messages sent, of all classes.
    pub messages: u64,
    /// One number for everything that happened: see [`Simulation::trace_hash`].
    pub trace_hash: u64,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was seen, and when.
    pub violation: Violation,
    /// Whether the faults were over and everything was healed.
    pub healed: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.healed {
            "after healing"
        } else {
            "under faults"
        };
        write!(f, "{when}, {}", self.violation)
    }
}

impl std::error::Error for Failure {}

/// Runs a plan.
///
/// # Errors
/// The first invariant that did not hold; a panic is one, too.
pub fn execute(plan: &Plan) -> Result<Stats, Failure> {
    execute_traced(plan, 0).0
}

/// Runs a plan in other settings than its own.
///
/// # Errors
/// As [`execute`].
pub fn execute_in(plan: &Plan, config: SimConfig) -> Result<Stats, Failure> {
    let never = AtomicBool::new(false);
    Run::new(plan, config, &never).finish()
}

/// Runs a plan unless `stop` becomes true before it has ended: then there is no result.
pub fn execute_unless(plan: &Plan, stop: &AtomicBool) -> Option<Result<Stats, Failure>> {
    let mut run = Run::new(plan, plan.sim_config(), stop);
    match run.execute_caught() {
        Ok(()) => Some(Ok(run.stats())),
        Err(Halt::Violation(violation)) => Some(Err(run.failure(violation))),
        Err(Halt::Stopped) => None,
    }
}

/// Runs a plan and keeps the last `lines` lines of what happened.
pub fn execute_traced(plan: &Plan, lines: usize) -> (Result<Stats, Failure>, Vec<String>) {
    let never = AtomicBool::new(false);
    let config = SimConfig {
        trace_lines: lines,
        ..plan.sim_config()
    };
    let mut run = Run::new(plan, config, &never);
    let result = run.finish();
    let trace = run.sim.trace_lines().map(str::to_owned).collect();
    (result, trace)
}

/// Why a run does not go on.
enum Halt {
    Stopped,
    Violation(Violation),
}

impl From<Violation> for Halt {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

struct Run<'a> {
    plan: &'a Plan,
    stop: &'a AtomicBool,
    sim: Simulation,
    /// The plan's numbers of nodes.
    nodes: BTreeMap<u32, NodeIndex>,
    /// For the final messages.
    random: Stream,
    settled: Settled,
    settled_checks: u64,
    healed: bool,
    checks: u64,
    messages: u64,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, config: SimConfig, stop: &'a AtomicBool) -> Self {
        Self {
            plan,
            stop,
            settled: Settled::new(&config.node),
            sim: Simulation::new(config),
            nodes: BTreeMap::new(),
            random: Stream::fork(plan.seed, Concern::Scenario, 2),
            settled_checks: 0,
            healed: false,
            checks: 0,
            messages: 0,
        }
    }

    fn finish(&mut self) -> Result<Stats, Failure> {
        match self.execute_caught() {
            Ok(()) => Ok(self.stats()),
            Err(Halt::Violation(violation)) => Err(self.failure(violation)),
            Err(Halt::Stopped) => {
                let violation = self.violation("runs to its end", "was stopped".into());
                Err(self.failure(violation))
            }
        }
    }

    fn execute_caught(&mut self) -> Result<(), Halt> {
        let caught = panic::catch_unwind(AssertUnwindSafe(|| self.execute()));
        caught.unwrap_or_else(|cause| {
            let what = message_of(cause.as_ref()).to_owned();
            Err(self.violation("no panic", what).into())
        })
    }

    fn stats(&self) -> Stats {
        Stats {
            events: self.sim.events_executed(),
            virtual_time: self.sim.now().since(Timestamp::ZERO),
            nodes: self.sim.running().len(),
            checks: self.checks,
            settled_checks: self.settled_checks,
            messages: self.messages,
            trace_hash: self.sim.trace_hash(),
        }
    }

    fn failure(&self, violation: Violation) -> Failure {
        Failure {
            violation,
            healed: self.healed,
        }
    }

    fn execute(&mut self) -> Result<(), Halt> {
        for step in &self.plan.steps {
            self.run_to(step.at_ms)?;
            self.act(&step.action);
            let view = self.look()?;
            let now = self.sim.now();
            if step.action.changes_network() {
                self.settled.on_network(now);
            } else {
                self.settled.on_fault(now, &view);
            }
        }
        self.run_to(self.plan.heal_ms)?;
        self.heal();
        self.settled.on_network(self.sim.now());
        self.demand_healing()?;
        self.demand_messages()
    }

    /// Lets time pass, with a look at the invariants now and then.
    fn run_to(&mut self, at_ms: u64) -> Result<(), Halt> {
        let end = Timestamp::ZERO + Duration::from_millis(at_ms);
        while self.sim.now() < end {
            let left = end.since(self.sim.now());
            self.sim.run_for(left.min(CHECK_INTERVAL));
            self.check()?;
        }
        Ok(())
    }

    /// Lets time pass until `condition` holds, at most `limit`.
    fn run_until(
        &mut self,
        limit: Duration,
        condition: impl Fn(&Simulation) -> Result<(), Violation>,
    ) -> Result<(), Halt> {
        let end = self.sim.now() + limit;
        while let Err(violation) = condition(&self.sim) {
            if self.sim.now() >= end {
                return Err(violation.into());
            }
            self.sim.run_for(CHECK_INTERVAL);
            self.check()?;
        }
        Ok(())
    }

    /// What must hold at any time, and what must be true of settled members.
    fn check(&mut self) -> Result<(), Halt> {
        let view = self.look()?;
        let now = self.sim.now();
        if !self.can_repair() {
            self.settled.on_network(now);
        }
        self.settled.check(now, &view)?;
        self.settled_checks += u64::from(self.settled.count() > 0);
        Ok(())
    }

    /// What must hold at any time.
    fn look(&mut self) -> Result<RingView, Halt> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Halt::Stopped);
        }
        self.checks += 1;
        let view = self.sim.check_view()?;
        self.check_endings()?;
        if self.sim.events_executed() > MAX_EVENTS {
            let what = format!("more than {MAX_EVENTS} events");
            return Err(self.violation("bounded work", what).into());
        }
        Ok(view)
    }

    /// Whether everybody can signal, and a link that should open does so in time.
    fn can_repair(&self) -> bool {
        let network = self.sim.network();
        let trackers = self.plan.settings.trackers;
        let has_tracker = (0..trackers).any(|tracker| network.is_tracker_up(TrackerId(tracker)));
        let mut nodes = self.sim.nodes();
        has_tracker
            && nodes.all(|node| network.joins_tracker(node))
            && network.config().loss <= MOST_LOSS_OF_SETTLED
    }

    /// Nobody ends but by crashing, or by leaving when told to.
    fn check_endings(&self) -> Result<(), Violation> {
        for node in self.sim.nodes() {
            let state = self.sim.state(node);
            let left = HostState::Ended(Ended::Left);
            if ![HostState::Running, HostState::Crashed, left].contains(&state) {
                return Err(self.violation("nobody is expelled", format!("{node}: {state:?}")));
            }
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) {
        let index = |number: &u32| self.nodes.get(number).copied();
        let running = |number: &u32| index(number).filter(|node| self.sim.is_running(*node));
        match action {
            Action::Spawn(number) => self.spawn(*number),
            Action::Crash(number) => {
                if let Some(node) = running(number) {
                    self.sim.crash(node);
                }
            }
            Action::CrashNoticed(number) => {
                if let Some(node) = running(number) {
                    self.sim.crash_noticed(node);
                }
            }
            Action::Leave(number) => {
                if let Some(node) = running(number) {
                    self.sim.leave(node);
                }
            }
            Action::Restart(number) => {
                if let Some(node) = index(number) {
                    self.sim.restart(node);
                }
            }
            Action::CrashTracker(tracker) if *tracker < self.plan.settings.trackers => {
                self.sim.crash_tracker(TrackerId(*tracker));
            }
            Action::StartTracker(tracker) if *tracker < self.plan.settings.trackers => {
                self.sim.start_tracker(TrackerId(*tracker));
            }
            Action::CrashTracker(_) | Action::StartTracker(_) => {}
            Action::Partition { group, trackers } => {
                let group: Vec<_> = group.iter().filter_map(index).collect();
                let reach = match trackers {
                    Reach::Everybody => TrackerReach::Everybody,
                    Reach::Nobody => TrackerReach::Nobody,
                    Reach::Group => TrackerReach::Group(0),
                };
                self.sim.partition(&[group], reach);
            }
            Action::Heal => self.sim.heal(),
            Action::Block([a, b]) => {
                if let (Some(a), Some(b)) = (index(a), index(b)) {
                    self.sim.block(a, b);
                }
            }
            Action::Unblock([a, b]) => {
                if let (Some(a), Some(b)) = (index(a), index(b)) {
                    self.sim.unblock(a, b);
                }
            }
            Action::Loss(permille) => self.set_loss(*permille),
            Action::Send(talk) => self.talk(talk, true),
            Action::Datagram(talk) => self.talk(talk, false),
            Action::Broadcast(shout) => self.shout(shout, true),
            Action::Circulate(shout) => self.shout(shout, false),
        }
    }

    fn spawn(&mut self, number: u32) {
        if self.nodes.contains_key(&number) {
            return;
        }
        let most = u64::from(self.plan.settings.clock_skew_ms);
        let mut random = Stream::fork(self.plan.seed, Concern::Scenario, 3 + u64::from(number));
        let skew = random.below(2 * most + 1).cast_signed() - most.cast_signed();
        let options = NodeOptions {
            number: Some(number),
            clock_skew_ms: skew,
            ..NodeOptions::default()
        };
        let node = self.sim.spawn_with(options);
        self.nodes.insert(number, node);
    }

    fn set_loss(&mut self, permille: u32) {
        let network = NetworkConfig {
            loss: f64::from(permille) / 1000.0,
            ..self.sim.network().config().clone()
        };
        self.sim.set_network(network);
    }

    fn talk(&mut self, talk: &Talk, reliable: bool) {
        let pair = [talk.from, talk.to].map(|number| self.nodes.get(&number).copied());
        let [Some(from), Some(to)] = pair else {
            return;
        };
        for _ in 0..talk.count {
            let payload = self.payload(talk.bytes);
            // May be refused: it leaves, it is full, it talks to itself.
            let _ = if reliable {
                self.sim.send(from, to, payload)
            } else {
                self.sim.datagram(from, to, payload)
            };
        }
    }

    fn shout(&mut self, shout: &Shout, broadcast: bool) {
        let Some(from) = self.nodes.get(&shout.from).copied() else {
            return;
        };
        for _ in 0..shout.count {
            let payload = self.payload(shout.bytes);
            // As above.
            let _ = if broadcast {
                self.sim.broadcast(from, payload)
            } else {
                self.sim.circulate(from, payload)
            };
        }
    }

    /// A payload like no other.
    fn payload(&mut self, bytes: usize) -> Vec<u8> {
        let mut payload = self.messages.to_be_bytes().to_vec();
        self.messages += 1;
        payload.resize(bytes.max(8), 0xa5);
        payload
    }

    /// The faults end: nothing is cut, nothing is lost, the trackers run.
    fn heal(&mut self) {
        self.healed = true;
        self.sim.heal();
        self.sim.unblock_all();
        for tracker in 0..self.plan.settings.trackers {
            self.sim.start_tracker(TrackerId(tracker));
        }
        self.set_loss(0);
    }

    fn demand_healing(&mut self) -> Result<(), Halt> {
        self.run_until(HEALING_LIMIT, |sim| {
            let violation = |what| Violation::new(sim.now(), ideal_ring::NAME, what);
            sim.check_ring().map_err(violation)
        })?;
        self.run_until(HEALING_LIMIT, |sim| {
            let violation = |what| Violation::new(sim.now(), symmetry::NAME, what);
            sim.check_links().map_err(violation)
        })
    }

    /// Every message of a quiet time arrives, and nobody has to drop one.
    fn demand_messages(&mut self) -> Result<(), Halt> {
        let patience = Duration::from_millis(self.plan.settings.deadline_ms) + OUTCOME_SLACK;
        // What was said to those who died has to be given up first, and then has to end its way.
        let last_way = Duration::from_millis(MOST_HOPS * self.plan.settings.latency_ms[1])
            + self.longest_repetition();
        let end = self.sim.now().since(Timestamp::ZERO) + patience + last_way;
        self.run_to(u64::try_from(end.as_millis()).unwrap_or(u64::MAX))?;
        let (since, dropped) = (self.sim.now(), self.dropped());
        for _ in 0..self.plan.final_rounds {
            for _ in 0..FINAL_MESSAGES {
                self.final_message();
            }
            self.sim.run_for(FINAL_PAUSE);
        }
        self.run_until(patience, |sim| sim.check_quiet(since))?;
        let after = self.dropped();
        if after > dropped {
            let what = format!("{} messages got nowhere in a ring at rest", after - dropped);
            return Err(self.violation("nothing dropped", what).into());
        }
        Ok(())
    }

    /// How long something may be stuck in a link that was lossy once.
    fn longest_repetition(&self) -> Duration {
        let is_loss = |step: &Step| matches!(step.action, Action::Loss(permille) if permille > 0);
        if self.plan.settings.loss_permille > 0 || self.plan.steps.iter().any(is_loss) {
            LONGEST_REPETITION
        } else {
            Duration::ZERO
        }
    }

    fn final_message(&mut self) {
        let running = self.sim.running();
        let pair = [(); 2].map(|()| self.random.pick(&running).copied());
        let [Some(from), Some(to)] = pair else {
            return;
        };
        let payload = self.payload(100);
        // Refused if it would be to itself.
        let _ = match self.random.below(10) {
            0 => self.sim.broadcast(from, payload),
            1 => self.sim.circulate(from, payload),
            2 => self.sim.datagram(from, to, payload),
            _ => self.sim.send(from, to, payload),
        };
    }

    /// Messages that somebody could not pass on.
    fn dropped(&self) -> u64 {
        let snapshots = self.sim.snapshots();
        snapshots.iter().map(|node| node.counters.dropped).sum()
    }

    fn violation(&self, invariant: &'static str, what: String) -> Violation {
        Violation::new(self.sim.now(), invariant, what)
    }
}

/// What a panic says.
fn message_of(cause: &(dyn Any + Send)) -> &str {
    cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
}
