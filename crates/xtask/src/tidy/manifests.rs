//! What the crates may depend on, and that they take the workspace's lints.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::tree::{Problem, Tree};

const CORE: &str = "crates/core/Cargo.toml";

/// All that the core may depend on: none of it does I/O or reads a clock.
const CORE_MAY: [&str; 11] = [
    "blake3",
    "bytes",
    "data-encoding",
    "ed25519-dalek",
    "libm",
    "postcard",
    "rand",
    "serde",
    "serde_json",
    "smallvec",
    "thin-vec",
];

/// Which of the workspace's crates may depend on which; those with `?` only if a feature says so.
const ARROWS: [(&str, &[&str]); 8] = [
    ("circlet-core", &[]),
    ("circlet-fuzz", &[]),
    ("circlet-browser", &["circlet-core"]),
    ("circlet-node", &["circlet-core", "circlet-tracker?"]),
    ("circlet-simulator", &["circlet-core"]),
    ("circlet-tracker", &["circlet-core"]),
    (
        "circlet",
        &[
            "circlet-core",
            "circlet-node",
            "circlet-simulator",
            "circlet-tracker",
        ],
    ),
    ("xtask", &[]),
];

/// The core depends on exactly what is allowed.
pub fn core_dependencies(tree: &Tree) -> Vec<Problem> {
    let manifest = match Manifest::read(CORE, tree.text(CORE).unwrap_or_default()) {
        Ok(manifest) => manifest,
        Err(problem) => return vec![problem],
    };
    let extra = manifest
        .dependencies
        .keys()
        .filter(|name| !CORE_MAY.contains(&name.as_str()))
        .map(|name| format!("the core may not depend on {name}"));
    let unused = CORE_MAY
        .iter()
        .filter(|name| !manifest.dependencies.contains_key(**name))
        .map(|name| format!("{name} is no dependency any more: take it off xtask's list"));
    extra
        .chain(unused)
        .map(|text| Problem::in_file(CORE, text))
        .collect()
}

/// The workspace's crates depend on each other in one direction; tests may look back.
pub fn arrows(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for manifest in manifests(tree) {
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == manifest.name) else {
            let text = "what this crate may depend on is not on xtask's list";
            problems.push(Problem::in_file(manifest.path, text));
            continue;
        };
        let ours = |name: &&String| ARROWS.iter().any(|(ours, _)| ours == name);
        for name in manifest.dependencies.keys().filter(ours) {
            let allowed = allowed.contains(&name.as_str())
                || manifest.is_optional(name) && allowed.contains(&format!("{name}?").as_str());
            if !allowed {
                let text = format!("{} may not depend on {name}", manifest.name);
                problems.push(Problem::in_file(manifest.path, text));
            }
        }
    }
    problems
}

/// Every crate says `[lints] workspace = true`.
pub fn lints(tree: &Tree) -> Vec<Problem> {
    manifests(tree)
        .filter_map(|manifest| match manifest {
            Ok(manifest) if manifest.takes_lints => None,
            Ok(manifest) => Some(Problem::in_file(
                manifest.path,
                "there is no `[lints]` with `workspace = true`",
            )),
            Err(problem) => Some(problem),
        })
        .collect()
}

struct Manifest<'a> {
    path: &'a str,
    name: String,
    /// Those of the crate itself, on whatever target; not those of its tests.
    dependencies: BTreeMap<String, Value>,
    takes_lints: bool,
}

fn manifests(tree: &Tree) -> impl Iterator<Item = Result<Manifest<'_>, Problem>> {
    tree.below("crates/")
        .filter(|(path, _)| path.ends_with("/Cargo.toml"))
        .map(|(path, text)| Manifest::read(path, text))
}

