//! Where the files of this process's groups are.
//!
//! `/proc/self/cgroup` tells the path of the group in each hierarchy, `/proc/self/mountinfo` where which part of a
//! hierarchy is mounted. A controller is in one hierarchy at a time: a line of v1 that names it means that v2 does not
//! limit it, so such a line comes first, and v2 after it for what it tells without controllers.
//!
//! In a container the path may not lead below the mount: it may be the host's while the mount shows a part, or begin
//! with `/..` where the group is outside of the namespace. Then the mount's own root is the nearest group that can be
//! seen.

use std::path::{Component, Path, PathBuf};

use super::files;
use crate::monitor::metrics::Source;

/// A group and those above it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// The version of its hierarchy.
    pub source: Source,
    /// Directories: this process's own first, then each parent up to the highest that can be seen. At least one.
    pub levels: Vec<PathBuf>,
}

/// The groups of this process.
#[derive(Debug)]
pub(super) struct Groups {
    /// The controllers of a hierarchy (none: it is v2's), and the path in it.
    memberships: Vec<(String, PathBuf)>,
    mounts: Vec<Mount>,
}

impl Groups {
    /// Reads where they are, below `root`.
    pub(super) fn find(root: &Path) -> Self {
        let read = |name| files::text(&root.join("proc/self"), name).unwrap_or_default();
        Self {
            memberships: read("cgroup").lines().filter_map(parse_membership).collect(),
            mounts: read("mountinfo").lines().filter_map(|line| Mount::parse(line, root)).collect(),
        }
    }

    /// The groups in which files of `controller` may be, the one that it is bound to first.
    pub(super) fn of(&self, controller: &str) -> impl Iterator<Item = Group> {
        self.v1(controller).into_iter().chain(self.unified())
    }

    fn v1(&self, controller: &str) -> Option<Group> {
        let has = |list: &str| list.split(',').any(|name| name == controller);
        let (_, path) = self.memberships.iter().find(|(controllers, _)| has(controllers))?;
        self.visible(Source::CgroupV1, path, |mount| mount.kind == "cgroup" && has(&mount.options))
    }

    /// The group in v2's hierarchy.
    pub(super) fn unified(&self) -> Option<Group> {
        let (_, path) = self.memberships.iter().find(|(controllers, _)| controllers.is_empty())?;
        self.visible(Source::CgroupV2, path, |mount| mount.kind == "cgroup2")
    }

    /// By the mount that shows the group itself, and most of those above it.
    fn visible(&self, source: Source, path: &Path, fits: impl Fn(&Mount) -> bool) -> Option<Group> {
        let shown = self.mounts.iter().filter(|mount| fits(mount)).map(|mount| mount.levels(path));
        let (_, levels) = shown.max_by_key(|(is_below, levels)| (*is_below, levels.len()))?;
        (!levels.is_empty()).then_some(Group { source, levels })
    }
}

/// `ID:controllers:path`.
fn parse_membership(line: &str) -> Option<(String, PathBuf)> {
    let mut fields = line.splitn(3, ':').skip(1);
    Some((fields.next()?.to_owned(), fields.next()?.into()))
}

/// A part of a hierarchy that can be seen.
#[derive(Debug)]
struct Mount {
    kind: String,
    options: String,
    /// The group that is shown.
    group: PathBuf,
    /// Where it is shown.
    place: PathBuf,
}

impl Mount {
    /// `ID parent device group place options … - kind source options`, in `proc_pid_mountinfo(5)`.
    fn parse(line: &str, root: &Path) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let (mut mount, mut system) = (mount.split(' ').skip(3), system.split(' '));
        let (group, place) = (unescape(mount.next()?), unescape(mount.next()?));
        let kind = system.next().filter(|kind| kind.starts_with("cgroup"))?;
        Some(Self {
            kind: kind.to_owned(),
            options: system.nth(1)?.to_owned(),
            group: group.into(),
            place: root.join(place.trim_start_matches('/')),
        })
    }

    /// Whether the group at `path` is below this mount, and the directories of it and those above it.
    fn levels(&self, path: &Path) -> (bool, Vec<PathBuf>) {
        let is_plain = |below: &&Path| below.components().all(|part| matches!(part, Component::Normal(_)));
        let below = path.strip_prefix(&self.group).ok().filter(is_plain);
        let own = below.map_or_else(|| self.place.clone(), |below| self.place.join(below));
        let levels = own.ancestors().take_while(|level| level.starts_with(&self.place));
        (below.is_some() && own.is_dir(), levels.filter(|level| level.is_dir()).map(Path::to_owned).collect())
    }
}

/// Spaces, tabs, line ends and backslashes are written as `\040` and so on.
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
