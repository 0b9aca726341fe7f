//! `circlet demo`: a ring of processes on this machine, messages, kills and repairs.

mod ledger;
mod members;
mod process;
mod report;

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use circlet_core::{Config, Topology, Wanted};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use crate::args::DemoArgs;
use crate::failure::Failure;
use crate::node::protocol::{Content, Report, Request, SendClass};
use crate::output::print;
use crate::statistics::grouped;
use crate::{signals, tracker};
use ledger::Ledger;
use members::Member;
use process::{Process, Told};
use report::{Numbers, Outcome, entry, ring};

/// Reports of the processes that may wait; beyond that they wait for the demo.
const TOLD: usize = 4096;

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
    told: mpsc::Receiver<Told>,
    tell: mpsc::Sender<Told>,
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
        let ring_closed_ms = self.form().await?;
        self.settle().await?;
        let sending = Instant::now();
        self.send_alone().await?;
        let repair_ms = self.send_and_kill().await?;
        let seconds = sending.elapsed().as_secs_f64();

        let figures = self.ledger.figures(|member| self.members[member].lives());
        let numbers = Numbers::new(&self.args, ring_closed_ms, repair_ms, &figures, seconds);
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
        } = self.wanted();
        let others = match topology {
            Topology::Ring | Topology::SmallWorld => {
                format!("{long_links} long link(s) of its own")
            }
            Topology::Mesh => "one to everybody else".to_owned(),
            Topology::Star => "one to the hub".to_owned(),
        };
        self.say(&format!(
            "A ring of {nodes} processes, {topology}, each with {ring_links} ring link(s) a side \
             and {others}"
        ));
        self.say(&entry("tracker", &self.tracker));
        let start = Instant::now();
        for member in 0..nodes {
            self.start(member)?;
        }
        let started = Instant::now();
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
        let mut arguments: Vec<OsString> = Vec::new();
        let mut flag = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        flag("--room", ROOM.into());
        flag("--tracker", self.tracker.clone().into());
        flag("--identity", key.into());
        flag("--name", name.clone().into());
        flag("--topology", args.topology.topology.name().into());
        flag("--ring-links", args.ring_links.to_string().into());
        flag("--long-links", args.long_links.to_string().into());
        let (directory, tell) = (self.directory.path(), self.tell.clone());
        let process = Process::start(member, arguments, directory, self.verbose, tell)
            .map_err(|error| Failure::failed(format!("cannot start {name}: {error}")))?;
        self.members.push(Member::new(name, process));
        Ok(())
    }

    /// Waits until as many links are open as the topology wants. Links that joining took are
    /// kept for some seconds; with them hardly a message would have to be forwarded.
    async fn settle(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        let wanted = self.links_wanted();
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
            self.tell(member, &Request::Status { id: None })?;
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
        let mut leaving: Vec<_> = self
            .members
            .into_iter()
            .filter_map(|member| member.process)
            .map(|process| tokio::spawn(process.end()))
            .collect();
        for process in &mut leaving {
            let _ = process.await;
        }
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
            self.tell(from, &request)?;
        }
        Ok(())
    }

    fn tell(&self, member: usize, request: &Request) -> Result<(), Failure> {
        let member = &self.members[member];
        match &member.process {
            Some(process) if !process.tell(request) => Err(Failure::failed(format!(
                "{} takes no commands: {}",
                member.name,
                process.last_words()
            ))),
            _ => Ok(()),
        }
    }

    fn on_told(&mut self, told: Told) -> Result<(), Failure> {
        let Told { member, at, report } = told;
        let Some(report) = report else {
            let member = &self.members[member];
            return match &member.process {
                Some(process) => Err(Failure::failed(format!(
                    "{} has ended: {}",
                    member.name,
                    process.last_words()
                ))),
                None => Ok(()),
            };
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

    /// The links that each member wants.
    fn wanted(&self) -> Wanted {
        self.args.topology.topology.wanted(&Config {
            ring_links: self.args.ring_links,
            long_links: self.args.long_links,
            ..Config::default()
        })
    }

    /// How many links there are once everybody has what it wants.
    fn links_wanted(&self) -> RangeInclusive<usize> {
        let (nodes, wanted) = (self.args.nodes, self.wanted());
        let each = nodes * (wanted.ring_links + wanted.long_links);
        match self.args.topology.topology {
            Topology::Ring | Topology::SmallWorld => 0..=each,
            Topology::Mesh => {
                let others = nodes - 1;
                let most = Config::default().most_direct_links(false);
                let least = if others <= most { others } else { 0 };
                nodes * least / 2..=nodes * others / 2
            }
            Topology::Star => nodes - 1..=each + nodes - 1,
        }
    }

    fn is_quiet(&self) -> bool {
        self.traffic.sent >= self.traffic.goal && self.ledger.waiting() == 0
    }

    fn draw(&self) {
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
