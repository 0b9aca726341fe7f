//! Members on this machine, each a process of its own or all of them in this one.

pub mod members;
pub mod process;
pub mod threads;
