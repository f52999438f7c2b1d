//! A real PostgreSQL server for one test, from the installed programs.

use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::free_port;

/// How long a server may take to start or stop.
const LIMIT: Duration = super::PATIENCE;

/// A server on loopback. It stops when dropped.
pub(crate) struct Postgres {
    programs: PathBuf,
    directory: tempfile::TempDir,
    pub(crate) port: u16,
    child: Option<Child>,
}

/// Finds the programs of the newest installed server.
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

/// A connection pooler in transaction mode in front of a server. It stops when dropped.
pub(crate) struct Pooler {
    child: Child,
    pub(crate) port: u16,
    _directory: tempfile::TempDir,
}

impl Pooler {
    /// Starts a pooler. Returns `None` and reports it if no pooler is installed.
    pub(crate) fn start(test: &str, server: &Postgres) -> Option<Self> {
        let program = std::path::Path::new("/usr/sbin/pgbouncer");
        if !program.exists() {
            super::skipped(test, "pgbouncer is not installed");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let users = directory.path().join("users");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\ndefault_pool_size = 3\n",
            server.port,
            users.display()
        );
        let file = directory.path().join("pgbouncer.ini");
        std::fs::write(&users, "\"llmwatch\" \"\"\n").unwrap();
        std::fs::write(&file, settings).unwrap();
        if is_root() {
            for path in [directory.path(), &users, &file] {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let mut command = Command::new(program);
        command
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let pooler = Self {
            child: command.spawn().unwrap(),
            port,
            _directory: directory,
        };
        let deadline = Instant::now() + LIMIT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "pgbouncer did not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(pooler)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A small in-memory file system for the server. It is unmounted when dropped.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts it. Returns `None` and reports it if mounting is not permitted.
    pub(crate) fn mount(test: &str, size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={size},uid={NOBODY},gid={NOBODY},mode=700");
        let mounted = is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
                .arg(directory.path())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success());
        if !mounted {
            super::skipped(test, "a file system can be mounted by root only");
            return None;
        }
        Some(Self(directory))
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because the server may stop a moment later.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// The server refuses to run as root; in that case it runs as `nobody`.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    let own = std::fs::metadata("/proc/self").unwrap();
    std::os::unix::fs::MetadataExt::uid(&own) == 0
}

impl Postgres {
    /// Starts a new server without data. Returns `None` and reports it if none is installed.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let server = Self::start_with(&[], &[]);
        if server.is_none() {
            super::skipped(test, "no PostgreSQL server is installed");
        }
        server
    }

    /// Starts a server with extra arguments for `initdb` and extra lines for postgresql.conf.
    pub(crate) fn start_with(arguments: &[&str], settings: &[&str]) -> Option<Self> {
        let programs = programs()?;
        let directory = tempfile::tempdir().unwrap();
        if is_root() {
            std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let port = free_port();
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

    /// Starts a standby of `primary`.
    pub(crate) fn standby_of(primary: &Self) -> Self {
        let directory = tempfile::tempdir().unwrap();
        if is_root() {
            std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let port = free_port();
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

    /// Starts the server and waits until it accepts connections.
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

    /// Returns the server's log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The path of `pg_hba.conf`.
    pub(crate) fn hba(&self) -> PathBuf {
        self.data().join("pg_hba.conf")
    }

    /// Writes a file into the data directory that only the server may read. Returns its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.data().join(name);
        std::fs::write(&path, content).unwrap();
        let secret = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, secret).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        path
    }

    /// Changes a setting that needs no restart.
    pub(crate) fn set(&self, key: &str, value: &str) {
        self.query("postgres", &format!("ALTER SYSTEM SET {key} = '{value}'"));
        self.reload();
    }

    /// Reloads the configuration.
    pub(crate) fn reload(&self) {
        self.query("postgres", "SELECT pg_reload_conf()");
        std::thread::sleep(Duration::from_millis(200));
    }

    /// Stops the server immediately, as a power failure does.
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

    /// Promotes a standby to primary.
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

    /// Returns the rows of a query.
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

    /// Returns the rows of a query that must succeed.
    pub(crate) fn query(&self, database: &str, sql: &str) -> String {
        self.try_query(database, sql)
            .unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// Returns the URL of `database` for `user`.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates a database and returns its URL.
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
