//! What the build needs beyond Rust: a C compiler (for linking and for `ring`), git, rustfmt,
//! clippy. What is missing is installed where that is a machine's root's own business, else the
//! command that does it is named.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::steps::{cargo, succeed};

/// Looks for what is needed and installs what can be.
///
/// # Errors
/// A sentence with the command to run.
pub fn check(root: &Path) -> Result<(), String> {
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let packages: Vec<&str> = [(compiler, "build-essential"), ("git".into(), "git")]
        .into_iter()
        .filter(|(program, _)| !answers(&mut version(program)))
        .map(|(_, package)| package)
        .collect();
    if !packages.is_empty() {
        install(&packages)?;
    }
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !answers(&mut cargo(root, [subcommand, "--version"])) {
            println!("installing {component}");
            succeed(Command::new("rustup").args(["component", "add", component])).map_err(
                |error| format!("{error}; run `rustup component add {component}` and try again"),
            )?;
        }
    }
    Ok(())
}

fn version(program: &OsString) -> Command {
    let mut command = Command::new(program);
    command.arg("--version");
    command
}

fn answers(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn install(packages: &[&str]) -> Result<(), String> {
    let names = packages.join(" ");
    let by_hand = format!("run `apt-get install {names}` as root (or what your system has)");
    if !is_root() || !answers(&mut version(&"apt-get".into())) {
        return Err(by_hand);
    }
    println!("installing {names}");
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // A list that cannot be brought up to date may still do.
    let _ = succeed(apt().args(["--quiet", "update"]));
    succeed(
        apt()
            .args(["--quiet", "--yes", "--no-install-recommends", "install"])
            .args(packages),
    )
    .map_err(|error| format!("{error}; {by_hand}"))
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_does_not_answer() {
        assert!(answers(&mut Command::new("true")));
        assert!(!answers(&mut Command::new("false")));
        assert!(!answers(&mut version(&"circlet-no-such-program".into())));
    }
}
