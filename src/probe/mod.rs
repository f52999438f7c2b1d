//! One probe: a real request on a connection of its own, with a limit for every stage, and the sample that records it.
//!
//! A failed probe is data: nothing here returns an error for what the world does. Nothing is retried, redirected or
//! taken from a cache; a monitor wants the first attempt.

mod classify;
mod control;
mod dialect;
mod exchange;
mod head;
mod judge;
mod lines;
mod pool;
mod proxy;
mod record;
mod run;
mod sse;
mod stamped;
mod transport;
mod x509;

#[cfg(test)]
mod fixtures;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

pub use control::Controls;

use self::pool::Pool;
use self::proxy::Proxies;
use self::run::Run;
use crate::config::Monitor;
use crate::model::{Endpoint, Sample, Timestamp, Trigger};

/// Why nothing can be probed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The extra roots cannot be read.
    #[error("cannot use `ca_file` `{path}`: {why}", path = path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// TLS cannot be set up at all.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// When and why a probe is made.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    /// When it should begin.
    pub scheduled_at: Timestamp,
    /// When it does.
    pub started_at: Timestamp,
    /// Why.
    pub trigger: Trigger,
}

/// What all probes share.
#[derive(Debug, Clone)]
pub struct Prober {
    tls: Arc<ClientConfig>,
    proxies: Arc<Proxies>,
    location: String,
    pool: Arc<Pool>,
    /// Endpoints whose server has asked for the other name of the token budget.
    other_budget: Arc<Mutex<BTreeSet<String>>>,
}

impl Prober {
    /// A prober with the system's trusted roots and those of `ca_file`.
    ///
    /// # Errors
    /// When `ca_file` cannot be read or TLS cannot be set up.
    pub fn new(monitor: &Monitor) -> Result<Self, SetupError> {
        Ok(Self {
            tls: Arc::new(tls_config(monitor)?),
            proxies: Arc::new(Proxies::new(&monitor.proxy)),
            location: monitor.location.clone(),
            pool: Arc::default(),
            other_budget: Arc::default(),
        })
    }

    /// Probes `endpoint` once.
    pub async fn probe(&self, endpoint: &Endpoint, due: Due) -> Sample {
        Run::new(self, endpoint, due.started_at).probe(record::blank(endpoint, due, &self.location)).await
    }
}

/// The TLS of everything that goes out: the system's roots and those of `ca_file`, HTTP/2 where it is offered.
fn tls_config(monitor: &Monitor) -> Result<ClientConfig, SetupError> {
    let mut roots = RootCertStore::empty();
    // A system without roots still reaches plain HTTP and whatever `ca_file` vouches for.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &monitor.ca_file {
        let failed = |why: String| SetupError::Roots { path: path.clone(), why };
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?.collect();
        let certificates = certificates.map_err(|e| failed(e.to_string()))?;
        if certificates.is_empty() {
            return Err(failed("it holds no certificate in PEM form".to_owned()));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|e| failed(e.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A resumed session would hide what a fresh connection costs.
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
