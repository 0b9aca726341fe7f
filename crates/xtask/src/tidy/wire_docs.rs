//! Every wire message stands in PROTOCOL.md: frames by number and name, tracker messages and
//! signals by their type tags.

use super::source::{block, kebab_case, members};
use super::tree::{Problem, Tree};

const DOC: &str = "docs/PROTOCOL.md";

const WIRE: &str = "crates/core/src/wire/";

/// The enums whose variants travel as `type` tags in kebab case.
const TAGGED: [&str; 2] = ["pub enum TrackerMessage {", "pub enum Signal {"];

/// The macro call that lists the kinds of frames.
const KINDS: &str = "heads! {";

pub fn check(tree: &Tree) -> Vec<Problem> {
    let (messages, mut problems) = messages(tree);
    let Some(doc) = tree.text(DOC) else {
        let text = format!("is missing; {} messages belong there", messages.len());
        problems.push(Problem::in_file(DOC, text));
        return problems;
    };
    problems.extend(
        messages
            .iter()
            .filter(|message| !message.is_in(doc))
            .map(|message| Problem::in_file(DOC, message.missing())),
    );
    problems
}

enum Message {
    Frame { kind: String, name: String },
    Tagged { tag: String, of: &'static str },
}

impl Message {
    fn is_in(&self, doc: &str) -> bool {
        match self {
            Self::Frame { kind, name } => doc
                .lines()
                .map(words)
                .any(|words| words.contains(&kind.as_str()) && words.contains(&name.as_str())),
            Self::Tagged { tag, .. } => {
                doc.contains(&format!("`{tag}`")) || doc.contains(&format!("\"{tag}\""))
            }
        }
    }

    fn missing(&self) -> String {
        match self {
            Self::Frame { kind, name } => format!("no line has both `{kind}` and `{name}`"),
            Self::Tagged { tag, of } => format!("there is no `{tag}` of `{of}`"),
        }
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split(|c: char| !c.is_alphanumeric()).collect()
}

/// All messages in the source, and what of it could not be found.
fn messages(tree: &Tree) -> (Vec<Message>, Vec<Problem>) {
    let mut messages = Vec::new();
    let mut problems = Vec::new();
    let missing = |head| Problem::in_file(WIRE, format!("no file has the line `{head}`"));

    match tree.below(WIRE).find_map(|(_, text)| block(text, KINDS)) {
        Some(kinds) => messages.extend(kinds.filter_map(|(_, line)| {
            let (kind, name) = line.trim().trim_end_matches(',').split_once(' ')?;
            kind.starts_with("0x").then(|| Message::Frame {
                kind: kind.to_owned(),
                name: name.to_owned(),
            })
        })),
        None => problems.push(missing(KINDS)),
    }
    for head in TAGGED {
        let of = head.trim_start_matches("pub enum ").trim_end_matches(" {");
        match tree.below(WIRE).find_map(|(_, text)| members(text, head)) {
            Some(variants) => messages.extend(variants.iter().map(|variant| Message::Tagged {
                tag: kebab_case(variant.name),
                of,
            })),
            None => problems.push(missing(head)),
        }
    }
    (messages, problems)
}

#[cfg(test)]
mod tests {
    use super::super::tree::shown;
    use super::*;

    const FRAMES: (&str, &str) = (
        "crates/core/src/wire/kinds.rs",
        "heads! {\n    0x01 Ping,\n    0x10 Join,\n}\n",
    );
    const ENUMS: (&str, &str) = (
        "crates/core/src/wire/signal.rs",
        "pub enum TrackerMessage {\n    Ask,\n}\n\npub enum Signal {\n    EndOfCandidates,\n}\n",
    );

    #[test]
    fn documented_messages_pass() {
        let doc = "| 0x01 | `Ping` |\n### Join (0x10)\n`ask`, {\"type\":\"end-of-candidates\"}\n";
        assert_eq!(check(&Tree::from([FRAMES, ENUMS, (DOC, doc)])), []);
    }

    #[test]
    fn undocumented_messages_are_found() {
        let doc = "| 0x01 | `Pinging` |\n`Join`\n`0x10`\nask\n`end-of-candidates`\n";
        assert_eq!(
            shown(&check(&Tree::from([FRAMES, ENUMS, (DOC, doc)]))),
            [
                "docs/PROTOCOL.md: no line has both `0x01` and `Ping`",
                "docs/PROTOCOL.md: no line has both `0x10` and `Join`",
                "docs/PROTOCOL.md: there is no `ask` of `TrackerMessage`",
            ]
        );
        assert_eq!(
            shown(&check(&Tree::from([FRAMES, ENUMS]))),
            ["docs/PROTOCOL.md: is missing; 4 messages belong there"]
        );
    }

    #[test]
    fn messages_that_moved_away_are_missed() {
        let doc = (DOC, "`0x01 Ping`, `0x10 Join`");
        assert_eq!(
            shown(&check(&Tree::from([FRAMES, doc]))),
            [
                "crates/core/src/wire/: no file has the line `pub enum TrackerMessage {`",
                "crates/core/src/wire/: no file has the line `pub enum Signal {`",
            ]
        );
    }
}
