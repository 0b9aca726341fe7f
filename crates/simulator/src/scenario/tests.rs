use super::mutilate::mutilate;
use super::*;
use crate::random::{Concern, Stream};
use crate::results::Bound;

const SMALL: &str = "
title = \"small\"
seed = 7
duration_s = 20

[overlay]
nodes = 16
ring_links = 2

[network]
latency = { model = \"uniform\", min_ms = 20, max_ms = 180 }
uplink_mbit_per_s = 5

[[arrivals]]
kind = \"poisson\"
per_s = 0.5

[sessions]
distribution = \"weibull\"
shape = 0.5
scale_s = 30
crash_share = 0.25

[[faults]]
at_s = 10
kind = \"crash\"
share = 0.25
choice = \"adjacent\"

[[faults]]
at_s = 5
kind = \"partition\"
shares = [0.5, 0.5]
trackers = \"0\"

[[traffic]]
kind = \"unicast\"
from = \"all\"
per_s = 2

[[expect]]
metric = \"unicast.delivered_share\"
at_least = 0.9
source = \"a guess\"
";

fn parse(text: &str) -> Result<Scenario, String> {
    Scenario::parse("small.toml", text, &Files::none(), Overrides::default())
        .map_err(|error| error.to_string())
}

#[test]
fn a_scenario_is_read() {
    let scenario = parse(SMALL).unwrap();
    assert_eq!(scenario.name.name, "small");
    assert_eq!((scenario.seed, scenario.overlay.nodes), (7, 16));
    assert_eq!(scenario.overlay.config.ring_links, 2);
    assert_eq!(scenario.network.uplink, Some(625_000));
    // In order of time.
    assert_eq!(scenario.faults[0].at, Duration::from_secs(5));
    let partition = FaultKind::Partition {
        shares: vec![0.5, 0.5],
        choice: Choice::Random,
        trackers: crate::network::TrackerReach::Group(0),
    };
    assert_eq!(scenario.faults[0].what, partition);
    assert_eq!(scenario.expectations[0].bound, Bound::AtLeast(0.9));
    assert_eq!(scenario.classes(), ["unicast"]);
}

#[test]
fn the_command_line_wins() {
    let overrides = Overrides {
        seed: Some(9),
        nodes: Some(5),
    };
    let scenario = Scenario::parse("x.toml", SMALL, &Files::none(), overrides).unwrap();
    assert_eq!((scenario.seed, scenario.overlay.nodes), (9, 5));
    let too_many = Overrides {
        nodes: Some(1 << 40),
        ..overrides
    };
    assert!(Scenario::parse("x.toml", SMALL, &Files::none(), too_many).is_err());
}

/// Each mistake is reported with file, line and key.
#[test]
fn mistakes_are_named_with_line_and_key() {
    for (from, to, wanted) in [
        (
            "seed = 7",
            "sed = 7",
            "small.toml:3: key `sed`: unknown field `sed`",
        ),
        ("seed = 7", "seed = -7", "small.toml:3: key `seed`: "),
        (
            "seed = 7",
            "seed = \"7\"",
            "small.toml:3: key `seed`: invalid type",
        ),
        ("seed = 7", "seed == 7", "small.toml:3: "),
        (
            "duration_s = 20",
            "",
            "small.toml:1: key `duration_s`: is missing",
        ),
        (
            "duration_s = 20",
            "duration_s = 0",
            "small.toml:4: key `duration_s`: has to be from",
        ),
        (
            "duration_s = 20",
            "duration_s = 1e300",
            "small.toml:4: key `duration_s`: has to be",
        ),
        (
            "duration_s = 20",
            "duration_s = nan",
            "small.toml:4: key `duration_s`: has to be",
        ),
        (
            "duration_s = 20",
            "duration_s = 8",
            "key `faults[0].at_s`: 10 s is after the end at 8 s",
        ),
        (
            "duration_s = 20",
            "detail = \"half\"\nduration_s = 20",
            "small.toml:4: key `detail`: unknown variant",
        ),
        (
            "nodes = 16",
            "",
            "small.toml:6: key `overlay.nodes`: is missing",
        ),
        (
            "nodes = 16",
            "nodes = 0",
            "small.toml:7: key `overlay.nodes`: has to be from 1",
        ),
        (
            "nodes = 16",
            "nodes = 6000",
            "small.toml:7: key `overlay.nodes`: has to be from 1 to 5000",
        ),
        (
            "nodes = 16",
            "nodes = 16\nhub = 3",
            "small.toml:8: key `overlay.hub`: says nothing",
        ),
        (
            "nodes = 16",
            "nodes = 16\nstart = \"x.json\"",
            "small.toml:8: key `overlay.start`: x.json: ",
        ),
        (
            "nodes = 16",
            "nodes = 16\nstart = \"late\"",
            "small.toml:8: key `overlay.start`: has to be",
        ),
        (
            "nodes = 16",
            "nodes = 16\nrouting = \"clockwise\"",
            "key `overlay.routing`: says nothing with detail",
        ),
        (
            "ring_links = 2",
            "ring_links = 9",
            "small.toml:8: key `overlay.ring_links`: 9 links",
        ),
        (
            "[network]",
            "[timing]\nheartbeat_ms = 0\n[network]",
            "small.toml:11: key `timing.heartbeat_ms`: ",
        ),
        (
            "min_ms = 20",
            "min_ms = 200",
            "small.toml:11: key `network.latency.min_ms`: is more",
        ),
        (
            "min_ms = 20",
            "min_ms = 20, ms = 3",
            "key `network.latency.ms`: says nothing with model",
        ),
        (
            "min_ms = 20, ",
            "",
            "small.toml:11: key `network.latency.min_ms`: is missing",
        ),
        (
            "min_ms = 20",
            "mini_ms = 20",
            "small.toml:11: key `network.latency.mini_ms`: unknown field",
        ),
        (
            "\"uniform\"",
            "\"unform\"",
            "small.toml:11: key `network.latency.model`: unknown variant",
        ),
        (
            "per_s = 0.5",
            "per_s = 1000",
            "key `arrivals[0]`: makes 20016 members in all, and 5000 fit",
        ),
        (
            "per_s = 0.5",
            "per_s = 0.5\ncount = 3",
            "small.toml:17: key `arrivals[0].count`: says nothing",
        ),
        (
            "shape = 0.5",
            "shape = 0",
            "small.toml:20: key `sessions.shape`: has to be",
        ),
        (
            "crash_share = 0.25",
            "crash_share = 1.5",
            "small.toml:22: key `sessions.crash_share`: has",
        ),
        (
            "share = 0.25\nchoice",
            "choice",
            "small.toml:24: key `faults[0]`: needs a share or a count",
        ),
        (
            "share = 0.25\nchoice",
            "share = 0.1\ncount = 1\nchoice",
            "key `faults[0].count`: says nothing with share",
        ),
        (
            "share = 0.25\nchoice",
            "members = [\"n3\", \"n16\"]\n#",
            "key `faults[0].members[1]`: n16 is none",
        ),
        (
            "shares = [0.5, 0.5]",
            "shares = [0.5, 0.6]",
            "small.toml:33: key `faults[1].shares`: have to sum",
        ),
        (
            "shares = [0.5, 0.5]",
            "shares = [2.0, -1.0]",
            "small.toml:33: key `faults[1].shares[0]`: has to",
        ),
        (
            "shares = [0.5, 0.5]",
            "shares = [1]",
            "key `faults[1].shares`: a partition has 2 to 64",
        ),
        (
            "trackers = \"0\"",
            "trackers = \"2\"",
            "key `faults[1].trackers`: has to be",
        ),
        ("per_s = 2", "per_s = 1e6", "key `traffic[0]`: makes"),
        (
            "per_s = 2",
            "per_s = 2\nbytes = 1",
            "key `traffic[0].bytes`: has to be from 8",
        ),
        (
            "per_s = 2",
            "per_s = 2\nto = \"all\"",
            "key `traffic[0].to`: a unicast goes to",
        ),
        (
            "per_s = 2",
            "per_s = 2\nend_s = 1\nstart_s = 3",
            "key `traffic[0].end_s`: ends before it begins",
        ),
        (
            "unicast.delivered",
            "unicast.received",
            "key `expect[0].metric`: \"unicast.received_share\" is no",
        ),
        (
            "unicast.delivered",
            "stream.delivered",
            "key `expect[0].metric`: there is no [[traffic]] of",
        ),
        (
            "at_least = 0.9",
            "at_least = 0.9\nat_most = 1",
            "key `expect[0]`: needs one of",
        ),
    ] {
        let text = SMALL.replacen(from, to, 1);
        assert_ne!(text, SMALL, "{from}");
        let error = parse(&text).expect_err(to);
        assert!(
            error.starts_with("small.toml:") && error.contains(wanted),
            "{to}: {error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let wide = format!("title = \"{}\"", "x".repeat(1 << 20));
    assert!(parse(&wide).unwrap_err().contains("larger than 1 MiB"));
    let deep = format!("title = {}1{}", "[".repeat(5000), "]".repeat(5000));
    assert!(parse(&deep).is_err());
}

#[test]
fn what_is_quoted_stays_in_its_line() {
    for (from, to, quoted) in [
        (
            "\"unicast.delivered_share\"",
            "\"a\\nb\"",
            "\"a\\nb\" is no figure",
        ),
        ("shape = ", "\"a\\u001bb\" = ", "`sessions.a\\u{1b}b`"),
        ("ring_links = ", "\"a\\nb\" = ", "`overlay.a\\nb`"),
    ] {
        assert!(SMALL.contains(from), "{from}");
        let error = parse(&SMALL.replace(from, to)).unwrap_err();
        assert!(error.contains(quoted), "{error}");
        assert!(!error.contains(char::is_control), "{error}");
    }
}

#[test]
fn no_nesting_overflows_the_stack() {
    // Past the limit of `toml` itself: it counts the braces that close what it has skipped.
    for open in ["={", "={x=[", "=["] {
        let text = format!(
            "{SMALL}a = {{{}x{}",
            "{}".repeat(100_000),
            open.repeat(100_000)
        );
        let error = parse(&text).unwrap_err();
        let line = 1 + SMALL.matches('\n').count();
        let deep = "brackets, braces and dotted keys are nested deeper than 32";
        assert_eq!(error, format!("small.toml:{line}: {deep}"), "{open}");
    }
    // Within the limit of `toml`, which has one for each key.
    let dots = ["a"; 80].join(".");
    let (open, close) = (format!("{{{dots} = ").repeat(79), "}".repeat(79));
    let error = parse(&format!("[network]\nlatency = {open}1{close}")).unwrap_err();
    assert!(
        error.contains("small.toml:2: ") && error.contains("deeper than 32"),
        "{error}"
    );
}

#[test]
fn what_is_no_file_is_said() {
    let error = Scenario::find("no-such-scenario", Overrides::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("no-such-scenario: ") && text.contains("built-in"),
        "{text}"
    );
}

/// A deserializer that gives nothing and notes the keys that a table knows.
struct Keys<'a>(&'a mut Vec<String>);

impl<'de> serde::Deserializer<'de> for Keys<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("no value"))
    }

    fn deserialize_struct<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0
            .extend(fields.iter().map(|field| (*field).to_owned()));
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn keys<'de, T: Deserialize<'de>>() -> Vec<String> {
    let mut keys = Vec::new();
    let _ = T::deserialize(Keys(&mut keys));
    keys.sort_unstable();
    keys
}

