//! What the kernel says about the control groups that this process is in: limits, use, throttling and pressure.
//!
//! Everything is read below a root directory (`/` outside tests), afresh each time, as a process may be moved and
//! limits may change. Nothing is kept here, and no content of a file can do more than make its value unknown: what is
//! missing or malformed is looked for in the next place, controller by controller.

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

/// What the machine has: a limit that is not below it limits nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    /// Processors; none if unknown.
    pub cpus: Option<usize>,
    /// Memory in bytes; none if unknown.
    pub memory: Option<u64>,
}

/// All that could be read at one time.
#[derive(Debug)]
pub(super) struct Reading {
    pub cpu: Cpu,
    pub memory: Memory,
    pub pressure: Pressure,
}

/// Reads the groups of this process. Blocks, for a few dozen small files.
pub(super) fn read(root: &Path, machine: Machine) -> Reading {
    let groups = Groups::find(root);
    Reading {
        cpu: cpu::read(&groups, machine),
        memory: memory::read(&groups, machine),
        pressure: pressure::read(root, &groups),
    }
}