impl<'a> Manifest<'a> {
    fn read(path: &'a str, text: &str) -> Result<Self, Problem> {
        let table: Table = text
            .parse()
            .map_err(|error| Problem::in_file(path, format!("is no TOML: {error}")))?;
        let name = get(&table, &["package", "name"])
            .and_then(Value::as_str)
            .ok_or_else(|| Problem::in_file(path, "is no manifest of a package"))?
            .to_owned();
        let mut dependencies = BTreeMap::new();
        let targets = table.get("target").and_then(Value::as_table);
        let tables = [&table].into_iter().chain(
            targets
                .into_iter()
                .flatten()
                .filter_map(|(_, t)| t.as_table()),
        );
        for table in tables {
            for section in ["dependencies", "build-dependencies"] {
                if let Some(section) = table.get(section).and_then(Value::as_table) {
                    dependencies.extend(section.clone());
                }
            }
        }
        Ok(Self {
            path,
            name,
            dependencies,
            takes_lints: get(&table, &["lints", "workspace"]) == Some(&Value::Boolean(true)),
        })
    }

    fn is_optional(&self, name: &str) -> bool {
        self.dependencies
            .get(name)
            .and_then(|dependency| dependency.get("optional"))
            == Some(&Value::Boolean(true))
    }
}

fn get<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(table.get(*first)?, |value, key| value.get(key))
}

#[cfg(test)]
mod tests {
    use super::super::tree::shown;
    use super::*;

    fn package(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{rest}")
    }

    fn core(extra: &str) -> String {
        let lines = CORE_MAY.map(|name| format!("{name}.workspace = true\n"));
        package(
            "circlet-core",
            &format!("[dependencies]\n{}{extra}", lines.concat()),
        )
    }

    #[test]
    fn the_core_may_depend_on_what_is_listed_only() {
        let check = |manifest: &str| shown(&core_dependencies(&Tree::from([(CORE, manifest)])));
        assert_eq!(check(&core("")), [""; 0]);
        assert_eq!(
            check(&core("[dev-dependencies]\nproptest = \"1\"\n")),
            [""; 0]
        );
        assert_eq!(
            check(&core("tokio = \"1\"\n")),
            ["crates/core/Cargo.toml: the core may not depend on tokio"]
        );
        assert_eq!(
            check(&core(
                "[target.'cfg(unix)'.dependencies.libc]\nversion = \"0\"\n"
            )),
            ["crates/core/Cargo.toml: the core may not depend on libc"]
        );
        assert_eq!(
            check(&core("").replace("libm.workspace = true\n", "")),
            ["crates/core/Cargo.toml: libm is no dependency any more: take it off xtask's list"]
        );
        assert_eq!(
            check(""),
            ["crates/core/Cargo.toml: is no manifest of a package"]
        );
    }

    #[test]
    fn arrows_point_one_way() {
        let check = |name: &str, rest: &str| {
            let manifest = package(name, rest);
            shown(&arrows(&Tree::from([("crates/x/Cargo.toml", &*manifest)])))
        };
        let tracker = "[dependencies]\ncirclet-tracker = { workspace = true, optional = true }\n";
        assert_eq!(check("circlet-node", tracker), [""; 0]);
        assert_eq!(
            check("circlet-node", &tracker.replace("true }", "false }")),
            ["crates/x/Cargo.toml: circlet-node may not depend on circlet-tracker"]
        );
        assert_eq!(
            check("circlet-simulator", tracker),
            ["crates/x/Cargo.toml: circlet-simulator may not depend on circlet-tracker"]
        );
        assert_eq!(
            check(
                "circlet-tracker",
                "[dev-dependencies]\ncirclet-node = \"0\""
            ),
            [""; 0]
        );
        assert_eq!(
            check("circlet-new", ""),
            ["crates/x/Cargo.toml: what this crate may depend on is not on xtask's list"]
        );
    }

    #[test]
    fn a_crate_without_the_lints_is_found() {
        let check = |text: &str| shown(&lints(&Tree::from([("crates/x/Cargo.toml", text)])));
        assert_eq!(check(&package("x", "")), [""; 0]);
        assert_eq!(
            check("[package]\nname = \"x\"\n"),
            ["crates/x/Cargo.toml: there is no `[lints]` with `workspace = true`"]
        );
    }
}
