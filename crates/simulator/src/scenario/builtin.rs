//! The scenarios that every program has with it: those of `simulations/`.

/// Names the files of `simulations/`; a test compares the list with the directory.
macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        /// Name and text of the scenarios of `simulations/`, in alphabetical order.
        pub const BUILT_IN: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../../../simulations/", $name, ".toml")))),*
        ];
    };
}

built_in![
    "adjacent-failure",
    "chord-table-2-00",
    "chord-table-2-10",
    "chord-table-2-20",
    "chord-table-2-30",
    "chord-table-2-40",
    "chord-table-2-50",
    "chord-table-3-05",
    "chord-table-3-10",
    "chord-table-3-20",
    "chord-table-3-30",
    "chord-table-3-40",
    "churn",
    "cold-start",
    "flash-crowd",
    "mass-failure",
    "mass-failure-10k",
    "million-half-crash",
    "million-unconnectable",
    "partition-5k",
    "partition-and-merge",
    "scale-100k-greedy",
    "scale-100k-lookahead",
    "scale-10k-greedy",
    "scale-10k-lookahead",
    "scale-1k-greedy",
    "scale-1k-lookahead",
    "scale-1m-greedy",
    "scale-1m-lookahead",
    "tracker-outage",
    "tutorial-mesh-4096",
    "tutorial-mesh-512",
    "tutorial-mesh-64",
    "tutorial-mesh-8",
    "tutorial-ring-4096",
    "tutorial-ring-512",
    "tutorial-ring-64",
    "tutorial-ring-8",
    "tutorial-small-world-4096",
    "tutorial-small-world-512",
    "tutorial-small-world-64",
    "tutorial-small-world-8",
    "tutorial-star-4096",
    "tutorial-star-512",
    "tutorial-star-64",
    "tutorial-star-8",
    "unconnectable-pairs",
    "w1-100k",
    "w1-10k",
    "w1-1m",
    "w1-1m-lookahead",
];
