//! Whether a daemon that gets almost no processor time still ends in time: 5,000 endpoints every
//! second at nice 15 on one core beside two busy loops, then SIGTERM.
//!
//! `cargo bench --bench shutdown [-- ENDPOINTS]`. Needs `nice` and `taskset`.

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use self::support::Process;
use self::support::floor::{Work, set_up};

const INTERVAL: Duration = Duration::from_secs(1);
/// How long it starves before SIGTERM.
const STARVES_FOR: Duration = Duration::from_secs(45);
/// The service manager kills it then.
const LIMIT: Duration = Duration::from_secs(20);
const ON_ONE_CORE: [&str; 3] = ["taskset", "-c", "0"];
const BUSY: [&str; 3] = ["sh", "-c", "while :; do :; done"];

fn main() {
    let count = std::env::args()
        .find_map(|a| a.parse().ok())
        .unwrap_or(5000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(count));
}

async fn run(count: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let (_, config) = set_up(directory.path(), Work::Kept, count, INTERVAL, "failures").await;
    let _busy = [(); 2].map(|()| start(command(&BUSY)));
    let program = ["nice", "-n", "15", env!("CARGO_BIN_EXE_llmwatch")];
    let mut starved = command(&program);
    starved.arg("-c").arg(&config).arg("run");
    let mut daemon = start(starved);
    tokio::time::sleep(STARVES_FOR).await;
    let cpu_s = daemon.cpu_s();
    let (began, peak_mib) = (Instant::now(), daemon.peak_mib());
    let pid = Pid::from_child(&daemon.0);
    kill_process(pid, Signal::TERM).expect("a running daemon");
    let status = daemon.0.wait().expect("an exit code");
    println!(
        "{count} endpoints every second: {cpu_s:.1} s of processor time in {} s, {peak_mib} MiB; {status} after {:.1} s; the limit is {} s",
        STARVES_FOR.as_secs(),
        began.elapsed().as_secs_f64(),
        LIMIT.as_secs()
    );
}

/// A command on the one core.
fn command(program: &[&str]) -> Command {
    let mut command = Command::new(ON_ONE_CORE[0]);
    command.args(&ON_ONE_CORE[1..]).args(program);
    command
}

fn start(mut command: Command) -> Process {
    let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Process(process.expect("a process"))
}
