//! `circlet demo`: a ring of processes on this machine, messages, kills and repairs.

mod idle;
mod ledger;
mod needs;
mod report;

use std::ffi::OsString;
use std::time::{Duration, Instant};

use circlet_core::{Topology, Wanted};
use clap::Parser;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use crate::args::{Args, Command, DemoArgs};
use crate::failure::Failure;
use crate::local::members::{self, Member};
use crate::local::process::{Process, Told};
use crate::local::threads::Threads;
use crate::node::protocol::{Content, Report, Request, SendClass};
use crate::output::print;
use crate::statistics::{grouped, tenths};
use crate::usage::Usage;
use crate::{signals, tracker};
use idle::Idle;
use ledger::Ledger;
use report::{Numbers, Outcome, entry, ring};

/// Reports of the processes that may wait; beyond that they wait for the demo.
const TOLD: usize = 4096;

/// Members of one process that join at a time: more would keep each other from answering in time.
const JOINING: usize = 16;

/// Members of a ring that still fits on a screen.
const MOST_DRAWN: usize = 64;

/// Messages under way at a time under load.
const WINDOW: usize = 256;

/// The room that the ring is in.
const ROOM: &str = "demo";

/// Time for the ring to close, and again after each kill.
const CLOSING: Duration = Duration::from_secs(60);

/// Time for links that were needed to join only to be closed again, longer than nodes keep them.
const SETTLING: Duration = Duration::from_secs(10);

/// Time for which the links have to stay as few as they are wanted: some may open late.
const CALM: Duration = Duration::from_millis(300);

/// Seconds that members of one process are left alone unless told otherwise.
const IDLE: usize = 5;

/// Time that the last messages may take: the deadline of a reliable message and a little.
const DRAINING: Duration = Duration::from_secs(40);

/// Runs the demo.
pub async fn run(args: DemoArgs, json: bool, verbose: u8) -> Result<(), Failure> {
    let survivors = args.nodes.saturating_sub(args.kill);
    if survivors == 0 {
        return Err(Failure::Usage(format!(
            "--kill {} leaves nobody of {}; kill fewer",
            args.kill, args.nodes
        )));
    }
    if survivors < 2 && args.messages > 0 {
        return Err(Failure::Usage(
            "messages need two members that live to the end; add --messages 0 or more --nodes"
                .to_owned(),
        ));
    }
    needs::check_descriptors(&args)?;
    let tracker = tracker::start_local().await?;
    let mut demo = Demo::new(args, json, verbose, tracker.url())?;
    let outcome = tokio::select! {
        outcome = demo.play() => outcome,
        () = signals::end() => Err(Failure::failed("stopped before it was done")),
    };
    let outcome = match outcome {
        Ok(()) if demo.args.stay => demo.stay().await,
        outcome => outcome,
    };
    demo.end().await;
    tracker.shutdown().await;
    outcome
}

struct Demo {
    args: DemoArgs,
    json: bool,
    verbose: u8,
    tracker: String,
    /// Keys, and what the processes say on stderr; removed at the end.
    directory: TempDir,
    members: Vec<Member>,
    told: mpsc::Receiver<Told<Report>>,
    tell: mpsc::Sender<Told<Report>>,
    /// What the members run on if they are in this process.
    threads: Option<Threads>,
    /// From the first start to the last.
    started_ms: f64,
    ledger: Ledger,
    traffic: Traffic,
    rng: StdRng,
}

/// How messages are being sent.
#[derive(Clone, Copy)]
struct Traffic {
    /// Messages under way at a time.
    window: usize,
    /// Messages sent so far between members that live.
    sent: usize,
    /// How many there are to be.
    goal: usize,
}

impl Demo {
    fn new(args: DemoArgs, json: bool, verbose: u8, tracker: String) -> Result<Self, Failure> {
        let directory = TempDir::with_prefix("circlet-demo-")
            .map_err(|error| Failure::failed(format!("no temporary directory: {error}")))?;
        let (tell, told) = mpsc::channel(TOLD);
        let threads = args.in_process.then(Threads::start).transpose();
        let threads = threads
            .map_err(|error| Failure::failed(format!("the system gives no threads: {error}")))?;
        let rng = StdRng::seed_from_u64(args.seed);
        Ok(Self {
            args,
            json,
            verbose,
            tracker,
            directory,
            members: Vec::new(),
            told,
            tell,
            threads,
            started_ms: 0.0,
            ledger: Ledger::default(),
            traffic: Traffic {
                window: 1,
                sent: 0,
                goal: 0,
            },
            rng,
        })
    }

