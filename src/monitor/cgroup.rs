//! The control groups of this process: limits, use, throttling and pressure.
//!
//! Everything is read again at each measurement, because a process may be moved to another group and limits may change. Paths
//! are below a root directory, which is `/` outside of tests. A missing or malformed file makes its value unknown; the value is
//! then looked for in the next place, separately for each controller.

mod cpu;
mod files;
mod groups;
mod memory;
mod pressure;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::path::Path;

pub(super) use cpu::Cpu;
#[cfg(test)]
pub(super) use cpu::{Throttling, Usage};
pub(super) use memory::Memory;

use super::metrics::Pressure;
use groups::Groups;

/// The resources of the machine. A limit that is not below them is ignored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    pub cpus: Option<usize>,
    /// In bytes.
    pub memory: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Reading {
    pub cpu: Cpu,
    pub memory: Memory,
    pub pressure: Pressure,
}

/// Reads the groups of this process. Blocks while it reads a few dozen small files.
pub(super) fn read(root: &Path, machine: Machine) -> Reading {
    let groups = Groups::find(root);
    Reading {
        cpu: cpu::read(&groups, machine),
        memory: memory::read(&groups, machine),
        pressure: pressure::read(root, &groups),
    }
}
