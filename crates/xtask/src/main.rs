//! The project's own chores: `cargo xtask test | soak | tidy`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

mod setup;
mod soak;
mod steps;
mod suite;
mod tidy;

const HELP: &str = "\
cargo xtask test                                everything that must pass; ends with `N passed, N failed`
cargo xtask soak [--minutes N] [--first-seed N] the long forms, for N minutes (30), from seed N (1) on
cargo xtask tidy                                the house rules alone";

fn main() -> ExitCode {
    let args: Vec<String> = env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let command = match Command::parse(&args) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("{error}\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(&command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does it; whether all is well. If not, and there is no error, what was printed says why.
fn run(command: &Command) -> Result<bool, String> {
    match command {
        Command::Help => println!("{HELP}"),
        Command::Test => return Ok(suite::run(&root()?)),
        Command::Soak(plan) => soak::run(&root()?, plan)?,
        Command::Tidy => tidy::run(&root()?)?,
    }
    Ok(true)
}

/// The repository. Cargo names the package's directory when it runs this program.
fn root() -> Result<PathBuf, String> {
    env::var_os("CARGO_MANIFEST_DIR")
        .and_then(|package| Path::new(&package).ancestors().nth(2).map(Path::to_owned))
        .ok_or_else(|| "run it as `cargo xtask`".to_owned())
}

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Help,
    Test,
    Soak(soak::Plan),
    Tidy,
}

impl Command {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut args = args.iter().map(String::as_str);
        if args
            .clone()
            .any(|arg| ["help", "-h", "--help"].contains(&arg))
        {
            return Ok(Self::Help);
        }
        let command = match args.next() {
            Some("test") => Self::Test,
            Some("soak") => return Self::parse_soak(args),
            Some("tidy") => Self::Tidy,
            Some(other) => return Err(format!("there is no `{other}`")),
            None => return Err("say what to do".to_owned()),
        };
        match args.next() {
            Some(extra) => Err(format!("nothing is known of `{extra}`")),
            None => Ok(command),
        }
    }

    fn parse_soak<'a>(mut args: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut plan = soak::Plan {
            time: Duration::from_secs(30 * 60),
            first_seed: 1,
        };
        while let Some(flag) = args.next() {
            let mut number = || {
                args.next()
                    .and_then(|value| value.parse::<u32>().ok())
                    .ok_or_else(|| format!("`{flag}` takes a number"))
            };
            match flag {
                "--minutes" => plan.time = Duration::from_secs(60 * u64::from(number()?)),
                "--first-seed" => plan.first_seed = u64::from(number()?),
                other => return Err(format!("nothing is known of `{other}`")),
            }
        }
        Ok(Self::Soak(plan))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Command::parse(&args)
    }

    #[test]
    fn commands_are_read() {
        let soak = |minutes: u64, first_seed| {
            let time = Duration::from_secs(minutes * 60);
            Ok(Command::Soak(soak::Plan { time, first_seed }))
        };
        assert_eq!(parse("test"), Ok(Command::Test));
        assert_eq!(parse("tidy"), Ok(Command::Tidy));
        assert_eq!(parse("soak --help"), Ok(Command::Help));
        assert_eq!(parse("soak"), soak(30, 1));
        assert_eq!(parse("soak --minutes 5"), soak(5, 1));
        assert_eq!(parse("soak --first-seed 700 --minutes 5"), soak(5, 700));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "",
            "tset",
            "test --fast",
            "soak --minutes",
            "soak --minutes x",
            "soak 5",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
