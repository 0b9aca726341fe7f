//! The overlay's ring maintenance, exhausted with `stateright`: every order in which messages in
//! flight, attempts to connect, deaths, leaves, false suspicions and newcomers can come, within
//! bounds. The members are real: [`circlet_core::overlay::Overlay`]. What is imitated around
//! them, and what is left out, stands in docs/SIMULATION.md.
//!
//!     cargo test --release -p circlet-simulator --test exhaustive -- --nocapture
//!     cargo test --release -p circlet-simulator --test exhaustive -- --nocapture --ignored
//!
//! The second one takes minutes.

mod calm;
mod model;
mod rules;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Path, Property};

use calm::{Calm, linked_groups};
use model::{Bug, Setting, Step};
use state::{Budget, Place, State};

/// A ring to begin with, others who may join, and what may go wrong.
struct Ring {
    start: State,
    calm: Calm,
    /// A state has broken a property already: one is told, the first, which is among those that
    /// take the fewest steps.
    is_broken: AtomicBool,
}

impl Ring {
    /// In "ab.d" a, b and d form an ideal ring, and c may come.
    fn new(who: &str, mut setting: Setting, budget: Budget) -> Self {
        // What is wrong begins with the ring complete.
        let bug = setting.bug.take();
        let mut state = State::empty(setting, u8::try_from(who.len()).expect("a few members"));
        let places = who.bytes().zip(state.places());
        let members: Vec<_> = places
            .filter(|(sign, _)| *sign != b'.')
            .map(|(_, place)| place)
            .collect();
        for (n, place) in members.iter().enumerate() {
            if n == 0 {
                state.found(*place);
            } else {
                state.begin(*place, &members[..n]);
            }
            state = calm::run(&state).1;
        }
        let setting = Arc::get_mut(&mut state.setting).expect("no other state is kept");
        setting.bug = bug;
        state.budget = budget;
        Self {
            start: state,
            calm: Calm::default(),
            is_broken: AtomicBool::new(false),
        }
    }

    fn is_ideal_if_left_alone(&self, state: &State) -> bool {
        self.calm.judge(state).is_ok()
    }

    /// Whether those who are linked with each other now end up in the same ring.
    fn stays_together(&self, state: &State) -> bool {
        self.calm.judge(state).is_ok_and(|rings| {
            let groups = linked_groups(state);
            state.places().all(|place| {
                groups[place.index()]
                    .is_none_or(|group| rings[group.index()] == rings[place.index()])
            })
        })
    }

    fn first_broken(&self, holds: bool) -> bool {
        holds || self.is_broken.swap(true, Ordering::Relaxed)
    }
}

impl Model for Ring {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.start.clone()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        actions.extend(state.consequences());
        actions.extend(state.events());
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        Some(state.after(&step))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("safe", |ring: &Self, state| {
                ring.first_broken(rules::check(state).is_ok())
            }),
            Property::always("ideal if left alone", |ring: &Self, state| {
                ring.first_broken(ring.is_ideal_if_left_alone(state))
            }),
            Property::always("no ring falls apart", |ring: &Self, state| {
                ring.first_broken(ring.stays_together(state))
            }),
        ]
    }
}

/// Visits every state and prints a row of docs/SIMULATION.md.
fn exhaust(who: &str, setting: Setting, budget: Budget) {
    let start = Instant::now();
    let what = format!("{who} | {setting} | {budget}");
    let checker = Ring::new(who, setting, budget)
        .checker()
        .finish_when(HasDiscoveries::Any)
        .spawn_bfs()
        .join();
    if let Some((property, path)) = checker.discoveries().into_iter().next() {
        panic!("{}", tell(property, path));
    }
    println!(
        "| {what} | {} | {} | {} | {:.1} |",
        checker.unique_state_count(),
        checker.state_count(),
        // It counts states on the way, not steps between them.
        checker.max_depth() - 1,
        start.elapsed().as_secs_f64()
    );
    assert!(checker.unique_state_count() > 100, "little happened");
}

/// The steps of the shortest way to a state that breaks a property, readable.
fn counterexample(who: &str, setting: Setting, budget: Budget) -> (usize, String) {
    let checker = Ring::new(who, setting, budget)
        .checker()
        .finish_when(HasDiscoveries::Any)
        .spawn_bfs()
        .join();
    let found = checker.discoveries().into_iter().next();
    let (property, path) = found.expect("the fault is noticed");
    let steps = path.clone().into_actions().len();
    (steps, tell(property, path))
}

/// The way to a state that breaks a property, what becomes of it if it is left alone, and why
/// that is wrong.
fn tell(property: &str, path: Path<State, Step>) -> String {
    let states = path.into_vec();
    let mut lines = Vec::new();
    for (state, step) in &states {
        lines.push(state.to_string());
        lines.extend(step.iter().map(|step| format!("* {step}\n")));
    }
    if let Some((last, _)) = states.last() {
        let (steps, end) = calm::run(last);
        lines.push("left alone:\n".to_owned());
        lines.extend(steps.iter().map(|step| format!("* {step}\n")));
        lines.push(end.to_string());
        let why = match (rules::check(last), Calm::default().judge(last)) {
            (Err(why), _) | (_, Err(why)) => why,
            _ => "those who were linked end up in different rings",
        };
        lines.push(format!("not \"{property}\": {why}\n"));
    }
    lines.concat()
}

