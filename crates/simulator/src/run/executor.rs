//! The executor: does to a world what the scenario says, and evaluates what came of it.

use std::time::Duration;

use circlet_core::Timestamp;

use super::Progress;
use super::agenda::{Agenda, Entry};
use super::roster::Roster;
use super::traffic::{Generator, exponential, nanos, open_unit};
use super::world::{Stop, World};
use crate::random::{Concern, Stream};
use crate::results::{Expectation, Mark, Reference, Results};
use crate::scenario::{
    Amount, Arrivals, Choice, FaultKind, Scenario, Sessions, Start, TrafficKind, Victims, Who,
};
use crate::world::NodeIndex;

/// Virtual time between two looks at whether to stop, and two tellings of the progress.
const SLICE: Duration = Duration::from_millis(100);

/// Runs one scenario in one world.
pub(super) struct Executor<'a> {
    scenario: &'a Scenario,
    world: &'a mut dyn World,
    stop: &'a Stop,
    progress: &'a mut dyn FnMut(&Progress),
    /// The world's time at the scenario's time zero.
    origin: Timestamp,
    agenda: Agenda,
    generators: Vec<Generator<'a>>,
    roster: Roster,
    arrivals_random: Vec<Stream>,
    departures_random: Vec<Stream>,
    sessions_random: Stream,
    faults_random: Stream,
    /// The member whose load is wanted: the one that streams, or the hub.
    centre: Option<NodeIndex>,
    results: Results,
}

impl<'a> Executor<'a> {
    pub(super) fn new(
        scenario: &'a Scenario,
        world: &'a mut dyn World,
        stop: &'a Stop,
        progress: &'a mut dyn FnMut(&Progress),
    ) -> Self {
        let seed = scenario.seed;
        let streams = |concern, count: usize| -> Vec<Stream> {
            let numbers = 0..count as u64;
            numbers
                .map(|index| Stream::fork(seed, concern, index))
                .collect()
        };
        let generators = scenario.traffic.iter().enumerate();
        let results = Results {
            scenario: scenario.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed,
            detail: scenario.detail,
            topology: scenario.overlay.topology.name().to_owned(),
            ..Results::default()
        };
        Self {
            scenario,
            origin: world.now(),
            world,
            stop,
            progress,
            agenda: Agenda::default(),
            generators: generators
                .map(|(place, traffic)| Generator::new(traffic, seed, place))
                .collect(),
            roster: Roster::default(),
            arrivals_random: streams(Concern::Arrivals, scenario.arrivals.len()),
            departures_random: streams(Concern::Departures, scenario.departures.len()),
            sessions_random: Stream::fork(seed, Concern::Sessions, 0),
            faults_random: Stream::fork(seed, Concern::Faults, 0),
            centre: None,
            results,
        }
    }

    pub(super) fn run(mut self) -> Results {
        self.begin();
        self.plan();
        let end = self.scenario.duration;
        let mut now = Duration::ZERO;
        while now < end && !self.stop.is_stopped() {
            while self.agenda.next_time().is_some_and(|at| at <= now) {
                let Some((_, entry)) = self.agenda.pop() else {
                    break;
                };
                self.perform(now, entry);
            }
            let next = self.agenda.next_time().unwrap_or(end);
            now = next.min(now + SLICE).min(end);
            self.send_until(now);
            self.world.run_to(self.origin + now, self.stop);
            self.tell_progress();
        }
        self.finish()
    }

    /// Lets the overlay come about.
    fn begin(&mut self) {
        if let Start::Join { .. } = self.scenario.overlay.start {
            let left = self.scenario.overlay.nodes;
            self.agenda.add(Duration::ZERO, Entry::Join { left });
            return;
        }
        self.tell_progress();
        let begun = self.world.begin(self.stop);
        self.origin = self.world.now();
        if let Err(why) = begun {
            self.mark(
                Duration::ZERO,
                format!("begins before the ring is right: {why}"),
            );
        }
        for member in (0..self.scenario.overlay.nodes).map(NodeIndex) {
            self.enter(Duration::ZERO, member);
        }
    }

