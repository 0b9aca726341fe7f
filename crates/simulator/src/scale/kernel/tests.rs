use super::*;
use crate::random::{Concern, Stream, mix};

const LEAST_LATENCY: Duration = Duration::from_millis(2);
const HOUR: Duration = Duration::from_secs(3_600);

/// Remembers all that happened to it as one number, and does something random each time.
#[derive(Debug, PartialEq)]
struct Walker {
    random: u64,
    history: u64,
    events: u64,
}

#[derive(Clone, Copy)]
enum Step {
    /// Goes on so many times.
    Walk(u32),
    /// Schedules something for that one after that time.
    Schedule(u32, Duration),
    Panic,
}

#[derive(Default)]
struct Seen {
    sum: u64,
    events: u64,
}

impl Walker {
    fn new(index: u32) -> Self {
        Self {
            random: mix(u64::from(index)),
            history: 0,
            events: 0,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random = mix(self.random);
        self.random % bound
    }
}

impl Actor for Walker {
    type Event = Step;
    /// How many actors there are to walk to.
    type Shared = u32;
    type Tally = Seen;

    fn on_event(&mut self, event: Step, at: &mut Context<'_, Self>) {
        let now = at.now();
        self.events += 1;
        at.tally().events += 1;
        match event {
            Step::Walk(left) => {
                self.history = mix(self.history ^ mix(now.as_micros()) ^ u64::from(left));
                let history = self.history;
                at.tally().sum = at.tally().sum.wrapping_add(history);
                let Some(left) = left.checked_sub(1) else {
                    return;
                };
                let others = u64::from(*at.shared());
                // Coarse times, so that many events share one.
                let (to, delay) = match self.below(8) {
                    0 => (at.index(), Duration::ZERO),
                    1 => (at.index(), Duration::from_micros(self.below(300))),
                    2 => (at.index(), Duration::from_secs(self.below(30))),
                    kind => {
                        let spread = if kind == 3 { 100_000 } else { 20 };
                        let more = Duration::from_millis(self.below(spread));
                        (self.below(others) as u32, LEAST_LATENCY + more)
                    }
                };
                at.schedule(to, now + delay, Step::Walk(left));
                // Now and then two go on.
                if self.below(16) == 0 {
                    at.schedule(at.index(), now, Step::Walk(left / 2));
                }
            }
            Step::Schedule(to, delay) => at.schedule(to, now + delay, Step::Walk(0)),
            Step::Panic => panic!("an actor panics on purpose"),
        }
    }

