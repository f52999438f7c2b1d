//! Resource usage of this process, from the operating system.

use llmwatch_core::model::Timestamp;

/// The resource usage of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessStats {
    /// CPU time used, in seconds.
    pub cpu_seconds: f64,
    /// Memory in use, in bytes.
    pub resident_bytes: u64,
    /// Virtual memory, in bytes.
    pub virtual_bytes: u64,
    /// Open files and sockets.
    pub open_fds: u64,
    /// The limit of open files and sockets.
    pub max_fds: u64,
    /// The start time, in seconds since the Unix epoch.
    pub started_s: f64,
}

impl ProcessStats {
    /// Reads `/proc/self` (`proc_pid_stat(5)`). Unreadable values are 0.
    pub fn read(started_at: Timestamp) -> Self {
        let read =
            |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
        let stat = read("stat");
        // The name in parentheses may contain spaces; the fields after it start with the third.
        let fields: Vec<u64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| {
                rest.split_whitespace()
                    .map(|f| f.parse().unwrap_or(0))
                    .collect()
            })
            .unwrap_or_default();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let max_fds = read("limits")
            .lines()
            .find_map(|l| {
                l.strip_prefix("Max open files")?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        Self {
            cpu_seconds: (field(14) + field(15)) as f64 / ticks,
            virtual_bytes: field(23),
            resident_bytes: field(24) * rustix::param::page_size() as u64,
            open_fds: std::fs::read_dir("/proc/self/fd")
                .map_or(0, |entries| entries.count() as u64),
            max_fds,
            started_s: started_at.0 as f64 / 1000.0,
        }
    }
}