    /// Writes down all that is known beforehand.
    fn plan(&mut self) {
        let scenario = self.scenario;
        for (arrivals, kind) in scenario.arrivals.iter().enumerate() {
            let first = match kind {
                Arrivals::FlashCrowd { at, .. } => Some(*at),
                Arrivals::Poisson { per_s, window } => {
                    let random = &mut self.arrivals_random[arrivals];
                    after(window.start, *per_s, random).filter(|at| *at < window.end)
                }
            };
            if let Some(at) = first {
                let before = 0;
                self.agenda.add(at, Entry::Arrive { arrivals, before });
            }
        }
        for (departures, kind) in scenario.departures.iter().enumerate() {
            let random = &mut self.departures_random[departures];
            let first = after(kind.window.start, kind.per_s, random);
            if let Some(at) = first.filter(|at| *at < kind.window.end) {
                self.agenda.add(at, Entry::Depart { departures });
            }
        }
        for (fault, what) in scenario.faults.iter().enumerate() {
            self.agenda.add(what.at, Entry::Fault { fault });
        }
        self.agenda
            .add(scenario.measure.start, Entry::StartMeasuring);
        self.agenda.add(Duration::ZERO, Entry::Sample);
        if let Some(at) = scenario
            .measure
            .drawing
            .filter(|at| *at < scenario.duration)
        {
            self.agenda.add(at, Entry::Draw);
        }
    }

    fn perform(&mut self, now: Duration, entry: Entry) {
        match entry {
            Entry::Join { left } => self.join(now, left),
            Entry::Arrive { arrivals, before } => self.arrive(now, arrivals, before),
            Entry::Depart { departures } => self.depart(now, departures),
            Entry::SessionEnd { member, session } => self.end_session(member, session),
            Entry::Fault { fault } => self.befall(now, fault),
            Entry::StartMeasuring => self.world.start_measuring(),
            Entry::Sample => {
                self.sample(now);
                self.agenda
                    .add(now + self.scenario.measure.every, Entry::Sample);
            }
            Entry::Draw => self.world.draw(self.origin),
        }
    }

    fn join(&mut self, now: Duration, left: u32) {
        let Start::Join { every } = self.scenario.overlay.start else {
            return;
        };
        let mut left = left;
        loop {
            self.spawn(now);
            left -= 1;
            if left == 0 {
                return;
            }
            if !every.is_zero() {
                return self.agenda.add(now + every, Entry::Join { left });
            }
        }
    }

    fn arrive(&mut self, now: Duration, arrivals: usize, before: u32) {
        self.spawn(now);
        let next = match &self.scenario.arrivals[arrivals] {
            Arrivals::Poisson { per_s, window } => {
                let random = &mut self.arrivals_random[arrivals];
                after(now, *per_s, random).filter(|at| *at < window.end)
            }
            Arrivals::FlashCrowd { count, at, over } => {
                if before == 0 {
                    self.mark(now, format!("{count} arrive"));
                }
                let number = before + 1;
                (number < *count).then(|| *at + *over * number / *count)
            }
        };
        if let Some(at) = next {
            let before = before + 1;
            self.agenda.add(at, Entry::Arrive { arrivals, before });
        }
    }

    fn depart(&mut self, now: Duration, departures: usize) {
        let kind = &self.scenario.departures[departures];
        let random = &mut self.departures_random[departures];
        let member = random.pick(self.roster.living()).copied();
        let crashes = random.chance(kind.crash_share);
        let next = after(now, kind.per_s, random).filter(|at| *at < kind.window.end);
        if let Some(at) = next {
            self.agenda.add(at, Entry::Depart { departures });
        }
        if let Some(member) = member {
            self.end(&[member], crashes);
        }
    }