/// The keys that the document has in the tables below the headings `[name]` and `[[name]]`.
fn documented(heading: &str) -> Vec<String> {
    let text = include_str!("../../../../docs/SIMULATION.md");
    let section = text
        .split("\n### ")
        .find(|section| section.starts_with(heading))
        .unwrap_or_else(|| panic!("there is no heading {heading}"));
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut keys: Vec<String> = rows
        .filter_map(|row| row.split_once('`'))
        .map(|(key, _)| key.to_owned())
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn every_key_is_documented_and_no_other() {
    for (heading, keys) in [
        ("`[overlay]`\n", keys::<overlay::OverlayTable>()),
        ("`[timing]`\n", keys::<overlay::TimingTable>()),
        ("`[network]`\n", keys::<network::NetworkTable>()),
        ("`[network.latency]`\n", keys::<network::LatencyTable>()),
        ("`[trackers]`\n", keys::<network::TrackersTable>()),
        ("`[[arrivals]]`\n", keys::<population::ArrivalsTable>()),
        ("`[[departures]]`\n", keys::<population::DeparturesTable>()),
        ("`[sessions]`\n", keys::<population::SessionsTable>()),
        ("`[[faults]]`\n", keys::<faults::FaultTable>()),
        ("`[[traffic]]`\n", keys::<traffic::TrafficTable>()),
        ("`[workload]`\n", keys::<WorkloadTable>()),
        ("`[measure]`\n", keys::<measure::MeasureTable>()),
        ("`[[expect]]`\n", keys::<measure::ExpectTable>()),
        ("`[[reference]]`\n", keys::<measure::ReferenceTable>()),
    ] {
        assert!(!keys.is_empty(), "{heading}");
        assert_eq!(documented(heading), keys, "{heading}");
    }
    let whole = documented("The file as a whole\n");
    for key in keys::<ScenarioTable>() {
        let is_table = [format!("\n### `[{key}]`\n"), format!("\n### `[[{key}]]`\n")];
        let text = include_str!("../../../../docs/SIMULATION.md");
        let described = is_table.iter().any(|heading| text.contains(heading));
        assert!(described != whole.contains(&key), "{key}");
    }
}

#[test]
fn defaults_of_the_members_times_are_as_documented() {
    let scenario = parse("duration_s = 1\noverlay.nodes = 1").unwrap();
    let text = include_str!("../../../../docs/SIMULATION.md");
    let section = text
        .split("\n### ")
        .find(|part| part.starts_with("`[timing]`"))
        .unwrap();
    let mut settings = String::new();
    for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (key, rest) = row.split_once('`').unwrap();
        let value = rest.split('|').nth(1).unwrap().trim();
        settings.push_str(&format!("{key} = {value}\n"));
    }
    assert!(settings.lines().count() > 20);
    let spelled_out = format!("duration_s = 1\noverlay.nodes = 1\n[timing]\n{settings}");
    assert_eq!(
        parse(&spelled_out).unwrap().overlay.config,
        scenario.overlay.config
    );
}

