//! Every field of `Config` names its default and where that comes from, and the user guide says
//! the same.

use super::markdown::{Row, table_rows};
use super::source::{Member, block, members};
use super::tree::{Problem, Tree};

const SOURCE: &str = "crates/core/src/config.rs";

const GUIDE: &str = "docs/USER-GUIDE.md";

pub fn check(tree: &Tree) -> Vec<Problem> {
    let source = tree.text(SOURCE).unwrap_or_default();
    let Some(fields) = members(source, "pub struct Config {") else {
        return vec![Problem::in_file(SOURCE, "there is no `pub struct Config`")];
    };
    let mut problems = Vec::new();
    let Some(guide) = tree.text(GUIDE) else {
        let text = format!("is missing; {} settings belong there", fields.len());
        problems.push(Problem::in_file(GUIDE, text));
        problems.extend(fields.iter().filter_map(|field| in_source(source, field)));
        return problems;
    };
    let rows = table_rows(guide);
    for field in &fields {
        problems.extend(in_source(source, field));
        problems.extend(in_guide(&rows, field));
    }
    problems
}

/// What the source says of a field: `Default 300 ms: DESIGN, section 5.`
fn in_source(source: &str, field: &Member<'_>) -> Option<Problem> {
    let problem = |text| Some(Problem::at(SOURCE, field.line, text));
    let Some(default) = Default::of(&field.docs) else {
        return problem(format!("`{}` does not name its default", field.name));
    };
    if default.source.is_empty() && !default.is_switch() {
        return problem(format!(
            "`{}` does not say where its default is from, or `guess`",
            field.name
        ));
    }
    match value_in_code(source, field.name) {
        Some(value) if value != default.value => problem(format!(
            "`{}` is {value} by default, and its documentation says {}",
            field.name, default.value
        )),
        _ => None,
    }
}

/// What the guide says of a field: a row of a table with the columns Default and Source.
fn in_guide(rows: &[Row<'_>], field: &Member<'_>) -> Option<Problem> {
    let name = format!("`{}`", field.name);
    let Some(row) = rows.iter().find(|row| row.cells.contains(&name.as_str())) else {
        let text = format!("no row of a table has {name} as a cell");
        return Some(Problem::in_file(GUIDE, text));
    };
    let problem = |text| Some(Problem::at(GUIDE, row.line, text));
    let default = Default::of(&field.docs)?;
    if row.cell("source").unwrap_or_default().is_empty() && !default.is_switch() {
        return problem(format!("{name} has no `Source`"));
    }
    let expected = default.value;
    match row.cell("default").map(|cell| cell.trim_matches('`')) {
        Some(said) if said == expected => None,
        Some(said) => problem(format!("{name} has the default {expected}, not `{said}`")),
        None => problem(format!("{name} has no `Default`")),
    }
}

struct Default<'a> {
    value: &'a str,
    source: &'a str,
}

impl<'a> Default<'a> {
    fn of(docs: &'a str) -> Option<Self> {
        let (_, rest) = docs.split_once("Default ")?;
        let end = rest.find(": ").into_iter().chain(rest.find(". "));
        let end = end.min().unwrap_or(rest.trim_end_matches('.').len());
        let (value, source) = rest.split_at(end);
        let source = source.strip_prefix(": ").unwrap_or_default();
        Some(Self { value, source })
    }

    /// On or off: that needs no source.
    fn is_switch(&self) -> bool {
        self.value == "true" || self.value == "false"
    }
}

/// The value in `impl Default for Config`, in the words of documentation; `None` if it is none
/// of the usual ones.
fn value_in_code(source: &str, field: &str) -> Option<String> {
    let prefix = format!("{field}: ");
    let value = block(source, "impl Default for Config {")?
        .find_map(|(_, line)| line.trim().strip_prefix(&prefix))?
        .trim_end_matches(',')
        .replace('_', "");
    let inside = |before: &str, after: &str| {
        let inner = value.strip_prefix(before)?.strip_suffix(after)?;
        inner.parse::<u64>().ok()
    };
    if let Some(n) = inside("Duration::fromsecs(", ")") {
        return Some(format!("{n} s"));
    }
    if let Some(n) = inside("Duration::frommillis(", ")") {
        return Some(format!("{n} ms"));
    }
    if let Some(n) = inside("", " << 20") {
        return Some(format!("{n} MiB"));
    }
    if let Some(n) = inside("", " << 10") {
        return Some(format!("{n} KiB"));
    }
    (value == "true" || value == "false" || value.parse::<u64>().is_ok()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::super::tree::shown;
    use super::*;

    const CONFIG: &str = "\
pub struct Config {
    /// How many. Default 8: DESIGN, section 5; more
    /// is dear.
    pub count: usize,
    /// How long. Default 300 ms: guess.
    pub wait: Duration,
    /// How much. Default 1 MiB: DESIGN, section 4.
    pub bytes: usize,
    /// Whether. Default false.
    pub manual: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            count: 8,
            wait: Duration::from_millis(300),
            bytes: 1 << 20,
            manual: false,
        }
    }
}
";

    const TABLE: &str = "\
| Setting | Default | Meaning | Source |
| --- | --- | --- | --- |
| `count` | 8 | how many | DESIGN |
| `wait` | `300 ms` | how long | guess |
| `bytes` | 1 MiB | how much | DESIGN |
| `manual` | false | whether | |
";

    fn check_texts(config: &str, guide: &str) -> Vec<String> {
        shown(&check(&Tree::from([(SOURCE, config), (GUIDE, guide)])))
    }

    #[test]
    fn a_guide_that_agrees_passes() {
        assert_eq!(check_texts(CONFIG, TABLE), [""; 0]);
    }

    #[test]
    fn a_guide_that_lacks_a_setting_or_disagrees_is_found() {
        let guide = TABLE
            .replace("| 8 |", "| 9 |")
            .replace("| guess |", "| |")
            .replace("`manual`", "manual");
        assert_eq!(
            check_texts(CONFIG, &guide),
            [
                "docs/USER-GUIDE.md:3: `count` has the default 8, not `9`",
                "docs/USER-GUIDE.md:4: `wait` has no `Source`",
                "docs/USER-GUIDE.md: no row of a table has `manual` as a cell",
            ]
        );
        assert_eq!(
            shown(&check(&Tree::from([(SOURCE, CONFIG)]))),
            ["docs/USER-GUIDE.md: is missing; 4 settings belong there"]
        );
    }

    #[test]
    fn a_default_without_source_or_unlike_the_code_is_found() {
        let config = CONFIG
            .replace(
                "Default 8: DESIGN, section 5; more\n    /// is dear.",
                "Many.",
            )
            .replace("300 ms: guess", "300 ms")
            .replace("1 << 20", "4 << 20");
        assert_eq!(
            check_texts(&config, TABLE),
            [
                "crates/core/src/config.rs:3: `count` does not name its default",
                "crates/core/src/config.rs:5: `wait` does not say where its default is from, or \
                 `guess`",
                "crates/core/src/config.rs:7: `bytes` is 4 MiB by default, and its documentation \
                 says 1 MiB",
            ]
        );
    }
}
