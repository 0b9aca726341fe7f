//! Settings from three places: the command line wins, then the environment, then a TOML file.
//!
//! clap itself knows this order (argument, environment, default), so the environment variables
//! and the values of the file are put into its declarations before the command line is read.

use std::ffi::OsString;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{env, fs};

use circlet_simulator::nesting;
use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};
use toml::de::{DeTable, DeValue};

use crate::args::Args;
use crate::failure::Failure;

/// The largest configuration file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Reads the command line, `argv[0]` included, with everything that stands beneath it.
pub fn parse(argv: &[OsString]) -> Result<Args, Failure> {
    let mut command = declared();
    if let Some(path) = file_to_read(&command, argv)? {
        command = Settings::read(&path, &command)?.beneath(command);
    }
    let matches = command.try_get_matches_from_mut(argv)?;
    Args::from_arg_matches(&matches).map_err(|error| error.format(&mut command).into())
}

/// All commands and flags, each flag with its environment variable.
fn declared() -> Command {
    let prepare = |arg: Arg| with_environment(switchable(arg));
    Args::command()
        .mut_args(prepare)
        .mut_subcommands(move |command| command.mut_args(prepare))
}

/// `--flag` may be `--flag=false` as well, so that the command line can undo a file's `true`.
fn switchable(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .value_parser(BoolishValueParser::new())
        .value_name("BOOL")
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .hide_default_value(true)
        .hide_possible_values(true)
}

/// An empty variable counts as none.
fn with_environment(arg: Arg) -> Arg {
    let Some(long) = arg.get_long() else {
        return arg;
    };
    let name = format!("CIRCLET_{}", long.to_uppercase().replace('-', "_"));
    if env::var_os(&name).is_some_and(|value| !value.is_empty()) {
        arg.env(name).hide_env(true)
    } else {
        arg
    }
}

/// The configuration file: the one named, else the one in the XDG directory if it is there.
fn file_to_read(command: &Command, argv: &[OsString]) -> Result<Option<PathBuf>, Failure> {
    let matches = command
        .clone()
        .ignore_errors(true)
        .try_get_matches_from(argv)?;
    if let Some(named) = matches.get_one::<PathBuf>("config") {
        return Ok(Some(named.clone()));
    }
    let directory = env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".config")));
    Ok(directory
        .map(|path| path.join("circlet").join("config.toml"))
        .filter(|path| path.is_file()))
}

/// What a configuration file says.
struct Settings {
    entries: Vec<Setting>,
}

/// One `key = value` of the file.
#[derive(Debug)]
struct Setting {
    /// The command whose table it stands in, if it stands in one.
    section: Option<String>,
    key: String,
    values: Vec<String>,
}

