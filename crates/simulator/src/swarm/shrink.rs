//! Makes a failing plan smaller for as long as it fails in the same way.
//!
//! Source: Zeller, Hildebrandt, "Simplifying and isolating failure-inducing input" (IEEE TSE
//! 2002): chunks of halving size are left out. Then whole nodes, then whatever is special about
//! the settings; then time is pressed together.

use std::time::{Duration, Instant};

use super::execute::Failure;
use super::plan::{Action, Plan, Settings};

/// How much work shrinking may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShrinkLimits {
    /// Runs at most; the result is the same every time if only these limit it.
    pub runs: u32,
    /// Wall time at most.
    pub time: Duration,
}

impl Default for ShrinkLimits {
    /// A thousand runs or a minute.
    fn default() -> Self {
        Self {
            runs: 1000,
            time: Duration::from_secs(60),
        }
    }
}

/// The smallest failing plan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// How it fails.
    pub failure: Failure,
    /// How many runs it took to find it.
    pub runs: u32,
}

/// Shrinks `plan`, which fails with `failure`. `run` gives a plan's failure, `None` if it has
/// none; a smaller plan is taken if it breaks the same invariant.
pub fn shrink(
    plan: Plan,
    failure: Failure,
    limits: ShrinkLimits,
    run: impl FnMut(&Plan) -> Option<Failure>,
) -> Shrunk {
    let mut shrinker = Shrinker {
        best: Shrunk {
            plan,
            failure,
            runs: 0,
        },
        limits,
        end: Instant::now() + limits.time,
        run,
    };
    // Each part may make way for another.
    loop {
        let before = shrinker.best.plan.clone();
        shrinker.cut_off();
        shrinker.drop_steps();
        shrinker.drop_nodes();
        shrinker.simplify_settings();
        shrinker.simplify_actions();
        shrinker.press_time();
        if shrinker.best.plan == before || shrinker.is_over() {
            return shrinker.best;
        }
    }
}

struct Shrinker<R> {
    best: Shrunk,
    limits: ShrinkLimits,
    end: Instant,
    run: R,
}

impl<R: FnMut(&Plan) -> Option<Failure>> Shrinker<R> {
    /// Takes a plan instead of the best one so far, if it fails in the same way.
    fn try_plan(&mut self, plan: Plan) -> bool {
        if plan == self.best.plan || self.is_over() {
            return false;
        }
        self.best.runs += 1;
        let wanted = self.best.failure.violation.invariant;
        let failure = (self.run)(&plan).filter(|failure| failure.violation.invariant == wanted);
        let Some(failure) = failure else {
            return false;
        };
        (self.best.plan, self.best.failure) = (plan, failure);
        true
    }

    /// Tries a change to a copy of the best plan.
    fn try_change(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.best.plan.clone();
        change(&mut plan);
        self.try_plan(plan)
    }

    fn is_over(&self) -> bool {
        self.best.runs >= self.limits.runs || Instant::now() >= self.end
    }

    /// What comes after the failure has no part in it.
    fn cut_off(&mut self) {
        let failure = &self.best.failure;
        if failure.healed {
            self.try_change(|plan| plan.final_rounds = 0);
            self.try_change(|plan| plan.final_rounds = 1);
        } else {
            let end_ms = failure.violation.at.as_micros().div_ceil(1000);
            self.try_change(|plan| {
                plan.steps.retain(|step| step.at_ms <= end_ms);
                plan.heal_ms = plan.heal_ms.min(end_ms);
                plan.final_rounds = 0;
            });
        }
    }

    /// Leaves out chunks of steps, each half as long as the one before.
    fn drop_steps(&mut self) {
        let mut length = self.best.plan.steps.len().div_ceil(2);
        while length > 0 && !self.is_over() {
            let mut end = self.best.plan.steps.len();
            // From the end: later steps depend on earlier ones.
            while end > 0 {
                let start = end.saturating_sub(length);
                self.try_change(|plan| {
                    plan.steps.drain(start..end);
                });
                end = start;
            }
            length /= 2;
        }
    }

    fn drop_nodes(&mut self) {
        for node in self.best.plan.nodes() {
            self.try_change(|plan| {
                let without = |step: &mut super::plan::Step| match step.action.without(node) {
                    Some(action) => {
                        step.action = action;
                        true
                    }
                    None => false,
                };
                plan.steps.retain_mut(without);
            });
        }
    }

    fn simplify_settings(&mut self) {
        let changes: [fn(&mut Settings, &Settings); 13] = [
            |settings, plain| *settings = plain.clone(),
            |settings, plain| settings.encode = plain.encode,
            |settings, plain| settings.clock_skew_ms = plain.clock_skew_ms,
            |settings, plain| settings.loss_permille = plain.loss_permille,
            |settings, plain| settings.bandwidth = plain.bandwidth,
            |settings, plain| settings.late_events_percent = plain.late_events_percent,
            |settings, plain| settings.path_timeouts = plain.path_timeouts,
            |settings, plain| settings.latency_ms = plain.latency_ms,
            |settings, plain| settings.trackers = plain.trackers,
            |settings, plain| {
                settings.topology = plain.topology;
                settings.hub = plain.hub;
            },
            |settings, plain| settings.hub = plain.hub,
            |settings, plain| {
                settings.list_len = plain.list_len;
                settings.ring_links = plain.ring_links;
                settings.long_links = plain.long_links;
                settings.max_links = plain.max_links;
            },
            |settings, plain| {
                settings.window_messages = plain.window_messages;
                settings.link_window = plain.link_window;
                settings.broadcast_cache = plain.broadcast_cache;
                settings.deadline_ms = plain.deadline_ms;
            },
        ];
        let plain = Settings::plain();
        for change in changes {
            self.try_change(|plan| change(&mut plan.settings, &plain));
        }
    }

