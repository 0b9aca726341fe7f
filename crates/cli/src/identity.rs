//! `circlet identity`: who this machine is.

use circlet_node::IdentityFile;
use serde::Serialize;

use crate::args::IdentityArgs;
use crate::failure::Failure;
use crate::output::print;

#[derive(Serialize)]
struct Line {
    node: circlet_core::identity::NodeId,
}

/// Prints the NodeId; makes the key if there is none.
pub fn run(args: IdentityArgs, json: bool) -> Result<(), Failure> {
    let file = match args.identity {
        Some(path) => IdentityFile::new(path),
        None => IdentityFile::in_data_dir().map_err(Failure::failed)?,
    };
    let node = file.load_or_create().map_err(Failure::failed)?.node_id();
    if json {
        // No map with keys that are not text, no failing serializer: this cannot fail.
        print(&serde_json::to_string(&Line { node }).unwrap_or_default());
    } else {
        print(&node.to_string());
    }
    Ok(())
}
