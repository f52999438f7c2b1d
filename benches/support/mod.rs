//! What the benchmarks of the real daemon share: starting a process, and what the kernel counts of
//! it.
#![allow(dead_code, reason = "each benchmark uses a part")]

pub(crate) mod floor;
pub(crate) mod history;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpListener;

/// A process that ends with this value.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// The daemon with the configuration at `config`.
    pub(crate) fn daemon(config: &Path, log: Stdio) -> Self {
        let daemon = Command::new(env!("CARGO_BIN_EXE_llmwatch"))
            .arg("-c")
            .arg(config)
            .args(["--log-format", "json", "run"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Self(daemon.expect("the daemon"))
    }

    /// User and system time since it started, in seconds.
    pub(crate) fn cpu_s(&self) -> f64 {
        let stat = self.proc_file("stat");
        let fields: Vec<f64> = stat
            .rsplit_once(')')
            .map_or("", |s| s.1)
            .split_whitespace()
            .filter_map(|f| f.parse().ok())
            .collect();
        // The state, a letter, was left out: user and system time are the eleventh and twelfth of
        // the numbers.
        (fields[10] + fields[11]) / 100.0
    }

    /// The number after `key` in `/proc/PID/file`; 0 when there is none.
    pub(crate) fn proc_number(&self, file: &str, key: &str) -> u64 {
        let text = self.proc_file(file);
        let line = text.lines().find_map(|l| l.strip_prefix(key));
        let number = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
        number.unwrap_or(0)
    }

    /// Runs it to its end: its processor time in seconds, and the most memory that it had, in MiB.
    pub(crate) fn run_to_end(mut command: Command) -> (f64, u64) {
        let process = Self(command.spawn().expect("a process"));
        let mut peak = 0;
        // Until it is waited for, the kernel keeps its times, but not its memory.
        while !process.has_ended() {
            peak = process.peak_mib().max(peak);
            std::thread::sleep(Duration::from_millis(5));
        }
        (process.cpu_s(), peak)
    }

    fn has_ended(&self) -> bool {
        let stat = self.proc_file("stat");
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
    }

    /// The most memory that it had, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        self.proc_number("status", "VmHWM:") / 1024
    }

    /// The memory that it has, in MiB.
    pub(crate) fn resident_mib(&self) -> u64 {
        self.proc_number("status", "VmRSS:") / 1024
    }

    /// Bytes that went to the disk.
    pub(crate) fn written(&self) -> u64 {
        self.proc_number("io", "write_bytes:")
    }

    fn proc_file(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).expect("a running process")
    }
}

/// An address that nobody listens on.
pub(crate) async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

/// `count` endpoints at the simulator that listens on `address`.
pub(crate) fn openai_endpoints(count: usize, address: SocketAddr) -> String {
    let endpoint = |n| {
        format!(
            "[[endpoint]]\nname = \"e{n}\"\nprovider = \"openai\"\nmodel = \"m{n}\"\napi_key = \"none\"\n\
             base_url = \"http://{address}/v1\"\n"
        )
    };
    (0..count).map(endpoint).collect()
}

/// The value below which this share (0 to 1) of `sorted` lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}
