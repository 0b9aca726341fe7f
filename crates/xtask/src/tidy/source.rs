//! Reading Rust just well enough, given that rustfmt has laid it out.

/// A field of a struct or a variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its documentation in one line.
    pub docs: String,
    /// Where it stands, counted from 1.
    pub line: usize,
}

/// The members of the struct or enum that `head` opens, such as `pub struct Config {`; `None` if
/// there is none.
pub fn members<'a>(text: &'a str, head: &str) -> Option<Vec<Member<'a>>> {
    let mut members = Vec::new();
    let mut docs: Vec<&str> = Vec::new();
    let mut is_optional = false;
    for (number, line) in block(text, head)? {
        // Members stand four spaces in; what is deeper belongs to one of them.
        let Some(line) = line
            .strip_prefix("    ")
            .filter(|line| !line.starts_with(' '))
        else {
            continue;
        };
        if let Some(doc) = line.strip_prefix("///") {
            docs.push(doc.trim());
            continue;
        }
        // What only a feature brings is no part of what is shipped.
        if line.starts_with("#[cfg(feature") {
            is_optional = true;
            continue;
        }
        let line = line.strip_prefix("pub ").unwrap_or(line);
        let end = line
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(line.len());
        if end > 0 {
            if !is_optional {
                members.push(Member {
                    name: &line[..end],
                    docs: docs.join(" "),
                    line: number,
                });
            }
            is_optional = false;
            docs.clear();
        }
    }
    Some(members)
}

/// The lines between the line `head` and the next that begins with `}`, with their numbers.
pub fn block<'a>(text: &'a str, head: &str) -> Option<impl Iterator<Item = (usize, &'a str)>> {
    let mut lines = text.lines().enumerate();
    lines.find(|(_, line)| *line == head)?;
    Some(
        lines
            .take_while(|(_, line)| !line.starts_with('}'))
            .map(|(index, line)| (index + 1, line)),
    )
}

/// The text up to its unit tests.
pub fn without_tests(text: &str) -> &str {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    &text[..end]
}

/// `EndOfCandidates` as `end-of-candidates`.
pub fn kebab_case(name: &str) -> String {
    let mut out = String::new();
    for (index, c) in name.char_indices() {
        if c.is_uppercase() && index > 0 {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_with_their_documentation() {
        let text = "\
/// Others.
pub enum Other {
    /// Nobody's business.
    Not,
}

pub enum Message {
    /// Carries
    /// something.
    #[serde(rename = \"x\")]
    Login {
        /// A field.
        node: u64,
    },
    Ask,
    Pair(u8, u8),
}
";
        let member = |name, docs: &str, line| Member {
            name,
            docs: docs.to_owned(),
            line,
        };
        assert_eq!(
            members(text, "pub enum Message {"),
            Some(vec![
                member("Login", "Carries something.", 11),
                member("Ask", "", 15),
                member("Pair", "", 16),
            ])
        );
        assert_eq!(members(text, "pub enum Missing {"), None);
        let fields = members(
            "struct S {\n    /// X.\n    pub a_b: u8,\n}\n",
            "struct S {",
        );
        assert_eq!(fields, Some(vec![member("a_b", "X.", 3)]));
    }

    #[test]
    fn names_become_tags() {
        assert_eq!(kebab_case("EndOfCandidates"), "end-of-candidates");
        assert_eq!(kebab_case("Ask"), "ask");
    }
}