    fn end_session(&mut self, member: NodeIndex, session: u32) {
        let Some(sessions) = self.scenario.sessions else {
            return;
        };
        // Drawn in any case, so that a crash shifts nobody else's end.
        let crashes = self.sessions_random.chance(sessions.crash_share);
        if self.roster.contains(member) && self.roster.session(member) == session {
            self.end(&[member], crashes);
        }
    }

    fn befall(&mut self, now: Duration, fault: usize) {
        let scenario = self.scenario;
        let what = &scenario.faults[fault].what;
        let label = match what {
            FaultKind::Crash { victims, noticed } => {
                let members = self.victims(victims);
                for member in &members {
                    self.roster.remove(*member);
                }
                self.world.crash(&members, *noticed);
                format!("{} crash", members.len())
            }
            FaultKind::Leave(victims) => {
                let members = self.victims(victims);
                self.end(&members, false);
                format!("{} leave", members.len())
            }
            FaultKind::Restart(amount) => {
                let members = self.pick_ended(*amount);
                self.world.restart(&members);
                for member in &members {
                    self.enter(now, *member);
                }
                format!("{} come back", members.len())
            }
            FaultKind::Partition {
                shares,
                choice,
                trackers,
            } => {
                let groups = self.groups(shares, *choice);
                self.world.partition(&groups, *trackers);
                let sizes: Vec<String> =
                    groups.iter().map(|group| group.len().to_string()).collect();
                format!("cut into {}", sizes.join(" and "))
            }
            FaultKind::Heal => {
                self.world.heal();
                "healed".to_owned()
            }
            FaultKind::TrackerDown(tracker) => self.set_trackers_up(*tracker, false),
            FaultKind::TrackerUp(tracker) => self.set_trackers_up(*tracker, true),
            FaultKind::Loss(share) => {
                self.world.set_loss(*share);
                format!("{} % of messages lost", (share * 1e4).round() / 1e2)
            }
        };
        self.mark(now, label);
    }

    fn set_trackers_up(&mut self, tracker: Option<u16>, up: bool) -> String {
        let numbers = match tracker {
            Some(number) => number..number + 1,
            None => 0..self.scenario.trackers,
        };
        for number in numbers {
            self.world.set_tracker_up(number, up);
        }
        let which = tracker.map_or_else(
            || "trackers".to_owned(),
            |number| format!("tracker {number}"),
        );
        format!("{which} {}", if up { "up" } else { "down" })
    }

    /// The members that a fault hits.
    fn victims(&mut self, victims: &Victims) -> Vec<NodeIndex> {
        match victims {
            Victims::Some { amount, choice } => {
                let mut order = self.ordered(*choice);
                order.truncate(amount.of(order.len()));
                order
            }
            Victims::Members(numbers) => {
                let members = numbers.iter().map(|number| self.world.member(*number));
                members
                    .filter(|member| self.roster.contains(*member))
                    .collect()
            }
        }
    }

    /// The living in a random order, or in ring order from a random one on.
    fn ordered(&mut self, choice: Choice) -> Vec<NodeIndex> {
        match choice {
            Choice::Random => {
                let mut order = self.roster.living().to_vec();
                self.faults_random.shuffle(&mut order);
                order
            }
            Choice::Adjacent => {
                let mut order = self.world.ring_order();
                order.retain(|member| self.roster.contains(*member));
                let first = self.faults_random.below(order.len() as u64) as usize;
                order.rotate_left(first);
                order
            }
        }
    }

    /// All the living, dealt out by shares.
    fn groups(&mut self, shares: &[f64], choice: Choice) -> Vec<Vec<NodeIndex>> {
        let order = self.ordered(choice);
        let mut groups = Vec::with_capacity(shares.len());
        let (mut from, mut sum) = (0, 0.0);
        for (number, share) in shares.iter().enumerate() {
            sum += share;
            let last = number + 1 == shares.len();
            let to = if last {
                order.len()
            } else {
                Amount::Share(sum).of(order.len())
            };
            let to = to.clamp(from, order.len());
            groups.push(order[from..to].to_vec());
            from = to;
        }
        groups
    }

