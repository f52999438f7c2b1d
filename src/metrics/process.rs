//! What the operating system says about this process.

use llmwatch_core::model::Timestamp;

/// How much this process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessStats {
    /// Processor time used, in seconds.
    pub cpu_seconds: f64,
    /// Memory in use, in bytes.
    pub resident_bytes: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Open files and sockets.
    pub open_fds: u64,
    /// The most it may open.
    pub max_fds: u64,
    /// When it began, in seconds since the Unix epoch.
    pub started_s: f64,
}

impl ProcessStats {
    /// Reads `/proc/self` (`proc_pid_stat(5)`); what cannot be read is 0.
    pub fn read(started_at: Timestamp) -> Self {
        let read =
            |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
        let stat = read("stat");
        // The name in brackets may hold spaces; the fields behind it begin with the third.
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
