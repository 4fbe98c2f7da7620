//! Processor time: the quota in force, processors that may be used, time used, and periods cut short.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Machine, files, groups::Groups};
use crate::monitor::metrics::Source;

/// What is known of processor time.
#[derive(Debug, Default, Clone, PartialEq)]
pub(in crate::monitor) struct Cpu {
    /// Where it was read; none if nowhere.
    pub source: Option<Source>,
    /// The tightest limit of this group and those above it, in cores; none if nothing keeps it below the machine's.
    pub limit_cores: Option<f64>,
    /// Time used since the group was made.
    pub usage: Option<Usage>,
    /// At the group whose quota is in force; none without a quota.
    pub throttling: Option<Throttling>,
}

/// Processor time that a group has used.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::monitor) struct Usage {
    /// Whose it is: times of two groups have no difference.
    pub group: PathBuf,
    pub time: Duration,
}

/// How often a quota's period was cut short, since the group was made.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::monitor) struct Throttling {
    /// Whose quota it is.
    pub group: PathBuf,
    /// Periods in which anything ran.
    pub periods: u64,
    /// Those of them in which the quota was used up.
    pub throttled: u64,
    /// How long its processes were kept waiting, summed up over processors; none if unknown.
    pub time: Option<Duration>,
}

pub(super) fn read(groups: &Groups, machine: Machine) -> Cpu {
    let quota = groups.of("cpu").find_map(|group| {
        let quotas = group.levels.into_iter().filter_map(|level| Some((quota(&level, group.source)?, level)));
        quotas.min_by(|one, other| one.0.total_cmp(&other.0)).map(|(cores, level)| (group.source, cores, level))
    });
    let usage = groups.of("cpuacct").find_map(|group| {
        let own = group.levels.into_iter().next()?;
        Some((group.source, Usage { time: used(&own, group.source)?, group: own }))
    });
    let processors = groups.of("cpuset").find_map(|group| {
        let count = group.levels.iter().find_map(|level| processors(level, group.source))?;
        Some((group.source, count as f64))
    });

    let machine = machine.cpus.map_or(f64::INFINITY, |cpus| cpus as f64);
    let cores = |cores: Option<f64>| cores.unwrap_or(f64::INFINITY);
    let by_quota = cores(quota.as_ref().map(|quota| quota.1));
    let limit = by_quota.min(cores(processors.map(|processors| processors.1)));
    let sources =
        [quota.as_ref().map(|quota| quota.0), usage.as_ref().map(|usage| usage.0), processors.map(|cpus| cpus.0)];
    Cpu {
        source: sources.into_iter().flatten().next(),
        limit_cores: (limit < machine).then_some(limit),
        usage: usage.map(|usage| usage.1),
        throttling: quota.filter(|_| by_quota.is_finite()).and_then(|(source, _, level)| throttling(level, source)),
    }
}

/// In cores, infinite without one; none if it can't be read.
fn quota(level: &Path, source: Source) -> Option<f64> {
    let (quota, period) = match source {
        Source::CgroupV1 => {
            let quota: i64 = files::text(level, "cpu.cfs_quota_us")?.trim().parse().ok()?;
            // -1 is none.
            (u64::try_from(quota).ok(), files::number(level, "cpu.cfs_period_us")?)
        }
        Source::CgroupV2 => {
            let text = files::text(level, "cpu.max")?;
            let (quota, period) = text.trim().split_once(' ')?;
            let quota = if quota == "max" { None } else { Some(quota.parse().ok()?) };
            (quota, period.parse().ok()?)
        }
        Source::Host => return None,
    };
    match quota {
        None => Some(f64::INFINITY),
        Some(quota) => (quota > 0 && period > 0).then(|| quota as f64 / period as f64),
    }
}

fn used(level: &Path, source: Source) -> Option<Duration> {
    match source {
        Source::CgroupV1 => files::number(level, "cpuacct.usage").map(Duration::from_nanos),
        Source::CgroupV2 => files::value(&files::text(level, "cpu.stat")?, "usage_usec").map(Duration::from_micros),
        Source::Host => None,
    }
}

fn processors(level: &Path, source: Source) -> Option<u64> {
    let names: &[&str] = match source {
        Source::CgroupV1 => &["cpuset.effective_cpus", "cpuset.cpus"],
        Source::CgroupV2 => &["cpuset.cpus.effective"],
        Source::Host => &[],
    };
    names.iter().find_map(|name| files::count_cpus(&files::text(level, name)?))
}

fn throttling(group: PathBuf, source: Source) -> Option<Throttling> {
    let text = files::text(&group, "cpu.stat")?;
    let time = match source {
        Source::CgroupV1 => files::value(&text, "throttled_time").map(Duration::from_nanos),
        Source::CgroupV2 | Source::Host => files::value(&text, "throttled_usec").map(Duration::from_micros),
    };
    let (periods, throttled) = (files::value(&text, "nr_periods")?, files::value(&text, "nr_throttled")?);
    Some(Throttling { group, periods, throttled, time })
}