    fn pick_ended(&mut self, amount: Amount) -> Vec<NodeIndex> {
        let mut ended = self.roster.ended().to_vec();
        // Who still says goodbye cannot come back yet.
        ended.retain(|member| !self.world.is_living(*member));
        self.faults_random.shuffle(&mut ended);
        ended.truncate(amount.of(ended.len()));
        ended
    }

    fn spawn(&mut self, now: Duration) {
        let member = self.world.spawn();
        self.enter(now, member);
    }

    /// A member's session begins.
    fn enter(&mut self, now: Duration, member: NodeIndex) {
        self.roster.add(member);
        if let Some(sessions) = &self.scenario.sessions {
            let stay = session_length(sessions, &mut self.sessions_random);
            let session = self.roster.session(member);
            if let Some(at) = stay.and_then(|stay| now.checked_add(stay)) {
                self.agenda.add(at, Entry::SessionEnd { member, session });
            }
        }
    }

    fn end(&mut self, members: &[NodeIndex], crash: bool) {
        for member in members {
            self.roster.remove(*member);
        }
        if crash {
            self.world.crash(members, false);
        } else {
            self.world.leave(members);
        }
    }

    /// Gives the world all messages that are due before `end`.
    fn send_until(&mut self, end: Duration) {
        let end_ns = nanos(end);
        while !self.stop.is_stopped() {
            let due = self.generators.iter().enumerate();
            let next = due.filter_map(|(place, generator)| Some((generator.next_ns()?, place)));
            let Some((_, place)) = next.min().filter(|(due, _)| *due < end_ns) else {
                return;
            };
            let Some(send) = self.generators[place].take(self.origin, &self.roster) else {
                continue;
            };
            let traffic = &self.scenario.traffic[place];
            if traffic.kind == TrafficKind::Stream && traffic.from == Who::One {
                self.centre.get_or_insert(send.from);
            }
            self.world.send(send);
        }
    }

    fn sample(&mut self, now: Duration) {
        let mut sample = self.world.sample();
        sample.time_s = now.as_secs_f64();
        self.results.series.push(sample);
    }

    fn mark(&mut self, now: Duration, label: String) {
        let time_s = now.as_secs_f64();
        self.results.marks.push(Mark { time_s, label });
    }

    fn tell_progress(&mut self) {
        (self.progress)(&Progress {
            time_s: self.world.now().since(self.origin).as_secs_f64(),
            duration_s: self.scenario.duration.as_secs_f64(),
            events: self.world.events(),
            living: self.roster.living().len(),
        });
    }

    fn finish(mut self) -> Results {
        let now = self.world.now().since(self.origin);
        self.sample(now);
        self.results.duration_s = now.as_secs_f64();
        self.results.complete = now >= self.scenario.duration;
        self.world
            .finish(self.origin, self.centre, &mut self.results);
        let mut results = self.results;
        results.expectations = self
            .scenario
            .expectations
            .iter()
            .map(|expect| {
                let measured = expect.metric.measure(&results);
                Expectation::new(expect.metric.name(), expect.bound, measured, &expect.source)
            })
            .collect();
        results.references = self
            .scenario
            .references
            .iter()
            .map(|row| Reference {
                source: row.source.clone(),
                name: row.name.clone(),
                published: row.published,
                measured: row.metric.measure(&results),
                note: row.note.clone(),
            })
            .collect();
        results
    }
}

/// When the next of independent events comes, of so many a second.
fn after(now: Duration, per_s: f64, random: &mut Stream) -> Option<Duration> {
    let wait = exponential(random, (1e9 / per_s) as u64);
    now.checked_add(Duration::from_nanos(wait))
}

/// How long a member stays: the inverse of the Weibull distribution; `None` is longer than any
/// scenario.
fn session_length(sessions: &Sessions, random: &mut Stream) -> Option<Duration> {
    let draw = -libm::log(open_unit(random));
    let seconds = sessions.scale_s * libm::pow(draw, 1.0 / sessions.shape);
    Duration::try_from_secs_f64(seconds).ok()
}
