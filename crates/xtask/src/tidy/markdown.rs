//! Reading Markdown just well enough: links, anchors, tables.

/// A link to somewhere in the repository, and the line it stands in, counted from 1.
pub fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        // A reference's definition: `[name]: target`.
        let definition = line.trim_start().strip_prefix('[');
        if let Some((_, target)) = definition.and_then(|line| line.split_once("]: ")) {
            links.push((number, target));
        }
        let mut rest = line;
        while let Some((_, after)) = split_outside_code(rest, "](") {
            let end = after.find(')').unwrap_or(after.len());
            links.push((number, &after[..end]));
            rest = &after[end..];
        }
    }
    for (_, target) in &mut links {
        // `<target>`, `target "title"`.
        *target = target.split_whitespace().next().unwrap_or_default();
        *target = target.trim_start_matches('<').trim_end_matches('>');
    }
    links
}

/// The anchors of a page: its headings as GitHub and others name them, and ids given in HTML.
pub fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if (1..=6).contains(&(line.len() - title.len())) && title.starts_with(' ') {
            let slug = slug(title.trim());
            let numbered = (1..).map(|n| format!("{slug}-{n}"));
            let free = std::iter::once(slug.clone())
                .chain(numbered)
                .find(|slug| !anchors.contains(slug));
            anchors.extend(free);
        }
        for attribute in ["id=\"", "name=\""] {
            let ids = line.split(attribute).skip(1);
            anchors.extend(ids.filter_map(|id| id.split('"').next().map(str::to_owned)));
        }
    }
    anchors
}

/// A row of a table below its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Where it stands, counted from 1.
    pub line: usize,
    /// Its cells, trimmed.
    pub cells: Vec<&'a str>,
    header: Vec<&'a str>,
}

impl<'a> Row<'a> {
    /// The cell below the header `name`, whatever its case.
    pub fn cell(&self, name: &str) -> Option<&'a str> {
        let column = self
            .header
            .iter()
            .position(|header| header.eq_ignore_ascii_case(name))?;
        self.cells.get(column).copied()
    }
}

/// The rows of all tables.
pub fn table_rows(text: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut header: Option<Vec<&str>> = None;
    for (number, line) in prose(text) {
        let line = line.trim();
        let Some(inner) = line.strip_prefix('|') else {
            header = None;
            continue;
        };
        let cells = cells(inner.strip_suffix('|').unwrap_or(inner));
        match &header {
            None => header = Some(cells),
            Some(_)
                if cells
                    .iter()
                    .all(|cell| cell.trim_matches([':', '-']).is_empty()) => {}
            Some(header) => rows.push(Row {
                line: number,
                cells,
                header: header.clone(),
            }),
        }
    }
    rows
}

fn cells(mut line: &str) -> Vec<&str> {
    let mut cells = Vec::new();
    while let Some((cell, rest)) = split_outside_code(line, "|") {
        cells.push(cell.trim());
        line = rest;
    }
    cells.push(line.trim());
    cells
}

/// The lines outside fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| line.trim_start().starts_with(mark));
        match (fence, mark) {
            (None, None) => return Some((index + 1, line)),
            (None, Some(_)) => fence = mark,
            (Some(open), Some(mark)) if open == mark => fence = None,
            (Some(_), _) => {}
        }
        None
    })
}

/// Splits at the first `separator` that is not within `code`.
fn split_outside_code<'a>(line: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let mut code = false;
    for (index, c) in line.char_indices() {
        if c == '`' {
            code = !code;
        } else if !code && line[index..].starts_with(separator) {
            return Some((&line[..index], &line[index + separator.len()..]));
        }
    }
    None
}

fn slug(title: &str) -> String {
    title
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c),
            _ => None,
        })
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_and_code_is_not() {
        let text = "See [a](a.md) and [`b`](<b.md#x> \"B\").\n`[c](c.md)`\n\
                    ```\n[d](d.md)\n```\n[e]: e.md\n![f](f.png)\n";
        let found = [(1, "a.md"), (1, "b.md#x"), (6, "e.md"), (7, "f.png")];
        assert_eq!(links(text), found);
    }

    #[test]
    fn anchors_are_those_of_the_usual_renderers() {
        let text = "# The `Node`, and I/O\n## Ring\n## Ring\n#no\n<a id=\"own\"></a>\n\
                    ```sh\n# not this\n```\n";
        let found = ["the-node-and-io", "ring", "ring-1", "own"];
        assert_eq!(anchors(text), found);
    }

    #[test]
    fn rows_know_their_columns() {
        let text = "| Name | Default |\n|:---|---|\n| `a|b` | 1 |\n\n| Other |\n|---|\n| x |\n";
        let rows = table_rows(text);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].cells, ["`a|b`", "1"]);
        assert_eq!((rows[0].line, rows[0].cell("default")), (3, Some("1")));
        assert_eq!(rows[1].cell("default"), None);
    }
}
