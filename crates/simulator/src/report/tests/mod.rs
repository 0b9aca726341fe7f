//! Reports say what the results say, and nothing in the results can break them.

mod example;

/// Set to a directory, this test leaves the reports there to look at.
#[test]
fn reports_of_an_example_can_be_looked_at() {
    let runs = [
        example::results("mass-failure", 17),
        example::results("mass-failure", 18),
    ];
    let comparison = super::compare(&runs);
    if let Some(directory) = std::env::var_os("CIRCLET_REPORTS").map(std::path::PathBuf::from) {
        super::csv(&runs[0], &directory).unwrap();
        std::fs::write(directory.join("report.html"), super::html(&runs[0])).unwrap();
        std::fs::write(directory.join("compare.html"), &comparison.html).unwrap();
        std::fs::write(
            directory.join("text.txt"),
            super::text(&runs[0]) + "\n" + &comparison.text,
        )
        .unwrap();
    }
}
