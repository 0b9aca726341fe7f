//! Drawings of a room.

use std::fmt::Write;

use circlet_core::identity::NodeId;
use circlet_core::wire::LinkState;
use petgraph::dot::{Config, Dot};

use super::table::{Link, Member, Overlay};

/// The ring in order, for people.
pub fn text(overlay: &Overlay) -> String {
    let mut lines = vec![summary(overlay), String::new()];
    lines.push(row(
        "POSITION",
        "ID",
        "NAME",
        "SUCCESSOR",
        "LINKS (* on the ring)",
    ));
    for (index, member) in overlay.members() {
        let name_of = |id: NodeId| {
            let found = overlay.members().find(|(_, member)| member.node == id);
            found.map_or_else(|| id.short(), |(_, member)| printable(&member.name))
        };
        let successor = match member.successor {
            _ if !member.member => "joining".to_owned(),
            Some(id) if member.successor == overlay.next(index) => name_of(id),
            Some(id) => format!("{} !", name_of(id)),
            None => "-".to_owned(),
        };
        let links: Vec<String> = overlay
            .links(index)
            .into_iter()
            .map(|(peer, link)| link_text(peer, link))
            .collect();
        lines.push(row(
            &member.position,
            &member.node.short(),
            &printable(&member.name),
            &successor,
            &links.join(" "),
        ));
    }
    lines.join("\n")
}

/// For Graphviz, in the DOT language.
pub fn dot(overlay: &Overlay) -> String {
    let edge = |_, edge: petgraph::graph::EdgeReference<'_, Link>| {
        let link = edge.weight();
        let style = match (link.state, link.ring) {
            (LinkState::Open, true) => "solid, penwidth = 2",
            (LinkState::Open, false) => "solid",
            (LinkState::Connecting | LinkState::Suspect, _) => "dashed",
        };
        match link.rtt_us {
            Some(rtt_us) => format!("style = {style} tooltip = \"{rtt_us} us\""),
            None => format!("style = {style}"),
        }
    };
    let node = |_, (_, member): (_, &Member)| {
        let name = quoted(&member.name);
        format!(
            "label = \"{name}\" tooltip = \"{} at {}\"",
            member.node, member.position
        )
    };
    let content = [
        Config::NodeNoLabel,
        Config::EdgeNoLabel,
        Config::GraphContentOnly,
    ];
    let graph = Dot::with_attr_getters(&overlay.graph, &content, &edge, &node);
    // A star around its hub, everything else as a circle.
    let layout = overlay.hub().map_or_else(
        || "layout = circo".to_owned(),
        |hub| format!("layout = twopi root = {}", hub.index()),
    );
    format!(
        "graph \"{}\" {{\n    {layout}\n    node [shape = box, style = rounded]\n{graph:?}}}",
        quoted(&overlay.name)
    )
}

/// GraphML (graphml.graphdrawing.org), for yEd, Gephi, networkx.
pub fn graphml(overlay: &Overlay) -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <graphml xmlns=\"http://graphml.graphdrawing.org/xmlns\">\n",
    );
    for (of, name, kind) in [
        ("node", "name", "string"),
        ("node", "position", "string"),
        ("edge", "ring", "boolean"),
        ("edge", "state", "string"),
        ("edge", "rtt_us", "long"),
    ] {
        line(
            &mut xml,
            &format!(
                "  <key id=\"{name}\" for=\"{of}\" attr.name=\"{name}\" attr.type=\"{kind}\"/>"
            ),
        );
    }
    let name = escaped(&overlay.name);
    line(
        &mut xml,
        &format!("  <graph id=\"{name}\" edgedefault=\"undirected\">"),
    );
    for (_, member) in overlay.members() {
        line(&mut xml, &format!("    <node id=\"{}\">", member.node));
        data(&mut xml, "name", &member.name);
        data(&mut xml, "position", &member.position);
        line(&mut xml, "    </node>");
    }
    for edge in overlay.graph.edge_references() {
        use petgraph::visit::EdgeRef;
        let (a, b) = (&overlay.graph[edge.source()], &overlay.graph[edge.target()]);
        line(
            &mut xml,
            &format!("    <edge source=\"{}\" target=\"{}\">", a.node, b.node),
        );
        let link = edge.weight();
        data(&mut xml, "ring", &link.ring.to_string());
        data(&mut xml, "state", state(link.state));
        if let Some(rtt_us) = link.rtt_us {
            data(&mut xml, "rtt_us", &rtt_us.to_string());
        }
        line(&mut xml, "    </edge>");
    }
    xml.push_str("  </graph>\n</graphml>");
    xml
}

