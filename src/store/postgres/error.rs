//! Errors of the shared store: those that need a change, and temporary ones.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

use crate::config::PostgresUrl;
use crate::redact::Redactor;

/// The most characters of a server's words.
const MAX_WORDS: usize = 300;

/// Why the shared store could not be used. The text never holds the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SharedError {
    /// The configuration, the database or the release must change first.
    #[error("the store `{url}` cannot be used: {why}")]
    Refused {
        /// The URL without its password.
        url: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// It does not respond, or not as expected. This may pass.
    #[error("the store `{url}` cannot be reached: {why}")]
    Unreachable {
        /// The URL without its password.
        url: String,
        /// What was tried and what happened.
        why: String,
    },
    /// The server reported a serialization conflict: repeat the transaction.
    #[error("the store `{url}` asks for the transaction to be repeated")]
    Busy {
        /// The URL without its password.
        url: String,
    },
}

impl SharedError {
    /// Creates an error that needs a change.
    pub(super) fn refused(url: &PostgresUrl, why: impl Into<String>) -> Self {
        Self::Refused {
            url: url.shown(),
            why: why.into(),
        }
    }

    /// Creates an error about missing privileges of the role.
    pub(super) fn lacks_rights(url: &PostgresUrl, message: &str) -> Self {
        let role = &url.user;
        let database = &url.database;
        Self::refused(
            url,
            format!(
                "role `{role}` lacks rights ({message}): make it the owner, `ALTER DATABASE {database} OWNER TO {role}` and \
                 `ALTER SCHEMA public OWNER TO {role}`, and of tables that another role has made, `REASSIGN OWNED BY \
                 other_role TO {role}`"
            ),
        )
    }

    /// Creates a temporary error.
    pub(super) fn unreachable(url: &PostgresUrl, why: impl Into<String>) -> Self {
        Self::Unreachable {
            url: url.shown(),
            why: why.into(),
        }
    }

    /// Converts a driver error.
    pub(super) fn of(url: &PostgresUrl, error: &tokio_postgres::Error) -> Self {
        if is_transient(error) {
            return Self::Busy { url: url.shown() };
        }
        if let Some(answer) = error.as_db_error() {
            let message = &presentable(url, answer.message());
            let role = &url.user;
            let database = &url.database;
            let code = answer.code();
            let why = if *code == SqlState::INVALID_PASSWORD {
                format!(
                    "the server rejects the password of role `{role}`: set the right one in `[store] url`"
                )
            } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
                && (message.contains("no encryption") || message.contains("SSL off"))
            {
                format!(
                    "the server does not let role `{role}` in without TLS ({message}): write `?sslmode=verify-full`, or create \
                     the role and allow it in pg_hba.conf"
                )
            } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
                format!(
                    "the server refuses role `{role}` ({message}): create the role, or allow it in pg_hba.conf"
                )
            } else if *code == SqlState::INVALID_CATALOG_NAME {
                format!(
                    "there is no database `{database}`: create it with `createdb --encoding=UTF8 --template=template0 \
                     --owner={role} {database}`"
                )
            } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
                return Self::lacks_rights(url, message);
            } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
                // A standby that was the primary until just now.
                return Self::unreachable(url, "the server has become read-only");
            } else {
                return Self::unreachable(
                    url,
                    format!(
                        "the server answers {}: {message}",
                        presentable(url, code.code())
                    ),
                );
            };
            return Self::refused(url, why);
        }
        let causes = presentable(url, &causes(error));
        if causes.contains("certificate") || causes.contains("UnknownIssuer") {
            return Self::refused(url, certificate_refused(&causes));
        }
        if causes.contains("server does not support TLS") {
            return Self::refused(
                url,
                "the server does not offer TLS: turn `ssl` on there, or write `?sslmode=disable` on a trusted network",
            );
        }
        if causes.contains("password missing") {
            return Self::refused(
                url,
                format!(
                    "the server asks for the password of role `{}` and the URL has none",
                    url.user
                ),
            );
        }
        Self::unreachable(url, causes)
    }

    /// Reports whether the configuration, the database or the release must change before a start
    /// can succeed.
    pub fn is_misconfiguration(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// Masks the password in a server's words, in every form, and shortens them.
fn presentable(url: &PostgresUrl, words: &str) -> String {
    let cut: String = words.chars().take(MAX_WORDS).collect();
    Redactor::of_secrets(url.password.as_ref()).clean_cut(&cut)
}

/// Explains why the server's certificate is rejected, and what to do.
fn certificate_refused(causes: &str) -> String {
    // The library's words for the first two are names of its types.
    let why = if causes.contains("UnknownIssuer") {
        "it is not signed by a CA that this machine trusts: set `[monitor] ca_file` to the CA's certificate"
    } else if causes.contains("CaUsedAsEndEntity") {
        "it is a CA certificate, not a server certificate: issue one for the server from your own CA, and set \
         `[monitor] ca_file` to that CA's certificate"
    } else if let Some(at) = causes.find("certificate not valid for name") {
        let names = causes[at..].replacen("certificate not", "certificate is not", 1);
        let names = names.replace("DnsName(\"", "`").replace("\")", "`");
        return format!("its {names}: use a host name from the certificate in the URL");
    } else if causes.contains("expired") {
        "it has expired: renew it on the server"
    } else {
        return format!(
            "its certificate is not accepted ({causes}): use a host name from the certificate in the URL, and set \
             `[monitor] ca_file` to the CA's certificate"
        );
    };
    format!("its certificate is not accepted: {why}")
}

/// Reports whether the same transaction may succeed if repeated at once.
pub(super) fn is_transient(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED
    })
}

/// Reports whether another daemon may be creating the same tables right now.
pub(super) fn is_race(error: &tokio_postgres::Error) -> bool {
    is_transient(error)
        || error.code().is_some_and(|code| {
            [
                SqlState::UNIQUE_VIOLATION,
                SqlState::DUPLICATE_TABLE,
                SqlState::DUPLICATE_OBJECT,
                SqlState::INTERNAL_ERROR,
                SqlState::UNDEFINED_TABLE,
            ]
            .contains(code)
        })
}

/// Formats `error` and its causes in one line.
fn causes(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        let message = message.split(" (os error ").next().unwrap_or_default();
        if !text.contains(message) {
            text += &format!(": {message}");
        }
        cause = error.source();
    }
    text
}
