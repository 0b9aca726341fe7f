//! Reports say what the results say, and nothing in the results can break them.

mod example;

use std::path::PathBuf;

use roxmltree::{Document, Node};

use crate::results::{
    Bound, Distribution, Drawing, DrawnLink, DrawnMember, Expectation, LinkKind, Mark, MemberLoad,
    MemberRow, Reference, Results, Sample, Traffic, ViolationRow,
};

/// What somebody might put into a scenario file.
const HOSTILE: &str =
    "</title></style></svg><script>alert(1)</script><img src=x onerror='x'>\" '&amp;,\n=1";

/// The body of a page, which is well-formed XML.
fn body(page: &str) -> Document<'_> {
    let (start, end) = (page.find("<body>").unwrap(), page.find("</body>").unwrap());
    Document::parse(&page[start..end + "</body>".len()]).unwrap()
}

fn figure<'a>(body: &'a Document, title: &str) -> Node<'a, 'a> {
    let titled = |node: &Node| node.children().any(|child| child.text() == Some(title));
    body.descendants()
        .find(|node| node.has_tag_name("figure") && titled(node))
        .unwrap()
}

fn text_of(node: Node) -> String {
    node.descendants()
        .filter(Node::is_text)
        .filter_map(|text| text.text())
        .collect()
}

fn number(node: Node, attribute: &str) -> f64 {
    node.attribute(attribute).unwrap().parse().unwrap()
}

/// A star of many: extremes on every axis, stopped early.
fn star() -> Results {
    let mut results = example::results("star-4096", 5);
    results.topology = "star".to_owned();
    results.complete = false;
    let load = &mut results.load;
    load.uplink_limit_bits_per_s = Some(5_000_000);
    [
        &mut load.links,
        &mut load.uplink_bits_per_s,
        &mut load.downlink_bits_per_s,
    ]
    .into_iter()
    .for_each(|distribution| *distribution = Distribution::default());
    load.links.record_many(1, 4_095);
    load.links.record(4_095);
    load.uplink_bits_per_s.record_many(3_000, 4_095);
    load.uplink_bits_per_s.record(4_900_000);
    load.downlink_bits_per_s.record_many(1_020_000, 4_095);
    load.downlink_bits_per_s.record(12_285_000);
    load.centre = Some(MemberLoad {
        member: "hub".to_owned(),
        uplink_bits_per_s: 4_900_000,
        downlink_bits_per_s: 12_285_000,
        links: 4_095,
    });
    for traffic in &mut results.traffic {
        traffic.latency_us = Distribution::default();
        for delay in 1..4_000 {
            traffic.latency_us.record(20_000 + delay * delay);
        }
    }
    results.series = (1..=5_000u32)
        .map(|minute| Sample {
            time_s: f64::from(minute) * 60.0,
            living: 4_096 * 30,
            ring_correct_share: if minute == 2_500 { 0.993 } else { 1.0 },
            ring_is_right: minute != 2_500,
            expected: 1_000,
            delivered: 1_000,
            ..Sample::default()
        })
        .collect();
    results.duration_s = 300_000.0;
    results.marks = (0..100)
        .map(|hour| Mark {
            time_s: f64::from(hour) * 3_600.0,
            label: format!("hour {hour}"),
        })
        .collect();
    let members = (0..4_096)
        .map(|index| DrawnMember {
            member: index.to_string(),
            turn: f64::from(index) / 4_096.0,
            alive: true,
            whole: false,
        })
        .collect();
    let spokes: Vec<DrawnLink> = (1..4_096)
        .map(|to| DrawnLink {
            from: 0,
            to,
            kind: LinkKind::Long,
        })
        .collect();
    results.drawing = Some(Drawing::of(300_000.0, members, &spokes));
    results
}

