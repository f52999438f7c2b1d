//! `llmwatch status --watch` on a pseudo-terminal of 80 by 24: its output, its keys, and that it
//! restores the terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, Winsize, openpty};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PATIENCE, World};

/// Restores the normal screen and the cursor.
const NORMAL_SCREEN: &str = "\x1b[?1049l";
const CURSOR: &str = "\x1b[?25h";

struct Terminal {
    child: Child,
    master: File,
    shown: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Terminal {
    fn open(world: &World, arguments: &[&str], color: bool) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        let slave = File::from(slave);
        let master = File::from(master);
        let io = || Stdio::from(slave.try_clone().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmwatch"));
        command
            .arg("-c")
            .arg(world.config_path())
            .args(arguments)
            .env("TERM", "xterm-256color")
            .stdin(io())
            .stdout(io())
            .stderr(io());
        if color {
            command.env_remove("NO_COLOR");
        } else {
            command.env("NO_COLOR", "1");
        }
        let child = command.spawn().unwrap();
        drop(command);
        let shown = Arc::new(Mutex::new(String::new()));
        let mut reader = master.try_clone().unwrap();
        let seen = shown.clone();
        let reading = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // An error means that the terminal was closed.
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
                seen.lock().unwrap().push_str(&text);
            }
        });
        Self {
            child,
            master,
            shown,
            reader: Some(reading),
        }
    }

    fn text(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Waits until `wanted` is on the screen.
    fn wait_for(&self, wanted: &str) {
        let ends = Instant::now() + PATIENCE;
        while !screen(&self.text()).contains(wanted) {
            let text = self.text();
            assert!(Instant::now() < ends, "no `{wanted}` in {}", screen(&text));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the process to end and for its remaining output. Returns the exit code.
    fn exit(&mut self) -> Option<i32> {
        let ends = Instant::now() + PATIENCE;
        while Instant::now() < ends {
            if let Some(status) = self.child.try_wait().unwrap() {
                // Nobody has the terminal open any more, so reading ends.
                self.reader.take().unwrap().join().unwrap();
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill().unwrap();
        panic!("it did not end: {:?}", self.text());
    }
}

/// Renders `text` on a terminal of 80 by 24. Only escapes that move the cursor or clear the screen
/// matter.
fn screen(text: &str) -> String {
    let mut rows = vec![[' '; 80]; 24];
    let (mut row, mut column) = (0, 0);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => {
                let rest = chars.as_str();
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0);
                let numbers: Vec<usize> = rest[..end]
                    .trim_start_matches('[')
                    .split(';')
                    .map(|n| n.parse().unwrap_or(1))
                    .collect();
                match rest[end..].chars().next() {
                    Some('H') => {
                        row = numbers[0] - 1;
                        column = numbers.get(1).copied().unwrap_or(1) - 1;
                    }
                    Some('J') => rows.fill([' '; 80]),
                    _ => {}
                }
                chars = rest.get(end + 1..).unwrap_or("").chars();
            }
            '\r' => column = 0,
            '\n' => row += 1,
            c => {
                if let Some(cell) = rows.get_mut(row).and_then(|r| r.get_mut(column)) {
                    *cell = c;
                }
                column += 1;
            }
        }
    }
    let rows = rows.iter().map(|row| row.iter().collect::<String>());
    rows.collect::<Vec<_>>().join("\n")
}

/// A world with sixty endpoints that no daemon has probed yet.
async fn sixty() -> World {
    let world = World::new().await;
    let mut config = world.endpoints();
    for n in 0..58 {
        config += &format!(
            "[[endpoint]]\nname = \"extra-{n:02}\"\nprovider = \"openai\"\nbase_url = \"http://{}/v1\"\napi_key = \"none\"\n",
            world.openai.addr()
        );
    }
    world.write(&(config + "[budget]\ndaily_usd = 100.0\n"));
    let mut daemon = world.run();
    daemon.event("monitor.ready").await;
    daemon.stop().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_scrolls_filters_and_quits() {
    let world = sixty().await;
    let mut terminal = Terminal::open(&world, &["status", "--watch"], false);
    terminal.wait_for("60 of 60, worst first");
    assert!(!terminal.text().contains("\x1b[31m"), "no color");
    terminal.press("\x1b[F");
    terminal.wait_for("extra-57");
    terminal.press("s");
    terminal.wait_for("by name");
    terminal.press("/extra-42\r");
    terminal.wait_for("1 of 60");
    terminal.press("\r");
    terminal.wait_for("provider       OpenAI");
    terminal.press("\x1b");
    terminal.wait_for("1 of 60");
    terminal.press("q");
    let code = terminal.exit();
    assert!(matches!(code, Some(0 | 3)), "{code:?}");
    let text = terminal.text();
    assert!(
        text.contains(NORMAL_SCREEN) && text.contains(CURSOR),
        "{text:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_and_ctrl_c_give_the_terminal_back() {
    let world = sixty().await;
    for how in ["SIGTERM", "Ctrl-C"] {
        let mut terminal = Terminal::open(&world, &["status", "--watch"], true);
        terminal.wait_for("60 of 60");
        if how == "SIGTERM" {
            let pid = Pid::from_raw(terminal.child.id().cast_signed()).unwrap();
            kill_process(pid, Signal::TERM).unwrap();
        } else {
            terminal.press("\x03");
        }
        let code = terminal.exit();
        assert!(matches!(code, Some(0 | 3)), "{how}: {code:?}");
        let text = terminal.text();
        assert!(
            text.contains(NORMAL_SCREEN) && text.contains(CURSOR),
            "{how}: {text:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_of_the_table_is_wider_than_the_terminal() {
    let world = sixty().await;
    let mut terminal = Terminal::open(&world, &["status"], false);
    let code = terminal.exit();
    assert!(matches!(code, Some(0 | 3)), "{code:?}");
    let text = terminal.text();
    let rows = text.lines().filter(|line| line.contains("extra-"));
    let widths: Vec<_> = rows.map(|line| line.trim_end().chars().count()).collect();
    assert_eq!(widths.len(), 58, "{text}");
    assert!(widths.iter().all(|width| *width <= 80), "{text}");
}