    /// One message instead of many, short instead of long; smaller groups.
    fn simplify_actions(&mut self) {
        for at in 0..self.best.plan.steps.len() {
            self.try_change(|plan| match &mut plan.steps[at].action {
                Action::Send(talk) | Action::Datagram(talk) => {
                    (talk.count, talk.bytes) = (1, 8);
                }
                Action::Broadcast(shout) | Action::Circulate(shout) => {
                    (shout.count, shout.bytes) = (1, 8);
                }
                _ => {}
            });
            let Action::Partition { group, .. } = &self.best.plan.steps[at].action else {
                continue;
            };
            for node in group.clone() {
                self.try_change(|plan| {
                    if let Some(smaller) = plan.steps[at].action.without(node) {
                        plan.steps[at].action = smaller;
                    }
                });
            }
        }
    }

    /// Shorter pauses: all of them, then each one; then whole seconds and tenths.
    fn press_time(&mut self) {
        while self.try_change(|plan| {
            plan.heal_ms /= 2;
            for step in &mut plan.steps {
                step.at_ms /= 2;
            }
        }) {}
        for at in 0..=self.best.plan.steps.len() {
            for divisor in [0, 4, 2] {
                if self.try_change(|plan| shorten_pause(plan, at, divisor)) {
                    break;
                }
            }
        }
        for unit in [1000, 100] {
            self.try_change(|plan| {
                let round = |ms: &mut u64| *ms = (*ms).next_multiple_of(unit);
                plan.steps
                    .iter_mut()
                    .for_each(|step| round(&mut step.at_ms));
                round(&mut plan.heal_ms);
            });
        }
    }
}

/// Makes the pause before a step, or before healing, a `divisor`-th of what it was; 0 takes it
/// away.
fn shorten_pause(plan: &mut Plan, at: usize, divisor: u64) {
    let before = at.checked_sub(1).map_or(0, |last| plan.steps[last].at_ms);
    let then = plan.steps.get(at).map_or(plan.heal_ms, |step| step.at_ms);
    let pause = then.saturating_sub(before);
    let less = pause - pause.checked_div(divisor).unwrap_or(0);
    for step in plan.steps.iter_mut().skip(at) {
        step.at_ms -= less;
    }
    plan.heal_ms -= less;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::generate;
    use crate::world::Violation;
    use circlet_core::Timestamp;

    fn failure(invariant: &'static str, at_ms: u64) -> Failure {
        let at = Timestamp::from_micros(at_ms * 1000);
        Failure {
            violation: Violation::new(at, invariant, String::new()),
            healed: false,
        }
    }

    /// Fails once a node has crashed that another one has a message for.
    fn needs_two_steps(plan: &Plan) -> Option<Failure> {
        let crash = plan
            .steps
            .iter()
            .find(|s| matches!(s.action, Action::Crash(_)))?;
        let Action::Crash(node) = crash.action else {
            return None;
        };
        let spawned = |n: u32| plan.steps.iter().any(|s| s.action == Action::Spawn(n));
        let send = plan.steps.iter().find(|step| {
            matches!(&step.action, Action::Send(talk) if talk.to == node && spawned(talk.from))
        })?;
        let when = crash.at_ms.max(send.at_ms);
        spawned(node).then(|| failure("a", when))
    }

    #[test]
    fn what_has_no_part_in_the_failure_goes() {
        let (plan, first) = (0..500)
            .find_map(|seed| {
                let plan = generate(seed);
                let failure = needs_two_steps(&plan)?;
                (plan.steps.len() > 60).then_some((plan, failure))
            })
            .expect("one in 500 has both");
        let shrunk = shrink(plan, first, ShrinkLimits::default(), needs_two_steps);
        let plan = &shrunk.plan;
        assert!(needs_two_steps(plan).is_some());
        // Two nodes start, one sends, the other crashes: at once.
        assert!(plan.steps.len() <= 4, "{plan}");
        assert_eq!(plan.heal_ms, 0);
        assert!(plan.steps.iter().all(|step| step.at_ms == 0), "{plan}");
        assert_eq!(plan.settings, Settings::plain());
    }

    #[test]
    fn another_failure_is_not_taken_for_this_one() {
        let plan = generate(1);
        let steps = plan.steps.len();
        let run = |smaller: &Plan| {
            let name = if smaller.steps.len() == steps {
                "a"
            } else {
                "b"
            };
            Some(failure(name, u64::MAX / 1000))
        };
        let limits = ShrinkLimits::default();
        let shrunk = shrink(plan, failure("a", u64::MAX / 1000), limits, run);
        assert_eq!(shrunk.plan.steps.len(), steps);
    }

    #[test]
    fn the_limits_are_kept() {
        let limits = ShrinkLimits {
            runs: 7,
            ..ShrinkLimits::default()
        };
        let shrunk = shrink(generate(1), failure("a", 0), limits, |_| None);
        assert_eq!(shrunk.runs, 7);
    }
}