    fn prefetch(&self, _event: &Self::Event, _step: u32) {
        prefetch(&self.history, 0..8);
    }
}

fn kernel(threads: usize, actors: u32) -> Kernel<Walker> {
    let mut kernel = Kernel::new(NonZeroUsize::new(threads).unwrap(), LEAST_LATENCY);
    kernel.reserve(actors as usize);
    for index in 0..actors {
        assert_eq!(kernel.add(Walker::new(index)), index);
    }
    kernel
}

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn seen(kernel: &Kernel<Walker>) -> (u64, u64) {
    let add =
        |(sum, events): (u64, u64), seen: &Seen| (sum.wrapping_add(seen.sum), events + seen.events);
    kernel.tallies().fold((0, 0), add)
}

/// Runs a random workload, with growth, and gives all that can be seen of it.
fn walk(threads: usize) -> (Vec<Walker>, Vec<usize>, (u64, u64), Timestamp) {
    let mut kernel = kernel(threads, 50);
    for index in 0..50 {
        let start = at(u64::from(index % 3));
        kernel
            .schedule_from_outside(index, start, Step::Walk(80))
            .unwrap();
    }
    let mut pending = Vec::new();
    for round in 1..=20 {
        let actors = kernel.len();
        let end = kernel.now() + Duration::from_millis(if round < 20 { 333 } else { 90_000 });
        kernel.run_until(&actors, end).unwrap();
        pending.push(kernel.pending());
        let newcomer = kernel.add(Walker::new(kernel.len()));
        let now = kernel.now();
        kernel
            .schedule_from_outside(newcomer, now, Step::Walk(40))
            .unwrap();
    }
    let actors = kernel.len();
    let end = kernel.now() + HOUR * 1_000;
    let went_on = kernel.run_while(&actors, HOUR, end, |kernel| kernel.pending() > 0);
    assert_eq!(went_on, Ok(false));
    assert_eq!(
        kernel.effort().events,
        kernel.actors().map(|walker| walker.events).sum::<u64>()
    );
    let (seen, now) = (seen(&kernel), kernel.now());
    let walkers = (0..actors)
        .map(|index| std::mem::replace(kernel.actor_mut(index).unwrap(), Walker::new(0)));
    (walkers.collect(), pending, seen, now)
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let one = walk(1);
    assert!(one.2.1 > 50 * 80, "{} events", one.2.1);
    for threads in [2, 3] {
        assert_eq!(walk(threads), one, "{threads} threads");
    }
}

/// What one actor sees is in the order of (time, source, sequence): here of one time.
#[test]
fn order_at_one_time_is_that_of_the_sources() {
    #[derive(Default)]
    struct Listener(Vec<(u32, u32)>);

    impl Actor for Listener {
        type Event = (u32, u32);
        type Shared = ();
        type Tally = ();

        fn on_event(&mut self, event: (u32, u32), at: &mut Context<'_, Self>) {
            if at.index() == 0 {
                self.0.push(event);
            } else {
                for count in 0..2 {
                    at.schedule(0, at_time(), (at.index(), count));
                }
            }
        }
    }

    const fn at_time() -> Timestamp {
        Timestamp::from_micros(5_000)
    }

    for threads in 1..=3 {
        let mut kernel = Kernel::new(NonZeroUsize::new(threads).unwrap(), LEAST_LATENCY);
        for _ in 0..5 {
            kernel.add(Listener::default());
        }
        kernel.schedule_from_outside(0, at_time(), (9, 0)).unwrap();
        for (index, start) in [(4, 1), (2, 2), (1, 7), (3, 2)] {
            kernel
                .schedule_from_outside(index, at(start), (0, 0))
                .unwrap();
        }
        kernel.run_until(&(), at_time()).unwrap();
        let expected = [
            (1, 0),
            (1, 1),
            (2, 0),
            (2, 1),
            (3, 0),
            (3, 1),
            (4, 0),
            (4, 1),
            (9, 0),
        ];
        assert_eq!(kernel.actor(0).unwrap().0, expected, "{threads} threads");
    }
}

#[test]
fn runs_end_when_they_should() {
    for threads in 1..=2 {
        let mut kernel = kernel(threads, 2);
        kernel
            .schedule_from_outside(1, at(10), Step::Walk(0))
            .unwrap();
        kernel
            .schedule_from_outside(0, at(11), Step::Walk(0))
            .unwrap();
        kernel.run_until(&2, at(9)).unwrap();
        assert_eq!((kernel.now(), kernel.pending()), (at(9), 2));
        kernel.run_until(&2, at(10)).unwrap();
        assert_eq!((kernel.now(), kernel.pending()), (at(10), 1));
        // The time does not go back.
        kernel.run_until(&2, at(5)).unwrap();
        assert_eq!(kernel.now(), at(10));
        let early = kernel.schedule_from_outside(0, at(9), Step::Walk(0));
        assert_eq!(early.unwrap_err().why, Why::TooSoon);
        let wait = kernel.run_while(&2, Duration::from_micros(10), at(100), |kernel| {
            kernel.pending() > 0
        });
        assert_eq!((wait, kernel.now()), (Ok(false), at(20)));
        let wait = kernel.run_while(&2, Duration::from_micros(30), at(100), |_| true);
        assert_eq!((wait, kernel.now()), (Ok(true), at(100)));
    }
}

#[test]
fn empty_time_costs_no_windows() {
    let mut kernel = kernel(2, 2);
    for (index, hours) in [(0, 1), (1, 1), (1, 30), (0, 24 * 365)] {
        let time = at(0) + HOUR * hours;
        kernel
            .schedule_from_outside(index, time, Step::Walk(0))
            .unwrap();
    }
    kernel.run_until(&2, at(0) + HOUR * 24 * 366).unwrap();
    let effort = kernel.effort();
    assert_eq!(effort.events, 4);
    // Two for each time: one finds the list, the other the event.
    assert!(effort.windows <= 6, "{} windows", effort.windows);
}

#[test]
fn what_may_not_be_scheduled_ends_the_run() {
    let short = LEAST_LATENCY - Duration::from_micros(1);
    for threads in 1..=3 {
        for (to, delay, why) in [
            (3, short, Why::TooSoon),
            (4, LEAST_LATENCY, Why::NoSuchActor),
        ] {
            let mut kernel = kernel(threads, 4);
            let bad = Step::Schedule(to, delay);
            // The first one counts, and of two at one time the one that was told first.
            for (index, time) in [(0, 502), (2, 501), (1, 501)] {
                kernel.schedule_from_outside(index, at(time), bad).unwrap();
            }
            let good = Step::Schedule(3, LEAST_LATENCY);
            kernel.schedule_from_outside(0, at(7), good).unwrap();
            let error = BadSchedule {
                now: at(501),
                from: 2,
                to,
                time: at(501) + delay,
                why,
            };
            assert_eq!(
                kernel.run_until(&4, at(1_000_000)),
                Err(error),
                "{threads} threads"
            );
            assert_eq!(kernel.run_until(&4, at(1_000_000)), Err(error));
            assert_eq!(kernel.now(), at(501));
        }
    }
}

#[test]
fn without_latency_there_is_one_thread() {
    let mut kernel = Kernel::new(NonZeroUsize::new(2).unwrap(), Duration::ZERO);
    kernel.add(Walker::new(0));
    kernel.add(Walker::new(1));
    let now = Step::Schedule(1, Duration::ZERO);
    kernel.schedule_from_outside(0, at(3), now).unwrap();
    kernel.run_until(&2, at(3)).unwrap();
    assert_eq!(kernel.actor(1).unwrap().events, 1);
}

#[test]
#[should_panic(expected = "on purpose")]
fn a_panic_on_one_of_several_threads_is_passed_on() {
    let mut kernel = kernel(2, 2);
    kernel.schedule_from_outside(0, at(1), Step::Panic).unwrap();
    // The other one would go on for a while.
    kernel
        .schedule_from_outside(1, at(1), Step::Walk(60))
        .unwrap();
    let _ = kernel.run_until(&2, at(10_000_000));
}

#[test]
fn the_time_spent_is_counted() {
    for threads in 1..=2 {
        let mut kernel = kernel(threads, 100);
        let mut random = Stream::fork(1, Concern::Scenario, 0);
        for index in 0..100 {
            let start = at(random.below(1_000));
            kernel
                .schedule_from_outside(index, start, Step::Walk(60))
                .unwrap();
        }
        kernel.run_until(&100, at(0) + HOUR).unwrap();
        let effort = kernel.effort();
        assert!(effort.events > 6_000);
        assert!(effort.cpu > Duration::ZERO && effort.wall > Duration::ZERO);
        assert!(effort.cpu <= effort.wall * (threads as u32 + 1));
    }
}