/// Results in which every text is hostile and every number as bad as its type allows.
fn hostile() -> Results {
    let mut results = example::results(HOSTILE, u64::MAX);
    let evil = || HOSTILE.to_owned();
    results.scenario.title = evil();
    results.scenario.description = evil();
    results.version = evil();
    results.topology = evil();
    results.duration_s = f64::NAN;
    let mut traffic = Traffic {
        class: evil(),
        delivered: u64::MAX,
        ..Traffic::default()
    };
    traffic.latency_us.record(0);
    traffic.latency_us.record(u64::MAX);
    traffic.hops.record_many(u64::MAX, u64::MAX / 2);
    results.traffic.push(traffic);
    results.marks.push(Mark {
        time_s: f64::INFINITY,
        label: evil(),
    });
    results.series.push(Sample {
        time_s: -1.0,
        ring_correct_share: f64::NAN,
        links_mean: f64::INFINITY,
        living: u64::MAX,
        ..Sample::default()
    });
    results.load.busiest = Some(MemberLoad {
        member: evil(),
        ..MemberLoad::default()
    });
    results.members.rows.push(MemberRow {
        member: evil(),
        ..MemberRow::default()
    });
    let drawing = results.drawing.as_mut().unwrap();
    drawing.members.push(DrawnMember {
        member: evil(),
        turn: f64::NAN,
        ..DrawnMember::default()
    });
    drawing.links.push(DrawnLink {
        from: 9_999,
        to: 0,
        kind: LinkKind::Long,
    });
    results.violations.push(ViolationRow {
        invariant: evil(),
        what: evil(),
        time_s: f64::NAN,
    });
    let bound = Bound::AtLeast(f64::NEG_INFINITY);
    results
        .expectations
        .push(Expectation::new(HOSTILE, bound, Some(f64::NAN), HOSTILE));
    results.references.push(Reference {
        source: evil(),
        name: evil(),
        note: evil(),
        ..Reference::default()
    });
    results
}

/// With `CIRCLET_REPORTS` set to a directory, leaves reports there to look at.
#[test]
fn pages_are_well_formed_and_ask_for_nothing() {
    let first = example::results("mass-failure", 17);
    let other = example::results("mass-failure", 18);
    let pages = [
        ("report", super::html(&first)),
        ("star", super::html(&star())),
        ("hostile", super::html(&hostile())),
        ("empty", super::html(&Results::default())),
        (
            "compare",
            super::compare(&[first.clone(), other.clone()]).html,
        ),
        (
            "compare-three",
            super::compare(&[first, star(), hostile()]).html,
        ),
        ("compare-none", super::compare(&[]).html),
    ];
    for (name, page) in pages {
        if let Some(directory) = std::env::var_os("CIRCLET_REPORTS").map(PathBuf::from) {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(format!("{name}.html")), &page).unwrap();
        }
        let body = body(&page);
        let known = [
            "body",
            "h1",
            "h2",
            "h3",
            "p",
            "div",
            "span",
            "strong",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "figure",
            "figcaption",
            "svg",
            "title",
            "g",
            "path",
            "line",
            "rect",
            "circle",
            "text",
        ];
        for node in body.descendants().filter(Node::is_element) {
            assert!(
                known.contains(&node.tag_name().name()),
                "{name}: {:?}",
                node.tag_name()
            );
            for attribute in node.attributes() {
                assert!(
                    !["href", "src", "style"].contains(&attribute.name()),
                    "{name}"
                );
                assert!(!attribute.name().starts_with("on"), "{name}");
                let bad = ["NaN", "inf"]
                    .iter()
                    .any(|bad| attribute.value().contains(bad));
                assert!(!bad, "{name}: {attribute:?}");
            }
        }
        // Two titles and one style sheet, whatever the scenario's title says.
        let head = &page[..page.find("<body>").unwrap()];
        assert_eq!(head.matches('<').count(), 11, "{name}: {head}");
        assert!(!head.contains("url(") && !head.contains("@import"));
    }
}

