//! Locates the directories of this process's control groups.
//!
//! `/proc/self/cgroup` has the path of the group in each hierarchy. `/proc/self/mountinfo` says which part of a hierarchy is
//! mounted where. A controller belongs to one hierarchy at a time. If a line of version 1 names it, version 2 does not limit
//! it, so version 1 is read first. Version 2 follows, for statistics that do not need a controller.
//!
//! In a container the path may not lead below the mount. It may be the host's path while the mount shows only a part, or begin
//! with `/..` if the group is outside of the namespace. Then the root of the mount is the nearest visible group.

use std::path::{Component, Path, PathBuf};

use super::files;
use crate::monitor::metrics::Source;

/// A group and its visible ancestors.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// The version of its hierarchy.
    pub source: Source,
    /// Directories: the process's own group first, then each visible ancestor. At least one.
    pub levels: Vec<PathBuf>,
}

#[derive(Debug)]
pub(super) struct Groups {
    /// The controllers of a hierarchy (empty for version 2), and the path of the group in it.
    memberships: Vec<(String, PathBuf)>,
    mounts: Vec<Mount>,
}

impl Groups {
    /// Reads `/proc/self` below `root`.
    pub(super) fn find(root: &Path) -> Self {
        let read = |name| files::text(&root.join("proc/self"), name).unwrap_or_default();
        Self {
            memberships: read("cgroup").lines().filter_map(parse_membership).collect(),
            mounts: read("mountinfo").lines().filter_map(|line| Mount::parse(line, root)).collect(),
        }
    }

    /// Returns the groups that may have files of `controller`. The one that it is bound to is first.
    pub(super) fn of_controller(&self, controller: &str) -> impl Iterator<Item = Group> {
        self.v1(controller).into_iter().chain(self.unified())
    }

    fn v1(&self, controller: &str) -> Option<Group> {
        let has = |list: &str| list.split(',').any(|name| name == controller);
        let (_, path) = self.memberships.iter().find(|(controllers, _)| has(controllers))?;
        self.visible(Source::CgroupV1, path, |mount| mount.kind == "cgroup" && has(&mount.options))
    }

    /// Returns the group in version 2's hierarchy.
    pub(super) fn unified(&self) -> Option<Group> {
        let (_, path) = self.memberships.iter().find(|(controllers, _)| controllers.is_empty())?;
        self.visible(Source::CgroupV2, path, |mount| mount.kind == "cgroup2")
    }

    /// Returns the group as the best mount shows it: with the group itself if possible, then with the most ancestors.
    fn visible(&self, source: Source, path: &Path, fits: impl Fn(&Mount) -> bool) -> Option<Group> {
        let shown = self.mounts.iter().filter(|mount| fits(mount)).map(|mount| mount.levels(path));
        let (_, levels) = shown.max_by_key(|(is_below, levels)| (*is_below, levels.len()))?;
        (!levels.is_empty()).then_some(Group { source, levels })
    }
}

/// Parses `ID:controllers:path`.
fn parse_membership(line: &str) -> Option<(String, PathBuf)> {
    let mut fields = line.splitn(3, ':').skip(1);
    Some((fields.next()?.to_owned(), fields.next()?.into()))
}

/// A mounted part of a hierarchy.
#[derive(Debug)]
struct Mount {
    kind: String,
    options: String,
    /// The group at the root of the mount.
    group: PathBuf,
    /// The mount point.
    mount_point: PathBuf,
}

impl Mount {
    /// Parses `ID parent device group mount_point options … - kind source options`, see `proc_pid_mountinfo(5)`.
    fn parse(line: &str, root: &Path) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let (mut mount, mut system) = (mount.split(' ').skip(3), system.split(' '));
        let (group, mount_point) = (unescape(mount.next()?), unescape(mount.next()?));
        let kind = system.next().filter(|kind| kind.starts_with("cgroup"))?;
        Some(Self {
            kind: kind.to_owned(),
            options: system.nth(1)?.to_owned(),
            group: group.into(),
            mount_point: root.join(mount_point.trim_start_matches('/')),
        })
    }

    /// Returns whether the group at `path` is visible in this mount, and the directories of the visible groups from it upwards.
    fn levels(&self, path: &Path) -> (bool, Vec<PathBuf>) {
        let is_plain = |below: &&Path| below.components().all(|part| matches!(part, Component::Normal(_)));
        let below = path.strip_prefix(&self.group).ok().filter(is_plain);
        let own = below.map_or_else(|| self.mount_point.clone(), |below| self.mount_point.join(below));
        let levels = own.ancestors().take_while(|level| level.starts_with(&self.mount_point));
        (below.is_some() && own.is_dir(), levels.filter(|level| level.is_dir()).map(Path::to_owned).collect())
    }
}

/// Decodes octal escapes such as `\040`, which stand for spaces, tabs, line ends and backslashes.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(u8::is_ascii);
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}
