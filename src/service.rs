//! The service manager's side: readiness, status, watchdog, reload (`sd_notify(3)`). Without one, nothing happens.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// The connection to the service manager.
#[derive(Debug, Clone, Default)]
pub struct Service(Option<Arc<UnixDatagram>>);

impl Service {
    /// The service manager that started this process, as `$NOTIFY_SOCKET` says.
    pub fn from_env() -> Self {
        std::env::var_os("NOTIFY_SOCKET").map(|path| Self::at(&path)).unwrap_or_default()
    }

    /// The service manager that listens at `path`; a leading `@` means the abstract namespace.
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

    /// Everything is up, or a reload is done.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// How things are, in one line.
    pub fn status(&self, line: &str) {
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        self.send(&format!("STATUS={line}"));
    }

    /// The part that records is alive.
    pub fn watchdog(&self) {
        self.send("WATCHDOG=1");
    }

    /// A reload begins. Both lines are one datagram, as systemd 253 and later want it.
    pub fn reloading(&self) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()));
    }

    /// The end begins.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The start may take so much longer from now on.
    pub fn extend_timeout(&self, by: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", by.as_micros()));
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.0 {
            // A service manager that does not listen changes nothing about the monitoring.
            let _ = socket.send(message.as_bytes());
        }
    }
}

/// `CLOCK_MONOTONIC` in microseconds, which systemd compares a reload's beginning with.
fn monotonic_us() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_hears_what_happens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let service = Service::at(path.as_os_str());
        let heard = || {
            let mut buffer = [0; 256];
            let n = manager.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..n]).into_owned()
        };
        service.ready();
        assert_eq!(heard(), "READY=1");
        service.status("2 endpoints,\n1 outage");
        assert_eq!(heard(), "STATUS=2 endpoints,1 outage");
        service.reloading();
        let reloading = heard();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        Service::at(OsStr::new("/nowhere/at/all")).ready();
    }
}