    async fn play(&mut self) -> Result<(), Failure> {
        let empty = idle::taken(&[]);
        let ring_closed_ms = self.form().await?;
        self.settle().await?;
        let idle = self.rest(empty).await?;
        let sending = Instant::now();
        self.send_alone().await?;
        let repair_ms = self.send_and_kill().await?;
        let seconds = sending.elapsed().as_secs_f64();

        let figures = self.ledger.figures(|member| self.members[member].lives());
        let mut numbers = Numbers::new(&self.args, ring_closed_ms, repair_ms, &figures, seconds);
        numbers.started_ms = tenths(self.started_ms);
        numbers.idle = idle;
        for line in numbers.lines() {
            self.say(&line);
        }
        let clean = numbers.is_clean();
        if self.args.stay {
            self.say_how_to_join();
        }
        if self.json {
            // No map with keys that are not text, no failing serializer: this cannot fail.
            print(&serde_json::to_string(&Outcome { demo: numbers }).unwrap_or_default());
        }
        if !clean {
            return Err(Failure::failed(
                "messages were lost, repeated or out of order; run it again with -v and report it",
            ));
        }
        Ok(())
    }

    /// Starts the processes and waits for the ring; returns the milliseconds from the last start.
    async fn form(&mut self) -> Result<f64, Failure> {
        let nodes = self.args.nodes;
        let topology = self.args.topology.topology;
        let Wanted {
            ring_links,
            long_links,
            ..
        } = needs::wanted(&self.args);
        let others = match topology {
            Topology::Ring | Topology::SmallWorld => {
                format!("{long_links} long link(s) of its own")
            }
            Topology::Mesh => "one to everybody else".to_owned(),
            Topology::Star => "one to the hub".to_owned(),
        };
        self.say(&format!(
            "A ring of {nodes} {}, {topology}, each with {ring_links} ring link(s) a side \
             and {others}",
            if self.args.in_process {
                "members in this process"
            } else {
                "processes"
            }
        ));
        self.say(&entry("tracker", &self.tracker));
        let start = Instant::now();
        for member in 0..nodes {
            self.start(member)?;
            if self.args.in_process {
                let is_calm =
                    |demo: &Self| demo.members.iter().filter(|m| !m.joined).count() < JOINING;
                self.drive("members did not join", CLOSING, is_calm).await?;
            }
        }
        let started = Instant::now();
        self.started_ms = (started - start).as_secs_f64() * 1e3;
        let text = format!("{nodes} in {}", milliseconds(started - start));
        self.say(&entry("started", &text));
        self.drive("the ring did not close", CLOSING, Self::is_closed)
            .await?;
        let closed = started.elapsed();
        let text = format!("{} after the last start", milliseconds(closed));
        self.say(&entry("ring closed", &text));
        Ok(closed.as_secs_f64() * 1e3)
    }

    fn start(&mut self, member: usize) -> Result<(), Failure> {
        let name = format!("n{}", member + 1);
        let key = self.directory.path().join(format!("{name}.pem"));
        let args = &self.args;
        let mut arguments: Vec<OsString> = vec!["node".into(), "--json".into()];
        let mut flag = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        flag("--room", ROOM.into());
        flag("--tracker", self.tracker.clone().into());
        flag("--identity", key.into());
        flag("--name", name.clone().into());
        flag("--topology", args.topology.topology.name().into());
        flag("--ring-links", args.ring_links.to_string().into());
        flag("--long-links", args.long_links.to_string().into());
        let (directory, tell) = (self.directory.path(), self.tell.clone());
        let process = match &mut self.threads {
            Some(threads) => {
                let program = OsString::from("circlet");
                let args = Args::try_parse_from([program].into_iter().chain(arguments))?;
                let Command::Node(args) = args.command else {
                    return Err(Failure::failed("a member is not asked to be one"));
                };
                Process::within(member, args, threads.next(), tell)
            }
            None => Process::start(member, arguments, directory, self.verbose, tell)
                .map_err(|error| Failure::failed(format!("cannot start {name}: {error}")))?,
        };
        self.members.push(Member::new(name, process));
        Ok(())
    }

