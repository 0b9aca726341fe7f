//! Every scenario has a seed, says what it shows, and is listed in SIMULATION.md.

use toml::{Table, Value};

use super::tree::{Problem, Tree};

const DOC: &str = "docs/SIMULATION.md";

pub fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.below("simulations/") {
        let name = &path["simulations/".len()..];
        if !name.ends_with(".toml") || name.contains('/') {
            continue;
        }
        match text.parse::<Table>() {
            Ok(table) => problems.extend(missing(&table).map(|why| Problem::in_file(path, why))),
            Err(error) => problems.push(Problem::in_file(path, format!("is no TOML: {error}"))),
        }
        if !tree.text(DOC).unwrap_or_default().contains(name) {
            problems.push(Problem::in_file(DOC, format!("does not list {name}")));
        }
    }
    problems
}

/// What a scenario lacks.
fn missing(table: &Table) -> impl Iterator<Item = String> {
    let seed = match table.get("seed") {
        Some(Value::Integer(_)) => None,
        _ => Some("there is no `seed = ` number".to_owned()),
    };
    let texts = ["title", "description"].into_iter().filter_map(|key| {
        let text = table.get(key).and_then(Value::as_str).unwrap_or_default();
        text.trim()
            .is_empty()
            .then(|| format!("there is no `{key}`"))
    });
    seed.into_iter().chain(texts)
}

#[cfg(test)]
mod tests {
    use super::super::tree::shown;
    use super::*;

    #[test]
    fn a_scenario_without_seed_or_not_listed_is_found() {
        let text = |rest: &str| format!("title = \"a\"\ndescription = \"b\"\n{rest}");
        let tree = Tree::from([
            (DOC, "- `good.toml`\n- `seedless.toml`\n- `silent.toml`\n"),
            ("simulations/baselines/x.toml", "other = 1\n"),
            ("simulations/good.toml", &text("seed = 7\n")),
            ("simulations/seedless.toml", &text("[net]\nseed = 7\n")),
            ("simulations/silent.toml", "seed = 7\ntitle = \" \"\n"),
            ("simulations/unlisted.toml", &text("seed = 7\n")),
        ]);
        assert_eq!(
            shown(&check(&tree)),
            [
                "simulations/seedless.toml: there is no `seed = ` number",
                "simulations/silent.toml: there is no `title`",
                "simulations/silent.toml: there is no `description`",
                "docs/SIMULATION.md: does not list unlisted.toml",
            ]
        );
    }
}
