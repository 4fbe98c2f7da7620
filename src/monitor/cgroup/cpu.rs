//! Processor time: the quota, the usable processors, the time used, and throttled periods.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Machine, files, groups::Groups};
use crate::monitor::metrics::Source;

/// None means unknown, unless said otherwise.
#[derive(Debug, Default, Clone, PartialEq)]
pub(in crate::monitor) struct Cpu {
    pub source: Option<Source>,
    /// The tightest limit of this group and its ancestors. None if no limit is below the machine's resources.
    pub limit_cores: Option<f64>,
    pub usage: Option<Usage>,
    /// Of the group whose quota is in force. None without a quota.
    pub throttling: Option<Throttling>,
}

/// Processor time that a group has used since its creation.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::monitor) struct Usage {
    /// Times of different groups cannot be compared.
    pub group: PathBuf,
    pub time: Duration,
}

/// How often a quota throttled its group, since the group's creation.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::monitor) struct Throttling {
    /// The group that has the quota.
    pub group: PathBuf,
    /// Periods in which the group ran.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled: u64,
    /// Time that its processes waited, summed over processors.
    pub time: Option<Duration>,
}

pub(super) fn read(groups: &Groups, machine: Machine) -> Cpu {
    let quota = groups.of_controller("cpu").find_map(|group| {
        let quotas = group.levels.into_iter().filter_map(|level| Some((quota(&level, group.source)?, level)));
        quotas.min_by(|one, other| one.0.total_cmp(&other.0)).map(|(cores, level)| (group.source, cores, level))
    });
    let usage = groups.of_controller("cpuacct").find_map(|group| {
        let own = group.levels.into_iter().next()?;
        Some((group.source, Usage { time: used(&own, group.source)?, group: own }))
    });
    let processors = groups.of_controller("cpuset").find_map(|group| {
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

/// Returns the quota in cores, infinite if there is none. None if it can't be read.
fn quota(level: &Path, source: Source) -> Option<f64> {
    let (quota, period) = match source {
        Source::CgroupV1 => {
            let quota: i64 = files::text(level, "cpu.cfs_quota_us")?.trim().parse().ok()?;
            // -1 means no quota.
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
