//! Events per CPU second of the kernel alone, with actors that do next to nothing: the messages
//! of workload W1 over memory as large as that of real members.
//!
//! `cargo bench -p circlet-simulator --bench kernel -- [actors] [threads]`

use std::num::NonZeroUsize;
use std::time::Duration;

use circlet_core::Timestamp;
use circlet_simulator::scale::kernel::{Actor, BadSchedule, Context, Kernel};

/// Lookups take so many hops.
const HOPS: u8 = 9;

#[derive(Clone, Copy)]
struct Event {
    kind: Kind,
    hops: u8,
    words: [u64; 2],
}

#[derive(Clone, Copy)]
enum Kind {
    Timer,
    Request,
    Response,
    Notify,
    Lookup,
    Found,
}

/// As large as a member with its lists.
struct Member<const WORDS: usize> {
    random: u64,
    state: [u64; WORDS],
}

struct Net {
    actors: u32,
}

impl<const WORDS: usize> Member<WORDS> {
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(bound) * (self.draw() >> 32)) >> 32) as u32
    }

    fn send(&mut self, at: &mut Context<'_, Self>, to: u32, event: Event) {
        let latency = 20_000 + u64::from(self.below(160_000));
        at.schedule(to, at.now() + Duration::from_micros(latency), event);
    }
}

impl<const WORDS: usize> Actor for Member<WORDS> {
    type Event = Event;
    type Shared = Net;
    type Tally = u64;

    fn on_event(&mut self, event: Event, at: &mut Context<'_, Self>) {
        let me = at.index();
        let actors = at.shared().actors;
        let event = Event {
            words: [u64::from(me), event.words[1]],
            ..event
        };
        // Something of everywhere in its memory.
        for line in (0..WORDS).step_by(8) {
            self.state[line] = self.state[line].wrapping_add(event.words[0]);
        }
        match event.kind {
            Kind::Timer => {
                at.schedule(me, at.now() + Duration::from_secs(1), event);
                let kind = Kind::Request;
                self.send(at, (me + 1) % actors, Event { kind, ..event });
                let kind = Kind::Lookup;
                let to = self.below(actors);
                let words = [0, u64::from(me)];
                self.send(
                    at,
                    to,
                    Event {
                        kind,
                        words,
                        hops: HOPS,
                    },
                );
            }
            Kind::Request => {
                let kind = Kind::Response;
                self.send(at, (me + actors - 1) % actors, Event { kind, ..event });
            }
            Kind::Response => {
                let kind = Kind::Notify;
                self.send(at, (me + 1) % actors, Event { kind, ..event });
            }
            Kind::Lookup if event.hops > 0 => {
                let hops = event.hops - 1;
                let to = self.below(actors);
                self.send(at, to, Event { hops, ..event });
            }
            Kind::Lookup => {
                let kind = Kind::Found;
                self.send(at, event.words[1] as u32, Event { kind, ..event });
            }
            Kind::Notify => {}
            Kind::Found => *at.tally() += 1,
        }
    }
}

/// Actors in the middle of their work: the first two seconds are over.
fn busy<const WORDS: usize>(
    actors: u32,
    threads: NonZeroUsize,
) -> Result<Kernel<Member<WORDS>>, BadSchedule> {
    let mut kernel = Kernel::<Member<WORDS>>::new(threads, Duration::from_millis(20));
    kernel.reserve(actors as usize);
    for index in 0..actors {
        let mut member = Member {
            // Any number that is not zero.
            random: u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            state: [0; WORDS],
        };
        let start = Timestamp::from_micros(u64::from(member.below(1_000_000)));
        let timer = Event {
            kind: Kind::Timer,
            hops: 0,
            words: [0, 0],
        };
        kernel.add(member);
        kernel.schedule_from_outside(index, start, timer)?;
    }
    kernel.run_until(&Net { actors }, Timestamp::from_micros(2_000_000))?;
    Ok(kernel)
}

/// Runs for so many virtual seconds, and prints the best tenth of one: others may use the machine.
fn measure<const WORDS: usize>(
    actors: u32,
    threads: NonZeroUsize,
    seconds: u64,
) -> Result<(), BadSchedule> {
    let mut kernel = busy::<WORDS>(actors, threads)?;
    let (mut per_cpu, mut per_wall) = (0_f64, 0_f64);
    for _ in 0..seconds * 10 {
        let before = kernel.effort();
        let end = kernel.now() + Duration::from_millis(100);
        kernel.run_until(&Net { actors }, end)?;
        let after = kernel.effort();
        let events = (after.events - before.events) as f64 / 1e6;
        per_cpu = per_cpu.max(events / (after.cpu - before.cpu).as_secs_f64());
        per_wall = per_wall.max(events / (after.wall - before.wall).as_secs_f64());
    }
    println!(
        "{actors:>9} {:>5} {threads:>7} {per_cpu:>18.2} {per_wall:>11.2} {:>9} {:>11.1}",
        size_of::<Member<WORDS>>(),
        kernel.pending(),
        kernel.queue_memory() as f64 / kernel.pending() as f64,
    );
    Ok(())
}

fn main() -> Result<(), BadSchedule> {
    // Only `cargo bench` says so.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<u32>().ok());
    let only_actors = numbers.next();
    let only_threads = numbers.next();
    println!("   actors bytes threads M events per CPU s  per wall s   pending  bytes each");
    for (actors, seconds) in [(10_000, 100), (100_000, 20), (1_000_000, 3)] {
        for threads in [1, 2] {
            let wanted = only_actors.is_none_or(|only| only == actors)
                && only_threads.is_none_or(|only| only == threads);
            if let Some(threads) = NonZeroUsize::new(threads as usize)
                && wanted
            {
                measure::<24>(actors, threads, seconds)?;
                measure::<62>(actors, threads, seconds)?;
            }
        }
    }
    Ok(())
}