#[test]
fn a_page_shows_the_figures_and_what_was_not_met() {
    let page = super::html(&example::results("mass-failure", 17));
    let body = body(&page);
    let rows: Vec<String> = body
        .descendants()
        .filter(|node| node.has_tag_name("tr"))
        .map(|row| row.children().map(text_of).collect::<Vec<_>>().join("|"))
        .collect();
    for wanted in [
        "crashed|9",
        "delivered|99.98 %",
        "longest repair|9 s",
        "busiest member's uplink|320 kbit/s",
        "✓ met|mean hops|2.7|at most 3|prototype, k = 8",
        "✗ not met|repair, s|-|4 within 5 %|DESIGN 5",
        "mean path, 30 % failed|4.44|4.3|-3.15 %|clockwise only",
        "61.5 s|order|member 3 got 17 before 16",
        "1|60 s|30 % crash|right for good after 9 s",
        "2|90 s|the tracker is back|stayed right",
    ] {
        assert!(
            rows.iter().any(|row| row == wanted),
            "{wanted} is not in {rows:#?}"
        );
    }
    let text = text_of(body.root());
    assert!(
        text.contains("2 of 3 expectations not met") && text.contains("1 violation of invariants")
    );
}

#[test]
fn a_stopped_run_says_so() {
    let stopped = "Stopped before the scenario's end";
    assert!(super::html(&star()).contains(stopped));
    assert!(!super::html(&example::results("whole", 1)).contains("Stopped"));
    assert!(super::text(&star()).contains("stopped before its end"));
    assert!(super::compare(&[star(), star()]).html.contains("Stopped"));
}

#[test]
fn bars_are_as_high_as_their_share() {
    let results = example::results("mass-failure", 17);
    let page = super::html(&results);
    let body = body(&page);
    let hops = &results.traffic[0].hops;
    let bars: Vec<f64> = figure(&body, "Hops")
        .descendants()
        .filter(|node| node.has_tag_name("rect"))
        .map(|bar| number(bar, "height"))
        .collect();
    let buckets: Vec<_> = hops.buckets().collect();
    assert_eq!(bars.len(), buckets.len());
    let scale = bars[0] / buckets[0].count as f64;
    for (bar, bucket) in bars.iter().zip(&buckets) {
        // To the tenth of a pixel that coordinates have.
        assert!(
            (bar - bucket.count as f64 * scale).abs() < 0.5,
            "{bars:?} for {buckets:?}"
        );
    }
}

#[test]
fn a_line_goes_through_its_samples_and_marks_stand_at_their_time() {
    let results = example::results("mass-failure", 17);
    let page = super::html(&results);
    let body = body(&page);
    let plot = figure(&body, "Living members");
    let of_class = |class: &'static str| {
        move |node: &Node| {
            node.attribute("class")
                .is_some_and(|all| all.split(' ').any(|one| one == class))
        }
    };
    let path = plot
        .descendants()
        .filter(|node| node.has_tag_name("path"))
        .find(of_class("line"))
        .unwrap();
    let points: Vec<(f64, f64)> = path
        .attribute("d")
        .unwrap()
        .split(['M', 'L'])
        .filter_map(|point| point.split_once(' '))
        .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
        .collect();
    assert_eq!(points.len(), results.series.len());
    // From the axis at 0 and the gridline at 70 follows where 64 and 55 are.
    let grid: Vec<f64> = plot
        .descendants()
        .filter(of_class("grid"))
        .map(|line| number(line, "y1"))
        .collect();
    let (zero, top) = (grid[0], *grid.last().unwrap());
    let height = |living: f64| zero + (top - zero) * living / 70.0;
    assert!((points[30].1 - height(64.0)).abs() < 0.11);
    assert!((points[119].1 - height(55.0)).abs() < 0.11);
    let marks: Vec<f64> = plot
        .descendants()
        .filter(|node| node.has_tag_name("line"))
        .filter(of_class("mark"))
        .map(|mark| number(mark, "x1"))
        .collect();
    // The samples are at 1, 2, .. 120 s.
    assert_eq!(marks, [points[59].0, points[89].0]);
}

#[test]
fn failed_members_are_drawn_as_such() {
    let results = example::results("mass-failure", 17);
    let page = super::html(&results);
    let body = body(&page);
    let drawn = |class: &str| {
        let of_class = |node: &Node| node.attribute("class") == Some(class);
        body.descendants()
            .filter(|node| node.attribute("r") == Some("5") && of_class(node))
            .count()
    };
    assert_eq!((drawn("alive"), drawn("dead")), (55, 9));
}

