//! `postgres://` URLs of `[store]`, parsed once so that later code never parses the text again.

use std::net::IpAddr;

use super::percent::percent_decoded;
use llmwatch_core::model::Secret;

/// The form of the URL, as shown in errors.
const FORM: &str = "write `postgres://user:${PASSWORD}@host[:port][,host2[:port]]/database?sslmode=verify-full`; in a file or \
                    a credential, special characters of the password are percent-encoded";
/// The default port.
const DEFAULT_PORT: u16 = 5432;
/// The most hosts that a URL may list.
const MAX_HOSTS: usize = 16;

/// Why a URL is invalid, and what to do. Neither repeats any part of the URL.
type UrlError = (String, &'static str);

/// A shared PostgreSQL store, as `[store] url` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// The user (role).
    pub user: String,
    /// The password, if there is one.
    pub password: Option<Secret>,
    /// The hosts, tried in this order. A host that begins with `/` is the directory of a Unix
    /// socket.
    pub hosts: Vec<(String, u16)>,
    /// The database.
    pub database: String,
    /// Encrypt and verify the server's certificate (`sslmode=verify-full`). Otherwise the
    /// connection is unencrypted.
    pub tls: bool,
    /// Reject read-only hosts (`target_session_attrs=read-write`).
    pub read_write: bool,
}

impl PostgresUrl {
    /// Reports whether `text` is meant as a PostgreSQL URL.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("postgres:") || text.starts_with("postgresql:")
    }

    /// Parses a URL.
    ///
    /// # Errors
    /// What is wrong with it and what to do, without any part of the URL that may be secret.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or_else(|| wrong("the store's URL does not begin with `postgres://`"))?;
        if rest.contains(|c: char| c.is_control() || c == ' ') {
            return Err(wrong(
                "the store's URL holds a space or a control character",
            ));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));

        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (decoded(user)?, Some(decoded(password)?)),
            None => (decoded(login)?, None),
        };
        if user.is_empty() {
            return Err(wrong("the store's URL names no user"));
        }
        let database = decoded(database)?;
        if database.is_empty() {
            return Err(wrong("the store's URL names no database"));
        }
        if database.contains('/') {
            return Err(wrong("the store's URL has a path of more than one part"));
        }
        let hosts = read_hosts(hosts)?;
        let near = hosts.iter().all(|(host, _)| is_near(host));
        let mut tls = !near;
        let mut read_write = true;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (key, value) {
                ("sslmode", "verify-full") => tls = true,
                ("sslmode", "disable") => tls = false,
                ("sslmode", "allow" | "prefer" | "require" | "verify-ca") => {
                    return Err((
                        format!(
                            "the store's URL sets `sslmode={value}`, which is not supported because it does not verify the \
                             server's identity"
                        ),
                        "use `sslmode=verify-full` (with `[monitor] ca_file` for a private CA), or `sslmode=disable` on a \
                         trusted network",
                    ));
                }
                ("sslmode", _) => {
                    return Err((
                        "the store's URL has an unknown `sslmode`".to_owned(),
                        "write `verify-full`, which proves the server's identity, or `disable`",
                    ));
                }
                ("target_session_attrs", "read-write") => read_write = true,
                ("target_session_attrs", "any") => read_write = false,
                ("target_session_attrs", _) => {
                    return Err((
                        "the store's URL has an unknown `target_session_attrs`".to_owned(),
                        "write `read-write`, or leave it out",
                    ));
                }
                _ => {
                    return Err((
                        "the store's URL has an unknown parameter".to_owned(),
                        "the parameters are `sslmode` and `target_session_attrs`",
                    ));
                }
            }
        }
        Ok(Self {
            user,
            password: password.map(Secret::new),
            hosts,
            database,
            tls,
            read_write,
        })
    }

    /// Returns the URL without its password, for people.
    pub fn shown(&self) -> String {
        let hosts: Vec<_> = self
            .hosts
            .iter()
            .map(|(host, port)| {
                if host.contains(':') {
                    format!("[{host}]:{port}")
                } else {
                    format!("{host}:{port}")
                }
            })
            .collect();
        format!(
            "postgres://{}@{}/{}",
            self.user,
            hosts.join(","),
            self.database
        )
    }
}

fn read_hosts(text: &str) -> Result<Vec<(String, u16)>, UrlError> {
    let mut hosts = Vec::new();
    for part in text.split(',') {
        let (host, port) = match part.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest
                    .split_once(']')
                    .ok_or_else(|| wrong("an address of the store's URL lacks its `]`"))?;
                (host, after.strip_prefix(':'))
            }
            None => part
                .split_once(':')
                .map_or((part, None), |(host, port)| (host, Some(port))),
        };
        let host = percent_decoded(host)
            .filter(|h| !h.is_empty() && !h.contains('\0'))
            .ok_or_else(|| wrong("the store's URL names no host"))?;
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                wrong("a port of the store's URL is not a number from 1 to 65535")
            })?,
        };
        hosts.push((host, port));
    }
    if hosts.len() > MAX_HOSTS {
        return Err((
            format!("the store's URL names more than {MAX_HOSTS} hosts"),
            "name the primary and its standbys",
        ));
    }
    Ok(hosts)
}

/// Returns what is wrong with a URL's form.
fn wrong(message: &str) -> UrlError {
    (message.to_owned(), FORM)
}

fn decoded(text: &str) -> Result<String, UrlError> {
    percent_decoded(text)
        .filter(|t| !t.contains('\0'))
        .ok_or_else(|| wrong("the store's URL has a broken percent code"))
}

/// Reports whether the connection to `host` never leaves this machine.
fn is_near(host: &str) -> bool {
    host.starts_with('/')
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_postgres_is_verified_by_default() {
        let read = |url: &str| PostgresUrl::parse(url).unwrap();
        let remote = read("postgres://llmwatch:p%40ss@db1,db2:5433/monitor");
        assert_eq!(
            remote.hosts,
            [("db1".to_owned(), 5432), ("db2".to_owned(), 5433)]
        );
        assert_eq!(remote.password.as_ref().unwrap().expose(), "p@ss");
        assert!(remote.tls && remote.read_write);
        assert!(!read("postgres://u@127.0.0.1/d").tls);
        assert!(!read("postgres://u@%2Fvar%2Frun%2Fpostgresql/d").tls);
        assert!(!read("postgres://u@[::1]:6000/d").tls);
        assert!(read("postgres://u@localhost/d?sslmode=verify-full").tls);
        assert!(!read("postgres://u@db/d?sslmode=disable").tls);
        assert_eq!(
            remote.shown(),
            "postgres://llmwatch@db1:5432,db2:5433/monitor"
        );
    }

    #[test]
    fn a_wrong_url_is_refused_without_repeating_its_secret() {
        for url in [
            "postgres:u@host/db",
            "postgres://host/db",
            "postgres://u:hunter22@/db",
            "postgres://u:hunter22@host",
            "postgres://u:hunter22@host:0/db",
            "postgres://u:hunter22@host:port/db",
            "postgres://u:hunter2%2@host/db",
            "postgres://u:hunter22@host/db?sslmode=prefer",
            "postgres://u:hunter22@host/db?target_session_attrs=primary",
            "postgres://u:hunter22@host/db?application_name=x",
            "postgres://u:hunter22@host/db/other",
            "postgres://u:hunt er22@host/db",
        ] {
            let (message, help) = PostgresUrl::parse(url).expect_err(url);
            assert!(!format!("{message}{help}").contains("hunt"), "{message}");
        }
    }
}