    /// Waits until as many links are open as the topology wants. Links that joining took are
    /// kept for some seconds; with them hardly a message would have to be forwarded.
    async fn settle(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        let wanted = needs::links_wanted(&self.args);
        let is_settled = |demo: &Self| wanted.contains(&members::open_links(&demo.members));
        // Links over and above are odd, but no reason to give up.
        while start.elapsed() < SETTLING {
            let settled = self.drive("", CLOSING, is_settled);
            if let Ok(failed) = timeout(SETTLING, settled).await {
                failed?;
            }
            // Some may be about to open still.
            let unsettled = self.drive("", CLOSING, |demo| !is_settled(demo));
            match timeout(CALM, unsettled).await {
                Ok(failed) => failed?,
                Err(_) => break,
            }
        }
        let text = format!(
            "{} open; those needed only to join were closed after {}",
            members::open_links(&self.members),
            milliseconds(start.elapsed())
        );
        self.say(&entry("links", &text));
        self.draw();
        Ok(())
    }

    /// Leaves the ring alone for a while; tells what its members take then, beyond what this
    /// process took when it was `empty`.
    async fn rest(&mut self, empty: Option<Usage>) -> Result<Option<Idle>, Failure> {
        let unless_told = if self.args.in_process { IDLE } else { 0 };
        let seconds = self.args.idle.unwrap_or(unless_told);
        if seconds == 0 {
            return Ok(None);
        }
        let time = Duration::from_secs(seconds as u64);
        let before = idle::taken(&self.members);
        if let Ok(failed) = timeout(time, self.drive("", time * 2, |_| false)).await {
            failed?;
        }
        let after = idle::taken(&self.members);
        let links = members::open_links(&self.members);
        // Other processes have nothing in them but the member.
        let empty = if self.args.in_process {
            empty
        } else {
            Some(Usage::default())
        };
        let idle = Idle::new(self.args.nodes, links, time, [empty, before, after]);
        if let Some(idle) = &idle {
            self.say(&entry("idle", &idle.text()));
        }
        Ok(idle)
    }

    /// A tenth of the messages, a thousand at most, one at a time: their latency is that of the
    /// way and not of a queue.
    async fn send_alone(&mut self) -> Result<(), Failure> {
        self.traffic.goal = (self.args.messages / 10).min(1000);
        self.traffic.window = 1;
        self.drive("messages did not arrive", DRAINING * 2, Self::is_quiet)
            .await
    }

    /// The rest of the messages, with the kills evenly among them; returns the milliseconds that
    /// each repair took.
    async fn send_and_kill(&mut self) -> Result<Vec<f64>, Failure> {
        self.traffic.window = WINDOW;
        let mut repairs = Vec::new();
        for kill in 1..=self.args.kill {
            let until = (self.args.messages * kill / (self.args.kill + 1)).max(self.traffic.sent);
            self.traffic.goal = until;
            self.drive("messages did not arrive", DRAINING + self.load(), |demo| {
                demo.traffic.sent >= until
            })
            .await?;
            let victim = self.busiest().await?;
            // More to send while the ring is being repaired.
            self.traffic.goal = self.args.messages;
            repairs.push(self.kill(victim).await?);
        }
        self.traffic.goal = self.args.messages;
        self.drive(
            "messages did not arrive",
            DRAINING + self.load(),
            Self::is_quiet,
        )
        .await?;
        Ok(repairs)
    }

    /// Time that the messages may take: 100 a second is a very slow machine.
    fn load(&self) -> Duration {
        Duration::from_millis(10 * self.args.messages as u64)
    }

    /// The living member that has passed on most.
    async fn busiest(&mut self) -> Result<usize, Failure> {
        for member in &mut self.members {
            member.forwarded = None;
        }
        let asked = members::living(&self.members);
        for &member in &asked {
            self.members[member].tell(&Request::Status { id: None })?;
        }
        self.drive("a member did not tell its status", CLOSING, |demo| {
            asked
                .iter()
                .all(|&member| demo.members[member].forwarded.is_some())
        })
        .await?;
        asked
            .into_iter()
            .max_by_key(|&member| self.members[member].forwarded)
            .ok_or_else(|| Failure::failed("nobody is left to kill"))
    }

    /// Kills `victim` and waits until the others have closed the ring; returns the milliseconds.
    async fn kill(&mut self, victim: usize) -> Result<f64, Failure> {
        let member = &mut self.members[victim];
        let Some(mut process) = member.process.take() else {
            return Err(Failure::failed("it was killed before"));
        };
        let killed = Instant::now();
        process
            .kill()
            .map_err(|error| Failure::failed(format!("cannot kill {}: {error}", member.name)))?;
        let name = member.name.clone();
        let forwarded = member.forwarded.unwrap_or_default();
        let members = &self.members;
        self.traffic.sent = self.ledger.bury(victim, |member| members[member].lives());
        self.drive("the ring was not repaired", CLOSING, Self::is_closed)
            .await?;
        let took = killed.elapsed();
        let text = format!(
            "{name}, which had passed on {} messages; the ring was whole again after {}",
            grouped(usize::try_from(forwarded).unwrap_or(usize::MAX)),
            milliseconds(took)
        );
        self.say(&entry("killed", &text));
        self.draw();
        Ok(took.as_secs_f64() * 1e3)
    }

