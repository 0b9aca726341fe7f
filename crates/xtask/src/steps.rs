//! Running one step after another: each named, timed, its output streamed; a summary at the end.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::ops::AddAssign;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long the output of tests may stay open after they have ended.
const OUTPUT_GRACE: Duration = Duration::from_secs(5);

/// Cargo itself, as it started this program, at work in `root`.
pub fn cargo<S: AsRef<OsStr>>(root: &Path, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(args);
    command
}

/// Runs `command`, its output streamed.
///
/// # Errors
/// A sentence if it cannot be started or does not succeed.
pub fn succeed(command: &mut Command) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|error| cannot_start(command, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(status.to_string())
    }
}

/// Tests that ran, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that passed.
    pub passed: u64,
    /// Those that failed.
    pub failed: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl Counts {
    /// The counts in a summary line of a test binary:
    /// `test result: ok. 5 passed; 0 failed; 0 ignored; ..`.
    fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line
            .trim()
            .strip_prefix("test result: ")?
            .split_once(". ")?;
        let mut parts = counts.split("; ");
        let mut number = |unit| parts.next()?.strip_suffix(unit)?.parse().ok();
        Some(Self {
            passed: number(" passed")?,
            failed: number(" failed")?,
        })
    }
}

/// Runs `cargo test ..`, its output streamed and its summary lines added up.
///
/// The failure, if there is one, is a sentence. One of them is that a process which the tests
/// started outlives them.
pub fn run_tests(command: &mut Command) -> (Counts, Result<(), String>) {
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return (Counts::default(), Err(cannot_start(command, &error))),
    };
    let (counts, drained) = stream(&mut child, OUTPUT_GRACE);
    let result = match child.wait() {
        Ok(status) if status.success() && !drained => {
            Err("a process that the tests started still runs".to_owned())
        }
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(error.to_string()),
    };
    (counts, result)
}

/// Passes on what the child writes and counts, until it has ended and its output too. A process
/// that it left behind may hold the output open: that is waited for `grace`, and said by `false`.
fn stream(child: &mut Child, grace: Duration) -> (Counts, bool) {
    let Some(output) = child.stdout.take() else {
        return (Counts::default(), true);
    };
    let (sender, receiver) = mpsc::sync_channel(1024);
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
            if sender.send(std::mem::take(&mut line)).is_err() {
                break;
            }
        }
    });
    let mut counts = Counts::default();
    // Test binaries that have begun and not summed up: one that is killed, or overflows its stack,
    // never does.
    let mut begun: u64 = 0;
    let mut ended = None;
    let drained = loop {
        match receiver.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => {
                let line = String::from_utf8_lossy(&line);
                if let Some(summary) = Counts::parse(&line) {
                    counts += summary;
                    begun = begun.saturating_sub(1);
                } else if is_beginning(&line) {
                    begun += 1;
                }
                print!("{line}");
            }
            Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => {
                if ended.is_none() && !matches!(child.try_wait(), Ok(None)) {
                    ended = Some(Instant::now());
                }
                if ended.is_some_and(|ended: Instant| ended.elapsed() >= grace) {
                    break false;
                }
            }
        }
    };
    counts.failed += begun;
    (counts, drained)
}

/// Whether a test binary begins: `running 5 tests`.
fn is_beginning(line: &str) -> bool {
    let number = line.trim().strip_prefix("running ");
    let number = number.and_then(|rest| rest.split_once(" test"));
    number.is_some_and(|(number, _)| number.parse::<u64>().is_ok())
}

fn cannot_start(command: &Command, error: &io::Error) -> String {
    let program = command.get_program().to_string_lossy();
    format!("cannot start {program}: {error}")
}

/// The steps so far.
#[derive(Debug, Default)]
pub struct Report {
    steps: Vec<Step>,
    counts: Counts,
}

#[derive(Debug)]
struct Step {
    name: String,
    seconds: f64,
    failure: Option<String>,
    /// Whether its failure is among the failed tests already.
    counted: bool,
}

impl Report {
    /// Does one step and says how it went; whether it succeeded.
    pub fn step(&mut self, name: &str, work: impl FnOnce() -> Result<(), String>) -> bool {
        self.record(name, || (Counts::default(), work()))
    }

