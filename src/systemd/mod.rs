//! The service manager's interface: readiness, status, watchdog and reload (`sd_notify(3)`), and
//! socket activation (`sd_listen_fds(3)`). Without a service manager it does nothing.

use std::ffi::OsStr;
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// Each extension of the start timeout: three times [`EXTEND_EVERY`], so that a busy machine can
/// miss two.
const EXTENSION: Duration = Duration::from_mins(1);
/// How often the timeout is extended.
const EXTEND_EVERY: Duration = Duration::from_secs(20);
/// A longer start counts as hung, and the timeout is no longer extended.
const LONGEST_START: Duration = Duration::from_hours(1);

/// The connection to the service manager.
#[derive(Debug, Clone, Default)]
pub struct Service(Option<Arc<UnixDatagram>>);

impl Service {
    /// Connects to the service manager that started this process, from `$NOTIFY_SOCKET`.
    pub fn from_env() -> Self {
        std::env::var_os("NOTIFY_SOCKET")
            .map(|path| Self::at(&path))
            .unwrap_or_default()
    }

    /// Connects to the service manager at `path`; a leading `@` means the abstract namespace.
    pub fn at(path: &OsStr) -> Self {
        let address = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(path),
        };
        let connect = |address: SocketAddr| {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect_addr(&address)?;
            Ok::<_, std::io::Error>(socket)
        };
        Self(address.and_then(connect).ok().map(Arc::new))
    }

    /// Reports that startup or a reload is complete.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// Sends a one-line status.
    pub fn status(&self, line: &str) {
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        self.send(&format!("STATUS={line}"));
    }

    /// Sends a watchdog keep-alive, on behalf of the pipeline.
    pub fn watchdog(&self) {
        self.send("WATCHDOG=1");
    }

    /// Reports the start of a reload. Both lines are one datagram, as systemd 253 and later
    /// require.
    pub fn reloading(&self) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()));
    }

    /// Reports the start of the shutdown.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Runs `work`, which may take long, and keeps extending the start timeout. `what` is shown as
    /// the status.
    pub async fn patiently<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        self.status(what);
        let asking = async {
            let mut tick = tokio::time::interval(EXTEND_EVERY);
            for _ in 0..LONGEST_START.as_secs() / EXTEND_EVERY.as_secs() {
                tick.tick().await;
                self.send(&format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros()));
            }
            std::future::pending().await
        };
        tokio::select! {
            done = work => done,
            never = asking => never,
        }
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.0 {
            // A failure to notify does not affect monitoring.
            let _ = socket.send(message.as_bytes());
        }
    }
}

/// Returns the listening socket of this name that the service manager passed on (socket
/// activation).
///
/// # Errors
/// When the socket passed under that name is not a TCP listener.
pub fn inherited_listener(name: &str) -> io::Result<Option<TcpListener>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let Some(index) = position(&names, name) else {
        return Ok(None);
    };
    let listener = listenfd::ListenFd::from_env().take_tcp_listener(index)?;
    if let Some(listener) = &listener {
        listener.set_nonblocking(true)?;
    }
    Ok(listener)
}

/// Returns the index of `name` in `$LISTEN_FDNAMES`.
fn position(names: &str, name: &str) -> Option<usize> {
    names.split(':').position(|n| n == name)
}

/// Returns `CLOCK_MONOTONIC` in microseconds, which systemd compares with the start of a reload.
fn monotonic_us() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_manager_is_notified() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let service = Service::at(path.as_os_str());
        let received = || {
            let mut buffer = [0; 256];
            let n = manager.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..n]).into_owned()
        };
        service.ready();
        assert_eq!(received(), "READY=1");
        service.status("2 endpoints,\n1 outage");
        assert_eq!(received(), "STATUS=2 endpoints,1 outage");
        service.reloading();
        let reloading = received();
        assert!(
            reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
            "{reloading}"
        );
        Service::at(OsStr::new("/nowhere/at/all")).ready();
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_start_is_vouched_for_until_it_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let service = Service::at(path.as_os_str());
        service
            .patiently("opening", tokio::time::sleep(Duration::from_secs(50)))
            .await;
        let mut buffer = [0; 256];
        let received: Vec<_> = std::iter::from_fn(|| {
            let n = manager.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..n]).into_owned())
        })
        .collect();
        let extend = "EXTEND_TIMEOUT_USEC=60000000";
        assert_eq!(received, ["STATUS=opening", extend, extend, extend]);
    }

    #[test]
    fn a_passed_socket_is_found_by_its_name() {
        assert_eq!(position("metrics:http", "http"), Some(1));
        assert_eq!(position("llmwatch.socket", "http"), None);
        assert_eq!(position("", "http"), None);
    }
}
