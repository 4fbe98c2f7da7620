//! Memory: the limits in force, what is used of them, and kills for want of it.
//!
//! What the kernel would give up first, file pages that nobody used lately, is not counted as used.

use std::path::Path;

use super::{Machine, files, groups::Groups};
use crate::monitor::metrics::Source;

/// What is known of memory, in bytes.
#[derive(Debug, Default, PartialEq)]
pub(in crate::monitor) struct Memory {
    /// Where it was read; none if nowhere.
    pub source: Option<Source>,
    /// The tightest limit of this group and those above it; none if nothing keeps it below the machine's.
    pub limit: Option<u64>,
    /// The tightest bound above which the group is slowed down and made to give memory back (v2).
    pub high: Option<u64>,
    /// What this group uses.
    pub used: Option<u64>,
    /// How full the fullest of the limits is, 0 to 1: one above this group may be filled by its neighbours.
    pub fullest: Option<f64>,
    /// What is left below all limits.
    pub room: Option<u64>,
    /// How many processes of this group and those below it were killed for want of memory.
    pub oom_kills: Option<u64>,
}

/// One group.
struct Level {
    limit: Option<u64>,
    high: Option<u64>,
    used: Option<u64>,
}

pub(super) fn read(groups: &Groups, machine: Machine) -> Memory {
    let known = groups.of("memory").find_map(|group| {
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
    // Without the statistics all counts as used, to be on the safe side.
    let less = |used: u64, key| used.saturating_sub(files::value(&stat, key).unwrap_or(0));
    match source {
        Source::CgroupV1 => Level {
            // The second counts limits above what can be seen too.
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