#[test]
fn json_is_read_back_as_it_was() {
    for results in [
        example::results("mass-failure", 17),
        star(),
        Results::default(),
    ] {
        let text = super::json(&results).unwrap();
        assert!(!text.contains('\n'));
        let read: Results = serde_json::from_str(&text).unwrap();
        assert!(read == results, "{} has changed", results.scenario.name);
    }
}

#[test]
fn tables_are_read_back_as_they_were() {
    let mut results = example::results("mass-failure", 17);
    results.members.rows[3].member = HOSTILE.to_owned();
    results.series[3].rings = None;
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("new");
    super::csv(&results, &inside).unwrap();
    let reader = |name: &str| csv::Reader::from_path(inside.join(name)).unwrap();
    let series: Result<Vec<Sample>, _> = reader("series.csv").deserialize().collect();
    assert_eq!(series.unwrap(), results.series);
    let rows: Result<Vec<MemberRow>, _> = reader("members.csv").deserialize().collect();
    assert_eq!(rows.unwrap(), results.members.rows);
    let mut hops = Distribution::default();
    for row in reader("distributions.csv").deserialize::<(String, u64, u64, u64)>() {
        let (name, low, _, count) = row.unwrap();
        if name == "reliable hops" {
            hops.record_many(low, count);
        }
    }
    assert_eq!(hops, results.traffic[0].hops);
    let figures: Vec<csv::StringRecord> = reader("figures.csv")
        .records()
        .map(Result::unwrap)
        .collect();
    assert!(figures.contains(&csv::StringRecord::from(vec![
        "ring",
        "longest repair",
        "9.0",
        "s"
    ])));
}

#[test]
fn a_summary_fits_a_screen_and_steers_no_terminal() {
    let text = super::text(&example::results("mass-failure", 17));
    assert!(text.lines().count() <= 25, "{text}");
    for wanted in [
        "mass-failure: A third of 64 members crash at once (small-world, seed 17)",
        "10,000 sent, 99.98 % delivered, 2 lost",
        "30 % crash at 60 s: right for good after 9 s",
        "NOT MET delivered, %: 99.98, has to be at least 99.99 [issue]",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }
    let mut results = hostile();
    results.scenario.title = "\x1b[2J".repeat(1_000);
    results.marks = vec![
        Mark {
            time_s: 1.0,
            label: "\r\x07".to_owned()
        };
        1_000
    ];
    let text = super::text(&results);
    assert!(text.lines().count() < 100);
    assert!(
        text.chars()
            .all(|character| character == '\n' || !character.is_control())
    );
}

#[test]
fn two_runs_are_compared_figure_by_figure() {
    let first = example::results("mass-failure", 17);
    let mut second = example::results("mass-failure", 18);
    second.population.crashed = 18;
    second.graph = None;
    second.traffic.remove(1);
    let compared = super::compare(&[first, second]);
    let line = |name: &str| {
        let line = compared
            .text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        line(" "),
        "mass-failure, seed 17 mass-failure, seed 18 difference"
    );
    assert_eq!(line("members crashed"), "members crashed 9 18 +100 %");
    assert_eq!(line("members started"), "members started 64 64 same");
    assert_eq!(line("graph diameter"), "graph diameter 3 -");
    assert_eq!(line("broadcast sent"), "broadcast sent 10,000 -");
    let body = body(&compared.html);
    let lines = figure(&body, "Living members")
        .descendants()
        .filter(|node| node.has_tag_name("path"));
    assert_eq!(lines.count(), 4, "two in the plot, two in its legend");
}

#[test]
fn runs_are_called_by_what_tells_them_apart() {
    let run = example::results;
    for (runs, wanted) in [
        (
            vec![run("a", 1), run("b", 1), run("b", 2)],
            ["a", "b, seed 1", "b, seed 2"],
        ),
        (
            vec![run("a", 1), run("a", 1)],
            ["a (1)", "a (2)", "difference"],
        ),
    ] {
        let text = super::compare(&runs).text;
        let head = text.lines().next().unwrap().split("  ").map(str::trim);
        assert!(head.filter(|part| !part.is_empty()).eq(wanted), "{text}");
    }
}
