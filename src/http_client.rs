//! How everything but a probe calls out by HTTP (webhooks, the vendors' pages, the heartbeat, a collector): through the
//! proxy of `[monitor]` and trusting its extra roots, as the probes do.

use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Proxy as Via, redirect};
use url::Url;

use crate::config::{Proxy, Settings, is_local};

/// Finishes `builder` for the way out that `settings` describe.
///
/// # Errors
/// What cannot be used, without secrets.
pub fn client(builder: ClientBuilder, settings: &Settings) -> Result<Client, String> {
    // For a library user: `main` has done it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = builder
        .user_agent(concat!("llmwatch/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    if settings.monitor.proxy != Proxy::None {
        // What was read of the environment when the configuration was, and not what stands there now.
        let proxy = settings.monitor.proxy.clone();
        builder = builder.proxy(Via::custom(move |target| {
            // What is near is not asked through the one proxy that leads out.
            let near = matches!(proxy, Proxy::Url(_)) && is_local(target);
            proxy
                .towards(target)
                .filter(|_| !near)
                .and_then(|url| Url::parse(url.expose()).ok())
        }));
    }
    if let Some(path) = &settings.process.ca_file {
        let pem = std::fs::read(path).map_err(|e| format!("cannot read `ca_file`: {e}"))?;
        for root in
            Certificate::from_pem_bundle(&pem).map_err(|e| format!("cannot use `ca_file`: {e}"))?
        {
            builder = builder.add_root_certificate(root);
        }
    }
    builder
        .build()
        .map_err(|e| format!("HTTP cannot be set up: {e}"))
}

/// A client that follows no redirects and gives up after `timeout`.
///
/// # Errors
/// What cannot be used, without secrets.
pub fn without_redirects(timeout: Duration, settings: &Settings) -> Result<Client, String> {
    // Less than the total, so that a receiver that was never reached differs from one that did not answer.
    let connect = timeout.mul_f64(0.75);
    client(
        Client::builder()
            .timeout(timeout)
            .connect_timeout(connect)
            .redirect(redirect::Policy::none()),
        settings,
    )
}

/// What went wrong, without the URL, which is often a secret in itself.
pub fn describe(error: &reqwest::Error) -> String {
    let kind = if error.is_connect() {
        "the receiver cannot be reached"
    } else if error.is_timeout() {
        "the receiver did not answer in time"
    } else {
        "the request failed"
    };
    let mut source = std::error::Error::source(error);
    let mut last = None;
    while let Some(inner) = source {
        last = Some(inner.to_string());
        source = inner.source();
    }
    last.map_or_else(|| kind.to_owned(), |inner| format!("{kind}: {inner}"))
}