#[test]
fn the_built_in_scenarios_are_those_of_the_directory() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../simulations");
    let mut files: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".toml").map(str::to_owned)
        })
        .collect();
    files.sort_unstable();
    let names: Vec<_> = BUILT_IN
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(names, files);
    for (name, text) in BUILT_IN {
        let scenario = Scenario::parse(name, text, &Files::none(), Overrides::default());
        let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
        assert!(!scenario.name.title.is_empty(), "{name}");
        assert!(!scenario.expectations.is_empty(), "{name} demands nothing");
    }
}

/// Scenarios that somebody broke: an error or a scenario, and never a panic.
#[test]
fn mutilated_scenarios_are_errors_or_scenarios() {
    let mut random = Stream::fork(1, Concern::Scenario, 0);
    let texts: Vec<&str> = BUILT_IN
        .iter()
        .map(|(_, text)| *text)
        .chain([SMALL])
        .collect();
    let (mut valid, mut wrong) = (0, 0);
    for _ in 0..5_000 {
        let text = mutilate(&texts, &mut random);
        match parse(&text) {
            Ok(_) => valid += 1,
            Err(error) => {
                wrong += 1;
                let ends_well = error.starts_with("small.toml:") && !error.contains('\n');
                assert!(ends_well, "{error}\n{text}");
            }
        }
    }
    assert!(valid > 500 && wrong > 500, "{valid} valid, {wrong} wrong");
}