/// Lists of two members and a ring link on each side: the smallest with all parts of repair.
fn lean() -> Setting {
    Setting::new(2, 1)
}

/// The same, over links that keep the order of messages.
fn in_order() -> Setting {
    Setting {
        in_order: true,
        ..lean()
    }
}

fn cut(mut setting: Setting, a: u8, b: u8) -> Setting {
    setting.unconnectable.push((Place(a), Place(b)));
    setting
}

fn crashes(crashes: u8) -> Budget {
    Budget {
        crashes,
        ..Budget::default()
    }
}

fn leaves(leaves: u8) -> Budget {
    Budget {
        leaves,
        ..Budget::default()
    }
}

fn suspicions(suspicions: u8) -> Budget {
    Budget {
        suspicions,
        ..Budget::default()
    }
}

#[test]
fn a_newcomer_joins() {
    exhaust("ab.", lean(), Budget::default());
    exhaust("a..", in_order(), Budget::default());
}

#[test]
fn members_crash() {
    exhaust("abcd", lean(), crashes(1));
    exhaust("abcd", in_order(), crashes(2));
}

#[test]
fn members_leave() {
    exhaust("abcd", lean(), leaves(1));
    exhaust("abc", lean(), leaves(2));
}

#[test]
fn members_suspect_each_other_falsely() {
    exhaust("abc", lean(), suspicions(2));
    let budget = Budget {
        crashes: 1,
        ..suspicions(1)
    };
    exhaust("abc", lean(), budget);
}

#[test]
fn pairs_cannot_connect() {
    exhaust("abcd", cut(lean(), 0, 1), crashes(1));
    exhaust("abcd", cut(lean(), 0, 2), crashes(1));
    exhaust("abcd", cut(in_order(), 0, 1), suspicions(1));
}

/// What links are wanted for is in flight too, members stabilize and quarantines end amid all.
#[test]
fn a_crash_and_all_that_goes_on_besides() {
    let setting = Setting {
        wants_in_flight: true,
        ..in_order()
    };
    exhaust("abcd", setting, crashes(1));
    let setting = Setting {
        wants_in_flight: true,
        ..lean()
    };
    exhaust("abcd", setting, crashes(1));
    let budget = Budget {
        rounds: 1,
        waits: 1,
        ..crashes(1)
    };
    exhaust("abc", lean(), budget);
}

#[test]
#[ignore = "the larger bounds of docs/SIMULATION.md, a minute long: run with --ignored"]
fn more_of_everything() {
    let budget = Budget {
        overtakings: 1,
        ..crashes(2)
    };
    exhaust("abcd", in_order(), budget);
    exhaust(
        "abcd",
        Setting {
            in_order: true,
            ..Setting::new(3, 2)
        },
        crashes(1),
    );
    exhaust("abcd", in_order(), suspicions(1));
    exhaust("abc.", cut(in_order(), 0, 3), Budget::default());
    exhaust("abc.", cut(in_order(), 0, 1), Budget::default());
}

#[test]
fn an_older_table_that_wins_is_noticed() {
    let setting = Setting {
        bug: Some(Bug::OlderTableWins),
        ..lean()
    };
    let (steps, text) = counterexample("abcd", setting, crashes(1));
    println!("{text}");
    assert!(steps <= 12, "{steps} steps:\n{text}");
}

#[test]
fn deaths_believed_on_hearsay_are_noticed() {
    let setting = Setting {
        bug: Some(Bug::DeathByHearsay),
        ..lean()
    };
    let (steps, text) = counterexample("abcd", setting, suspicions(1));
    println!("{text}");
    assert!(steps <= 12, "{steps} steps:\n{text}");
}

/// Somebody out of reach is listed on the word of whoever is linked with it: without that word,
/// which is part of the lookahead, rings with a pair that cannot connect go wrong.
#[test]
fn a_member_out_of_reach_needs_somebody_to_vouch_for_it() {
    let setting = Setting {
        bug: Some(Bug::NobodyVouches),
        ..cut(lean(), 0, 2)
    };
    let (steps, text) = counterexample("abcd", setting, crashes(1));
    println!("{text}");
    assert!(steps <= 12, "{steps} steps:\n{text}");
}

#[test]
fn older_wishes_that_win_are_noticed() {
    let setting = Setting {
        wants_in_flight: true,
        bug: Some(Bug::OlderWishesWin),
        ..lean()
    };
    let (steps, text) = counterexample("abcd", setting, crashes(1));
    println!("{text}");
    assert!(steps <= 12, "{steps} steps:\n{text}");
    assert!(
        text.contains("wrong about what a link is wanted for"),
        "{text}"
    );
}
