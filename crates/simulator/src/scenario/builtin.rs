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
    "churn",
    "cold-start",
    "flash-crowd",
    "mass-failure",
    "partition-and-merge",
    "tracker-outage",
    "unconnectable-pairs",
];