    /// Runs tests as one step; whether it succeeded.
    pub fn tests(&mut self, name: &str, mut command: Command) -> bool {
        self.record(name, || run_tests(&mut command))
    }

    fn record(&mut self, name: &str, work: impl FnOnce() -> (Counts, Result<(), String>)) -> bool {
        println!("== {name}");
        let start = Instant::now();
        let (counts, result) = work();
        self.counts += counts;
        self.steps.push(Step {
            name: name.to_owned(),
            seconds: start.elapsed().as_secs_f64(),
            failure: result.err(),
            counted: counts.failed > 0,
        });
        let step = &self.steps[self.steps.len() - 1];
        println!("{step}\n");
        step.failure.is_none()
    }

    /// Prints the summary, its last line `N passed, N failed`; whether all is well.
    ///
    /// What passed are tests. What failed are tests and other steps, so that it is 0 exactly if
    /// all is well.
    pub fn finish(self) -> bool {
        println!("== summary");
        for step in &self.steps {
            println!("{step}");
        }
        let Counts { passed, failed } = self.totals();
        println!("{passed} passed, {failed} failed");
        failed == 0
    }

    fn totals(&self) -> Counts {
        let uncounted = |step: &&Step| step.failure.is_some() && !step.counted;
        Counts {
            passed: self.counts.passed,
            failed: self.counts.failed + self.steps.iter().filter(uncounted).count() as u64,
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, seconds, .. } = self;
        match &self.failure {
            None => write!(f, "   ok      {seconds:7.1} s  {name}"),
            Some(failure) => write!(f, "   FAILED  {seconds:7.1} s  {name}: {failure}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn summary_lines_are_counted_and_nothing_else() {
        let line = "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured\n";
        let (passed, failed) = (5, 2);
        assert_eq!(Counts::parse(line), Some(Counts { passed, failed }));
        for line in [
            "",
            "test result: ok",
            "test passed ... ok",
            "5 passed; 2 failed",
        ] {
            assert_eq!(Counts::parse(line), None, "{line}");
        }
    }

    #[test]
    fn counts_of_all_binaries_are_added_up() {
        let mut report = Report::default();
        let line = "echo 'test result: ok. 3 passed; 0 failed; 0 ignored'";
        assert!(report.tests("two binaries", shell(&format!("{line}; {line}"))));
        let (passed, failed) = (6, 0);
        assert_eq!(report.totals(), Counts { passed, failed });
        assert!(report.finish());
    }

    #[test]
    fn a_failed_test_counts_once_and_a_failed_step_too() {
        let mut report = Report::default();
        let line = "echo 'test result: FAILED. 3 passed; 2 failed; 0 ignored'";
        assert!(!report.tests("tests", shell(&format!("{line}; exit 101"))));
        assert!(!report.tests("does not compile", shell("exit 101")));
        assert!(!report.step("other", || Err("no".to_owned())));
        let (passed, failed) = (3, 4);
        assert_eq!(report.totals(), Counts { passed, failed });
        assert!(!report.finish());
    }

    #[test]
    fn a_process_left_behind_is_noticed() {
        let mut command = shell("echo 'test result: ok. 1 passed; 0 failed; 0 ignored'; sleep 3 &");
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let (counts, drained) = stream(&mut child, Duration::ZERO);
        child.wait().expect("it is this process's child");
        let (passed, failed) = (1, 0);
        assert_eq!((counts, drained), (Counts { passed, failed }, false));
    }

    #[test]
    fn a_test_binary_that_is_killed_counts_as_a_failed_test() {
        let whole = "echo 'running 1 test'; echo 'test result: ok. 1 passed; 0 failed; 0 ignored'";
        let mut killed = shell(&format!("{whole}; echo 'running 2 tests'; kill -ABRT $$"));
        let (counts, result) = run_tests(&mut killed);
        let (passed, failed) = (1, 1);
        assert_eq!(counts, Counts { passed, failed });
        assert!(result.is_err());
    }

    #[test]
    fn a_program_that_is_not_there_is_a_failure() {
        let (_, result) = run_tests(&mut Command::new("circlet-no-such-program"));
        assert!(result.is_err_and(|error| error.contains("circlet-no-such-program")));
    }
}
