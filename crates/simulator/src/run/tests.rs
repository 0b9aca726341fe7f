use super::*;
use crate::scenario::{Files, Overrides};

fn scenario(text: &str) -> Scenario {
    Scenario::parse("test.toml", text, &Files::none(), Overrides::default()).unwrap()
}

fn results_of(text: &str) -> Results {
    run(&scenario(text), &Stop::default(), &mut |_| {}).unwrap()
}

const QUIET: &str = "
duration_s = 10
[overlay]
nodes = 12
[[traffic]]
kind = \"unicast\"
from = \"all\"
per_s = 2
[[traffic]]
kind = \"broadcast\"
per_s = 1
[[traffic]]
kind = \"circulate\"
per_s = 0.5
[measure]
every_s = 1
";

#[test]
fn a_quiet_overlay_delivers_everything() {
    let results = results_of(QUIET);
    assert!(results.complete && results.passed());
    for class in &results.traffic {
        assert!(class.delivered > 0 && class.lost == 0, "{class:?}");
    }
}
