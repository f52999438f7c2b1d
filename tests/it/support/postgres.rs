//! A real PostgreSQL server of a test's own, from the installed programs.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start or stop.
const LIMIT: Duration = Duration::from_mins(1);

/// A server on loopback. It ends with the test.
pub(crate) struct Postgres {
    programs: PathBuf,
    directory: tempfile::TempDir,
    pub(crate) port: u16,
    child: Option<Child>,
}

/// Where the programs of the newest installed server lie.
fn programs() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut found: Vec<_> = debian
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    found.sort();
    found.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path));
    let needed = ["initdb", "postgres", "psql", "pg_basebackup"];
    found
        .into_iter()
        .find(|programs| needed.iter().all(|name| programs.join(name).exists()))
}

/// The server refuses to run as root; then it runs as `nobody`.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    let own = std::fs::metadata("/proc/self").unwrap();
    std::os::unix::fs::MetadataExt::uid(&own) == 0
}

impl Postgres {
    /// A new server without data; `None`, and a line about it, where none is installed.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let server = Self::start_with(&[], &[]);
        if server.is_none() {
            super::skipped(test, "no PostgreSQL server is installed");
        }
        server
    }

    /// The same with more arguments for `initdb`, and lines for postgresql.conf.
    pub(crate) fn start_with(arguments: &[&str], settings: &[&str]) -> Option<Self> {
        let programs = programs()?;
        let directory = tempfile::tempdir().unwrap();
        if is_root() {
            std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut server = Self {
            programs,
            directory,
            port,
            child: None,
        };
        let data = server.data();
        let mut initdb = server.command("initdb");
        initdb
            .args([
                "-D",
                data.to_str().unwrap(),
                "-U",
                "llmwatch",
                "-A",
                "trust",
                "-N",
            ])
            .args(if arguments.is_empty() {
                &["-E", "UTF8", "--no-locale"]
            } else {
                arguments
            });
        let made = initdb.output().unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let mut conf = std::fs::read_to_string(data.join("postgresql.conf")).unwrap();
        for line in settings {
            conf += &format!("\n{line}");
        }
        std::fs::write(data.join("postgresql.conf"), conf).unwrap();
        server.up();
        Some(server)
    }

    /// A standby that follows `primary`.
    pub(crate) fn standby_of(primary: &Self) -> Self {
        let directory = tempfile::tempdir().unwrap();
        if is_root() {
            std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut standby = Self {
            programs: primary.programs.clone(),
            directory,
            port,
            child: None,
        };
        let data = standby.data();
        let mut copy = standby.command("pg_basebackup");
        let from = format!("host=127.0.0.1 port={} user=llmwatch", primary.port);
        copy.args([
            "-D",
            data.to_str().unwrap(),
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "-d",
            &from,
        ]);
        let made = copy.output().unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        standby.up();
        standby
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .current_dir(self.directory.path())
            .env("LC_ALL", "C");
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn up(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.path().join("log"))
            .unwrap();
        let data = self.data();
        let mut command = self.command("postgres");
        command
            .args(["-D", data.to_str().unwrap(), "-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .args([
                "-c",
                &format!(
                    "unix_socket_directories={}",
                    self.directory.path().display()
                ),
            ])
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(command.spawn().unwrap());
        let deadline = Instant::now() + LIMIT;
        while !self.answers() {
            assert!(
                Instant::now() < deadline,
                "PostgreSQL did not start:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn answers(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            && self.try_query("postgres", "SELECT 1").is_ok()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The file of host-based authentication.
    pub(crate) fn hba(&self) -> PathBuf {
        self.data().join("pg_hba.conf")
    }

    /// Ends it at once, as a machine that loses its power does.
    pub(crate) fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            // SIGQUIT: immediate shutdown, children included.
            let pid = child.id().to_string();
            let _ = Command::new("sh")
                .args(["-c", "kill -s QUIT $0", &pid])
                .status();
            let _ = child.wait();
        }
    }

    /// Makes a standby the primary.
    pub(crate) fn promote(&self) {
        let data = self.data();
        let mut command = self.command("pg_ctl");
        let done = command
            .args(["-D", data.to_str().unwrap(), "-w", "promote"])
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stdout)
        );
    }

    /// The lines that a query gives.
    pub(crate) fn try_query(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = self.command("psql");
        psql.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-U",
            "llmwatch",
            "-At",
        ])
        .args(["-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
        let done = psql.output().unwrap();
        if done.status.success() {
            Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&done.stderr).into_owned())
        }
    }

    /// The same for a query that has to succeed.
    pub(crate) fn query(&self, database: &str, sql: &str) -> String {
        self.try_query(database, sql)
            .unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// The URL of `database` for `user`.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// A new database, and its URL.
    pub(crate) fn database(&self, name: &str) -> String {
        self.query("postgres", &format!("CREATE DATABASE {name}"));
        self.url("llmwatch", name)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.down();
    }
}