    /// Keeps the ring running until a signal comes.
    async fn stay(&mut self) -> Result<(), Failure> {
        tokio::select! {
            outcome = self.drive_on() => outcome,
            () = signals::end() => Ok(()),
        }
    }

    /// Lets every process leave.
    async fn end(self) {
        // What they still tell is not waited for.
        drop(self.told);
        members::end(self.members).await;
    }

    /// Sends what there is to send and listens, until `done` or `limit` is over.
    async fn drive(
        &mut self,
        failure: &str,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + limit;
        loop {
            self.pump()?;
            if done(self) {
                return Ok(());
            }
            tokio::select! {
                told = self.told.recv() => if let Some(told) = told {
                    self.on_told(told)?;
                },
                () = sleep_until(deadline.into()) => {
                    let seconds = limit.as_secs();
                    return Err(Failure::failed(format!(
                        "{failure} within {seconds} s; run it again with fewer --nodes, or with -v"
                    )));
                }
            }
        }
    }

    /// Listens on; members may be killed by hand now.
    async fn drive_on(&mut self) -> Result<(), Failure> {
        while let Some(told) = self.told.recv().await {
            if told.report.is_none() && self.members[told.member].lives() {
                self.members[told.member].process = None;
                self.say(&entry("ended", &self.members[told.member].name));
            } else {
                self.on_told(told)?;
            }
        }
        Ok(())
    }

    /// Sends messages between random pairs while the window has room.
    fn pump(&mut self) -> Result<(), Failure> {
        while self.traffic.sent < self.traffic.goal && self.ledger.waiting() < self.traffic.window {
            let living = members::living(&self.members);
            let from = self.rng.random_range(0..living.len());
            let to = (from + self.rng.random_range(1..living.len())) % living.len();
            let (from, to) = (living[from], living[to]);
            let Some((id, _)) = self.members[to].place else {
                return Err(Failure::failed("a message to somebody who is not ready"));
            };
            let alone = self.traffic.window == 1;
            let number = self.ledger.send(from, to, alone, Instant::now());
            self.traffic.sent += 1;
            let request = Request::Send {
                id: Some(number.to_string()),
                to: id,
                content: Content::text(number.to_string()),
                class: SendClass::Reliable,
            };
            self.members[from].tell(&request)?;
        }
        Ok(())
    }

    fn on_told(&mut self, told: Told<Report>) -> Result<(), Failure> {
        let Told { member, at, report } = told;
        let Some(report) = report else {
            return self.members[member].on_end();
        };
        let numbered = |text: Option<String>| text.and_then(|text| text.parse().ok());
        match self.members[member].take(report) {
            Some(Report::Message {
                from,
                content,
                hops,
                ..
            }) => {
                // Somebody else may have joined and greeted.
                let from = members::find(&self.members, from);
                if let (Some(from), Some(number)) = (from, numbered(content.text)) {
                    self.ledger.received(number, from, member, hops, at);
                }
            }
            Some(Report::Delivered { id }) => {
                if let Some(number) = numbered(id) {
                    self.ledger.settled(number, true);
                }
            }
            Some(Report::Failed { id, .. } | Report::Expired { id }) => {
                if let Some(number) = numbered(id) {
                    self.ledger.settled(number, false);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is_closed(&self) -> bool {
        members::is_closed(&self.members)
    }

    fn is_quiet(&self) -> bool {
        self.traffic.sent >= self.traffic.goal && self.ledger.waiting() == 0
    }

    fn draw(&self) {
        if self.args.nodes > MOST_DRAWN {
            return;
        }
        self.say("");
        for line in ring(&members::labels(&self.members)) {
            self.say(&line);
        }
        self.say("");
    }

    fn say_how_to_join(&self) {
        let tracker = &self.tracker;
        self.say(&format!(
            "\nThe ring keeps running until Ctrl-C. Join it:\n\
             \x20 circlet node --room {ROOM} --tracker {tracker}\n\
             See it:\n\
             \x20 circlet topology --room {ROOM} --tracker {tracker}"
        ));
        if self.json {
            print(&format!(
                r#"{{"event":"staying","room":"{ROOM}","tracker":"{tracker}"}}"#
            ));
        }
    }

    /// A line for people.
    fn say(&self, line: &str) {
        if !self.json {
            print(line);
        }
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}
