//! The HTTP client of everything but probes: webhooks, vendor status pages, the heartbeat and the
//! OTLP export. Like probes, it uses the proxy of `[monitor]` and trusts its extra root
//! certificates.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Proxy as Via, redirect};
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use crate::config::{Proxy, Settings, extra_roots, is_local};

/// Builds the client with the proxy and the root certificates of `settings`.
///
/// # Errors
/// What cannot be used; without secrets.
pub fn client(builder: ClientBuilder, settings: &Settings) -> Result<Client, String> {
    // For library users; `main` has already done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = builder
        .user_agent(concat!("llmwatch/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    if settings.monitor.proxy != Proxy::None {
        // The proxy environment as it was when the configuration was read, not as it is now.
        let proxy = settings.monitor.proxy.clone();
        builder = builder.proxy(Via::custom(move |target| {
            // Local targets bypass a single configured proxy.
            let near = matches!(proxy, Proxy::Url(_)) && is_local(target);
            proxy
                .towards(target)
                .filter(|_| !near)
                .and_then(|url| Url::parse(&by_name(url.expose())).ok())
        }));
    }
    if let Some(path) = &settings.process.ca_file {
        let unusable = |why: &dyn std::fmt::Display| format!("cannot use `ca_file`: {why}");
        for root in extra_roots(path).map_err(|why| unusable(&why))? {
            let root = Certificate::from_der(&root).map_err(|e| unusable(&e))?;
            builder = builder.add_root_certificate(root);
        }
    }
    builder
        .build()
        .map_err(|e| format!("HTTP cannot be set up: {e}"))
}

/// Lets a SOCKS proxy resolve names, as probes do.
fn by_name(proxy: &str) -> String {
    match proxy.strip_prefix("socks5://") {
        Some(rest) => format!("socks5h://{rest}"),
        None => proxy.to_owned(),
    }
}

/// Creates a client that follows no redirects and times out after `timeout`.
///
/// # Errors
/// What cannot be used; without secrets.
pub fn without_redirects(timeout: Duration, settings: &Settings) -> Result<Client, String> {
    // Shorter than the total, to distinguish a receiver that was never reached from one that did
    // not answer.
    let connect = timeout.mul_f64(0.75);
    client(
        Client::builder()
            .timeout(timeout)
            .connect_timeout(connect)
            .redirect(redirect::Policy::none()),
        settings,
    )
}

/// TLS settings for protocols other than HTTP; trusts the system's root certificates and those of
/// `ca_file`.
///
/// # Errors
/// What cannot be used.
pub fn tls_config(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    // A system without root certificates can still use those of `ca_file`.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let extra = extra_roots(path).map_err(|why| format!("cannot use `ca_file`: {why}"))?;
        roots.add_parsable_certificates(extra);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Reports whether the connection was refused.
pub fn is_refused(error: &reqwest::Error) -> bool {
    io_error(error).is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

/// Describes why a request to `who` failed, without its URL, error numbers of the operating system
/// or names of libraries.
pub fn error_text(error: &reqwest::Error, who: &str) -> String {
    let reason = match io_error(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => return format!("{who} refuses connections"),
        Some(
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof,
        ) => return format!("{who} closed the connection"),
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            return format!("{who} is unreachable from here");
        }
        _ => innermost(error),
    };
    let kind = if error.is_timeout() && !error.is_connect() {
        return format!("{who} did not answer in time");
    } else if error.is_timeout() {
        return format!("connecting to {who} timed out");
    } else if error.is_connect() {
        format!("{who} is unreachable")
    } else {
        format!("the request to {who} failed")
    };
    reason.map_or_else(|| kind.clone(), |reason| format!("{kind}: {reason}"))
}

fn io_error(error: &reqwest::Error) -> Option<&io::Error> {
    let mut source = error.source();
    let mut found = None;
    while let Some(inner) = source {
        found = inner.downcast_ref::<io::Error>().or(found);
        source = inner.source();
    }
    found
}

fn innermost(error: &reqwest::Error) -> Option<String> {
    let mut source = error.source();
    let mut last = None;
    while let Some(inner) = source {
        last = Some(inner.to_string());
        source = inner.source();
    }
    let text = last?;
    let text = text.split(" (os error").next().unwrap_or_default();
    Some(text.to_owned())
}