impl Settings {
    /// Reads the file and checks each key and value against the flags of `command`.
    fn read(path: &Path, command: &Command) -> Result<Self, Failure> {
        let mut text = String::new();
        fs::File::open(path)
            .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text))
            .and_then(|bytes| {
                if bytes as u64 > MAX_FILE {
                    Err(std::io::Error::other("it is larger than 1 MiB"))
                } else {
                    Ok(())
                }
            })
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        Self::parse(&text, command).map_err(|wrong| {
            let line = 1 + text[..wrong.at].matches('\n').count();
            Failure::Usage(format!("{}:{line}: {}", path.display(), wrong.why))
        })
    }

    fn parse(text: &str, command: &Command) -> Result<Self, Wrong> {
        nesting::check(text).map_err(|deep| Wrong::new(deep.at, deep.to_string()))?;
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            Wrong::new(at, error.message())
        })?;
        let mut settings = Self {
            entries: Vec::new(),
        };
        for (key, value) in table.get_ref() {
            let name: &str = key.get_ref();
            if let DeValue::Table(section) = value.get_ref() {
                let command = command
                    .find_subcommand(name)
                    .ok_or_else(|| Wrong::new(key.span().start, format!("no command `{name}`")))?;
                settings.add_section(Some(name), section, &[command])?;
            }
        }
        let anywhere: Vec<&Command> = std::iter::once(command)
            .chain(command.get_subcommands())
            .collect();
        settings.add_section(None, table.get_ref(), &anywhere)?;
        Ok(settings)
    }

    /// Takes the keys of one table, each of which has to be a flag of one of `commands`.
    fn add_section(
        &mut self,
        section: Option<&str>,
        table: &DeTable<'_>,
        commands: &[&Command],
    ) -> Result<(), Wrong> {
        for (key, value) in table {
            let name: &str = key.get_ref();
            if section.is_none() && matches!(value.get_ref(), DeValue::Table(_)) {
                continue;
            }
            let at = key.span();
            let mut flags = commands
                .iter()
                .filter_map(|command| flag(command, name))
                .peekable();
            if flags.peek().is_none() {
                let of = section.map_or(String::new(), |section| format!(" of `{section}`"));
                return Err(Wrong::new(at.start, format!("unknown key `{name}`{of}")));
            }
            let values = texts(value.get_ref())
                .ok_or_else(|| Wrong::key(&at, name, "takes no such value"))?;
            for flag in flags {
                check(flag, &values).map_err(|why| Wrong::key(&at, name, &why))?;
            }
            self.entries.push(Setting {
                section: section.map(str::to_owned),
                key: name.to_owned(),
                values,
            });
        }
        Ok(())
    }

    /// `command` with these settings as the defaults of its flags.
    fn beneath(&self, command: Command) -> Command {
        command
            .mut_args(|arg| self.default(None, arg))
            .mut_subcommands(|command| {
                let section = command.get_name().to_owned();
                command.mut_args(|arg| self.default(Some(&section), arg))
            })
    }

    /// A command's own table comes before the top of the file.
    fn default(&self, section: Option<&str>, arg: Arg) -> Arg {
        let find = |section: Option<&str>| {
            self.entries.iter().find(|setting| {
                setting.section.as_deref() == section
                    && Some(setting.key.as_str()) == arg.get_long()
            })
        };
        match section.and_then(|_| find(section)).or_else(|| find(None)) {
            Some(setting) if !setting.values.is_empty() => {
                arg.default_values(setting.values.clone()).required(false)
            }
            _ => arg,
        }
    }
}

/// What is wrong with the file, and at which byte.
struct Wrong {
    at: usize,
    why: String,
}

impl Wrong {
    fn new(at: usize, why: impl Into<String>) -> Self {
        // Keys and texts of the file that are quoted may have line ends in them.
        let why = why.into().replace(|c: char| c.is_control(), " ");
        Self { at, why }
    }

    fn key(at: &Range<usize>, name: &str, why: &str) -> Self {
        Self::new(at.start, format!("key `{name}`: {why}"))
    }
}

/// The flag that `key` stands for. The file cannot name another file.
fn flag<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(key) && key != "config")
}

/// The value as it would stand on the command line, several for a list.
fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    let one = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(on) => Some(on.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    };
    match value {
        DeValue::Array(values) => values.iter().map(|value| one(value.get_ref())).collect(),
        value => one(value).map(|text| vec![text]),
    }
}