fn summary(overlay: &Overlay) -> String {
    let (members, links) = (overlay.graph.node_count(), overlay.graph.edge_count());
    let ring = match (overlay.parts(), overlay.misplaced()) {
        (_, 0) => "the ring is closed".to_owned(),
        (1, wrong) => format!("{wrong} members have other neighbours than those next to them"),
        (parts, _) => format!("it is in {parts} parts"),
    };
    let hub = overlay.hub().map_or_else(String::new, |hub| {
        format!(" round {}", printable(&overlay.graph[hub].name))
    });
    let mut text = format!(
        "Room {}: {members} members, {}{hub}, {links} links; {ring}",
        printable(&overlay.name),
        overlay.topology
    );
    if let Some(distances) = overlay.distances() {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "; {} links from end to end at most, {:.1} on average",
            distances.greatest, distances.mean
        );
    }
    text
}

fn row(position: &str, id: &str, name: &str, successor: &str, links: &str) -> String {
    let row = format!("{position:<16}  {id:<8}  {name:<16}  {successor:<16}  {links}");
    row.trim_end().to_owned()
}

fn link_text(peer: &Member, link: Link) -> String {
    let name = printable(&peer.name);
    let mark = if link.ring { "*" } else { "" };
    match link.state {
        LinkState::Open => format!("{name}{mark}"),
        other => format!("{name}{mark}({})", state(other)),
    }
}

const fn state(state: LinkState) -> &'static str {
    match state {
        LinkState::Connecting => "connecting",
        LinkState::Open => "open",
        LinkState::Suspect => "suspect",
    }
}

fn line(xml: &mut String, line: &str) {
    xml.push_str(line);
    xml.push('\n');
}

fn data(xml: &mut String, key: &str, value: &str) {
    let value = escaped(value);
    line(xml, &format!("      <data key=\"{key}\">{value}</data>"));
}

/// Without what could do something to a terminal.
fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control(), "\u{fffd}")
}

/// For a double-quoted string of DOT.
fn quoted(text: &str) -> String {
    printable(text).replace('\\', "\\\\").replace('"', "\\\"")
}

/// For XML text and attribute values.
fn escaped(text: &str) -> String {
    printable(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::table::Table;

    /// Three members, of whom the third has another successor than it ought to.
    fn overlay() -> Overlay {
        overlay_of("small-world")
    }

    fn overlay_of(topology: &str) -> Overlay {
        let ids = [1, 2, 3].map(|byte| NodeId::from_bytes([byte; 32]));
        let [a, b, c] = ids;
        let table = serde_json::json!({
            "name": "a \"room\"",
            "topology": topology,
            "members": [
                {"node": a, "position": "0000000000000001", "name": "ada", "kind": "native",
                 "member": true, "successor": b, "predecessor": c, "since_s": 1.5,
                 "links": [{"peer": b, "state": "open", "rtt_us": 7},
                           {"peer": c, "state": "connecting", "rtt_us": null}]},
                {"node": b, "position": "0000000000000002", "name": "<b>", "kind": "native",
                 "member": true, "successor": c, "predecessor": a,
                 "links": [{"peer": a, "state": "open", "rtt_us": null}]},
                {"node": c, "position": "0000000000000003", "name": "cy", "kind": "browser",
                 "member": true, "successor": b, "predecessor": b,
                 "links": [{"peer": NodeId::from_bytes([9; 32]), "state": "open"}]},
            ],
        });
        let table: Table = serde_json::from_value(table).unwrap();
        Overlay::new(table)
    }

    #[test]
    fn text_shows_the_ring_and_what_is_wrong_with_it() {
        let text = text(&overlay());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "Room a \"room\": 3 members, small-world, 2 links; 1 members have other neighbours \
             than those next to them; 2 links from end to end at most, 1.3 on average"
        );
        assert!(
            lines[3].ends_with("<b>               <b>* cy*(connecting)"),
            "{text}"
        );
        assert!(lines[5].contains("<b> !"), "{text}");
    }

    #[test]
    fn a_star_is_drawn_around_its_hub() {
        let star = overlay_of("star");
        assert!(text(&star).contains("3 members, star round ada, 2 links"));
        assert!(dot(&star).contains("layout = twopi root = 0\n"));
        assert!(dot(&overlay()).contains("layout = circo\n"));
    }

    #[test]
    fn dot_and_graphml_name_members_and_links_and_quote() {
        let overlay = overlay();
        let dot = dot(&overlay);
        assert!(dot.starts_with("graph \"a \\\"room\\\"\" {\n"), "{dot}");
        assert!(dot.contains("label = \"<b>\""), "{dot}");
        assert_eq!(dot.matches(" -- ").count(), 2, "{dot}");
        let xml = graphml(&overlay);
        assert!(xml.contains("<graph id=\"a &quot;room&quot;\""), "{xml}");
        assert!(xml.contains("<data key=\"name\">&lt;b&gt;</data>"), "{xml}");
        assert_eq!(xml.matches("<edge ").count(), 2, "{xml}");
        assert!(xml.contains("<data key=\"rtt_us\">7</data>"), "{xml}");
    }
}
