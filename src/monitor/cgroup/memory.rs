//! Memory: limits, use, and processes killed for lack of memory.
//!
//! Inactive file pages do not count as used, because the kernel reclaims them first.

use std::path::Path;

use super::{Machine, files, groups::Groups};
use crate::monitor::metrics::Source;

/// Memory in bytes. None means unknown, unless said otherwise.
#[derive(Debug, Default, PartialEq)]
pub(in crate::monitor) struct Memory {
    pub source: Option<Source>,
    /// The tightest limit of this group and its ancestors. None if no limit is below the machine's memory.
    pub limit: Option<u64>,
    /// The tightest bound above which the kernel slows the group down to reclaim memory. Version 2 only.
    pub high: Option<u64>,
    /// Use of this group.
    pub used: Option<u64>,
    /// Used share of the fullest limit, 0 to 1. Neighbours may fill the limit of an ancestor.
    pub fullest: Option<f64>,
    /// Memory left below all limits.
    pub room: Option<u64>,
    /// Processes of this group and its descendants that were killed for lack of memory.
    pub oom_kills: Option<u64>,
}

struct Level {
    limit: Option<u64>,
    high: Option<u64>,
    used: Option<u64>,
}

pub(super) fn read(groups: &Groups, machine: Machine) -> Memory {
    let known = groups.of_controller("memory").find_map(|group| {
        let levels: Vec<Level> = group.levels.iter().map(|level| read_level(level, group.source)).collect();
        let is_readable = levels.iter().any(|level| level.limit.is_some() || level.used.is_some());
        is_readable.then_some((group, levels))
    });
    let Some((group, levels)) = known else { return Memory::default() };

    let below_machine = |limit: u64| (limit < machine.memory.unwrap_or(u64::MAX)).then_some(limit);
    let full = || levels.iter().filter_map(|level| Some((level.limit.and_then(below_machine)?, level.used?)));
    Memory {
        source: Some(group.source),
        limit: levels.iter().filter_map(|level| level.limit).min().and_then(below_machine),
        high: levels.iter().filter_map(|level| level.high).min().and_then(below_machine),
        used: levels.first().and_then(|own| own.used),
        fullest: full().map(|(limit, used)| used as f64 / limit.max(1) as f64).reduce(f64::max),
        room: full().map(|(limit, used)| limit.saturating_sub(used)).min(),
        oom_kills: group.levels.first().and_then(|own| oom_kills(own, group.source)),
    }
}

fn read_level(level: &Path, source: Source) -> Level {
    let stat = files::text(level, "memory.stat").unwrap_or_default();
    // Without the statistics everything counts as used: too high is the safe side.
    let less = |used: u64, key| used.saturating_sub(files::value(&stat, key).unwrap_or(0));
    match source {
        Source::CgroupV1 => Level {
            // The hierarchical limit includes limits of ancestors that are not visible.
            limit: [files::number(level, "memory.limit_in_bytes"), files::value(&stat, "hierarchical_memory_limit")]
                .into_iter()
                .flatten()
                .min(),
            high: None,
            used: files::number(level, "memory.usage_in_bytes").map(|used| less(used, "total_inactive_file")),
        },
        Source::CgroupV2 => Level {
            limit: files::bytes_or_max(level, "memory.max"),
            high: files::bytes_or_max(level, "memory.high"),
            used: files::number(level, "memory.current").map(|used| less(used, "inactive_file")),
        },
        Source::Host => Level { limit: None, high: None, used: None },
    }
}

fn oom_kills(own: &Path, source: Source) -> Option<u64> {
    let name = match source {
        Source::CgroupV1 => "memory.oom_control",
        Source::CgroupV2 | Source::Host => "memory.events",
    };
    files::value(&files::text(own, name)?, "oom_kill")
}