/// Whether clap would take `values` for the flag; what it says if not.
fn check(flag: &Arg, values: &[String]) -> Result<(), String> {
    if matches!(flag.get_action(), ArgAction::Count) {
        return match values {
            [value] if value.parse::<u8>().is_ok() => Ok(()),
            _ => Err("a number is wanted".to_owned()),
        };
    }
    let long = flag.get_long().unwrap_or_default();
    Command::new("file")
        .no_binary_name(true)
        .arg(flag.clone().required(false))
        .try_get_matches_from(values.iter().map(|value| format!("--{long}={value}")))
        .map(|_| ())
        .map_err(|error| {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::NodeArgs;
    use circlet_fuzz::{corpus, fuzz_text};

    #[test]
    fn fuzz_configuration() {
        let words = [
            "[",
            "]",
            "=",
            "\n",
            "'",
            "\"",
            "{}",
            "nan",
            "[node]\n",
            "verbose = ",
            "room = ",
            "tracker = [",
            "1979-05-27",
        ];
        let command = declared();
        fuzz_text(
            corpus!("config"),
            2_000,
            &words,
            |text| match Settings::parse(text, &command) {
                Ok(settings) => {
                    // What stands beneath may still be refused as a whole.
                    let beneath = settings.beneath(command.clone());
                    let _ = beneath.try_get_matches_from(["circlet", "node"]);
                }
                Err(wrong) => assert!(
                    wrong.at <= text.len() && !wrong.why.contains('\n'),
                    "{}",
                    wrong.why
                ),
            },
        );
    }

    fn read(text: &str, argv: &[&str]) -> Result<Args, String> {
        let command = declared();
        let settings = Settings::parse(text, &command).map_err(|wrong| wrong.why)?;
        let argv = std::iter::once("circlet").chain(argv.iter().copied());
        let matches = settings
            .beneath(command)
            .try_get_matches_from(argv)
            .map_err(|error| error.to_string())?;
        Args::from_arg_matches(&matches).map_err(|error| error.to_string())
    }

    fn node(text: &str, argv: &[&str]) -> NodeArgs {
        match read(text, argv).unwrap().command {
            crate::args::Command::Node(node) => node,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn clap_agrees_with_the_declarations() {
        declared().debug_assert();
    }

    #[test]
    fn the_file_stands_beneath_the_command_line() {
        let file = "room = 'a'\nring-links = 2\ntracker = ['ws://x', 'ws://y']\n\
                    [node]\nring-links = 3\nmanual-ack = true\n[demo]\nring-links = 5";
        let from_file = node(file, &["node"]);
        assert_eq!(from_file.room, "a");
        assert_eq!(from_file.ring_links, 3);
        let trackers = |node: &NodeArgs| -> Vec<String> {
            node.tracker.iter().map(ToString::to_string).collect()
        };
        assert_eq!(trackers(&from_file), ["ws://x", "ws://y"]);
        assert!(from_file.manual_ack);
        let mixed = node(
            file,
            &[
                "node",
                "--room=b",
                "--tracker=ws://z",
                "--manual-ack=false",
                "--ring-links=1",
            ],
        );
        assert_eq!(mixed.room, "b");
        assert_eq!(mixed.ring_links, 1);
        assert_eq!(trackers(&mixed), ["ws://z"]);
        assert!(!mixed.manual_ack);
    }

    #[test]
    fn global_flags_may_stand_in_the_file_and_behind_the_command() {
        let args = read("json = true\nverbose = 2", &["identity"]).unwrap();
        assert!(args.global.json);
        assert_eq!(args.global.verbose, 2);
        let args = read("json = true", &["identity", "--json=false", "-v"]).unwrap();
        assert!(!args.global.json);
        assert_eq!(args.global.verbose, 1);
    }

    #[test]
    fn no_nesting_overflows_the_stack() {
        let text = format!("a = {{{}{}", "{}".repeat(100_000), "={".repeat(100_000));
        let error = read(&text, &["node"]).unwrap_err();
        assert!(error.contains("deeper than 32"), "{error}");
    }

    #[test]
    fn a_bad_file_is_an_error_that_names_the_key() {
        for (file, what) in [
            ("rom = 'a'", "unknown key `rom`"),
            ("config = 'x'", "unknown key `config`"),
            ("[node]\nnodes = 2", "unknown key `nodes` of `node`"),
            ("[nodes]\nx = 2", "no command `nodes`"),
            ("ring-links = 'many'", "key `ring-links`: invalid value"),
            ("ring-links = [1, 2]", "key `ring-links`: "),
            ("room = 1979-05-27", "key `room`: takes no such value"),
            ("room = 'a/b'", "key `room`: invalid value"),
            ("topology = 'web'", "key `topology`: invalid value"),
            ("hub = 'me'", "key `hub`: invalid value"),
            ("room = ", ""),
            ("\"ro\\nom\" = 'a'", "unknown key `ro om`"),
        ] {
            let error = read(file, &["node"]).unwrap_err();
            assert!(error.contains(what), "{file}: {error}");
            assert!(!error.contains('\n'), "{file}: {error}");
        }
    }
}
