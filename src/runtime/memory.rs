//! How much memory there is, and what that means for prepacking.

use std::fmt;
use std::path::Path;

use crate::files;
pub(crate) use crate::text::Bytes;

/// Memory that can be had without swapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub available: u64,
}

impl Memory {
    /// Of this machine, or of the control group the process is in where that is less. `None` where neither is known
    /// (other systems than Linux).
    pub fn of_machine() -> Option<Memory> {
        Self::of_files(Path::new("/proc/meminfo"), Path::new("/sys/fs/cgroup"))
    }

    fn of_files(meminfo: &Path, group: &Path) -> Option<Memory> {
        let text = files::read_text(meminfo, files::FACTS).ok()?;
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB"))?;
        let available = kilobytes.trim().parse::<u64>().ok()?.saturating_mul(1024);
        Some(Memory { available: available.min(left_in_group(group).unwrap_or(u64::MAX)) })
    }
}

/// What a control group (version 2) has left: its limit, less what it uses, but for files that can be dropped.
fn left_in_group(group: &Path) -> Option<u64> {
    let number = |name: &str| files::read_text(&group.join(name), files::FACTS).ok()?.trim().parse::<u64>().ok();
    // "max", for no limit, is no number.
    let limit = number("memory.max")?;
    let used = number("memory.current")?;
    let statistics = files::read_text(&group.join("memory.stat"), files::FACTS).unwrap_or_default();
    let droppable = statistics
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok())
        .unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(droppable)))
}

/// Whether weights are prepacked, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepacking {
    pub on: bool,
    pub reason: String,
}

impl Prepacking {
    /// What packed weights and the copies made on the way take, as a multiple of the weights: 1.63 was measured.
    const GROWTH_TENTHS: u64 = 17;
    /// Where the available memory is not known.
    const UNKNOWN_LIMIT: u64 = 2 << 30;

    /// On while the packed weights of all sessions take no more than half the memory available.
    pub(crate) fn choose(asked: Option<bool>, weights: u64, sessions: u64, memory: Option<Memory>) -> Prepacking {
        if let Some(on) = asked {
            return Prepacking { on, reason: "as asked for".to_owned() };
        }
        let needed = (weights / 10).saturating_mul(Self::GROWTH_TENTHS).saturating_mul(sessions);
        let (limit, known) = match memory {
            Some(memory) => (memory.available / 2, format!("{} available", Bytes(memory.available))),
            None => (Self::UNKNOWN_LIMIT, "available memory unknown".to_owned()),
        };
        Prepacking { on: needed <= limit, reason: format!("{sessions} sessions would take {}, {known}", Bytes(needed)) }
    }
}

impl fmt::Display for Prepacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", if self.on { "on" } else { "off" }, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn reads_the_machine_and_the_group() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let read = || Memory::of_files(&folder.path().join("meminfo"), folder.path()).map(|memory| memory.available);
        assert_eq!(read(), None);
        write("meminfo", "MemTotal:  200 kB\nMemAvailable:     100 kB\n");
        assert_eq!(read(), Some(102_400));
        write("memory.max", "max\n");
        write("memory.current", "50000\n");
        assert_eq!(read(), Some(102_400));
        write("memory.max", "60000\n");
        assert_eq!(read(), Some(10_000));
        write("memory.stat", "anon 1\ninactive_file 20000\n");
        assert_eq!(read(), Some(30_000));
        write("memory.current", "90000\n");
        assert_eq!(read(), Some(0));
    }

    #[test]
    fn prepacks_while_memory_allows() {
        let gib = 1 << 30;
        let choose = |weights, available: Option<u64>| {
            Prepacking::choose(None, weights, 3, available.map(|available| Memory { available }))
        };
        assert!(choose(gib, Some(16 * gib)).on);
        let off = choose(4 * gib, Some(16 * gib));
        assert!(!off.on);
        assert_eq!(off.to_string(), "off (3 sessions would take 20.4 GiB, 16.0 GiB available)");
        assert!(choose(gib / 4, None).on);
        assert!(!choose(gib, None).on);
        assert!(!choose(u64::MAX, Some(u64::MAX)).on);
        assert!(!Prepacking::choose(Some(false), 1, 1, None).on);
        assert!(Prepacking::choose(Some(true), u64::MAX, 9, Some(Memory { available: 0 })).on);
    }
}
