//! One probe: a real request on its own connection, with a time limit for every stage, and the
//! sample that records it.
//!
//! A failed probe is data: remote failures are never returned as errors. Nothing is retried,
//! redirected or cached, since a monitor needs the first attempt.

mod connectivity;
mod credentials;
mod end;
mod mcp;
mod pool;
mod proxy;
mod record;
mod run;
mod timestamped_stream;
mod transport;
mod websocket;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

pub use connectivity::ConnectivityChecks;

use self::credentials::Credentials;
use self::pool::Pool;
use self::proxy::Proxies;
use self::run::Run;
use self::timestamped_stream::TimestampingSocket;
use crate::config::{Settings, client_identity, extra_roots};
use llmwatch_core::model::{
    Api, ClientIdentity, Connection, Endpoint, EndpointName, Sample, Timeouts, Timestamp, Trigger,
    Warning,
};
use llmwatch_core::protocol::catalog;
use llmwatch_core::protocol::dialect::Adaptations;

/// How long a provider may take to say which of its models it is about to shut down, or how much
/// credit is left.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(10);

/// Why a prober cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProberSetupError {
    /// The extra root certificates cannot be read.
    #[error("cannot use `ca_file` `{path}`: {why}", path = path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// A client certificate cannot be used.
    #[error("cannot use `client_cert` `{path}`: {why}", path = path.display())]
    ClientCertificate {
        /// The certificate file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// When and why a probe is made.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    /// When it was scheduled to start.
    pub scheduled_at: Timestamp,
    /// When it actually starts.
    pub started_at: Timestamp,
    /// Why.
    pub trigger: Trigger,
}

/// The state that all probes share.
#[derive(Debug, Clone)]
pub struct Prober {
    tls: Arc<ClientConfig>,
    /// The TLS configurations of endpoints with a client certificate.
    tls_with: Arc<BTreeMap<ClientIdentity, Arc<ClientConfig>>>,
    /// The TLS configuration of proxies that are reached over TLS.
    proxy_tls: Arc<ClientConfig>,
    proxies: Arc<Proxies>,
    location: String,
    pool: Arc<Pool>,
    credentials: Arc<Credentials>,
    /// How each endpoint's requests are adapted to what the server rejected.
    adaptations: Arc<Mutex<BTreeMap<EndpointName, Adaptations>>>,
    /// When each endpoint's model was last looked up.
    looked_up: Arc<Mutex<BTreeMap<(LookUp, EndpointName), Instant>>>,
    _stamping: Arc<TimestampingSocket>,
}

/// What is looked up beside a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LookUp {
    /// The list of models.
    Models,
    /// The account's credit.
    Credit,
}

impl LookUp {
    fn every(self) -> Duration {
        match self {
            Self::Models => Duration::from_hours(24),
            Self::Credit => Duration::from_hours(1),
        }
    }
}

impl Prober {
    /// Creates a prober that trusts the system's roots and those of `ca_file`.
    ///
    /// # Errors
    /// When `ca_file` cannot be read or TLS cannot be set up.
    pub fn new(settings: &Settings) -> Result<Self, ProberSetupError> {
        let roots = roots(settings)?;
        let mut tls_with = BTreeMap::new();
        for identity in settings.endpoints.iter().filter_map(|e| e.client.as_ref()) {
            if !tls_with.contains_key(identity) {
                let tls = tls_config(&roots, Some(identity))?;
                tls_with.insert(identity.clone(), Arc::new(tls));
            }
        }
        let tls = tls_config(&roots, None)?;
        let mut proxy_tls = tls.clone();
        proxy_tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: Arc::new(tls),
            tls_with: Arc::new(tls_with),
            proxy_tls: Arc::new(proxy_tls),
            proxies: Arc::new(Proxies::new(&settings.monitor.proxy)),
            location: settings.monitor.location.clone(),
            pool: Arc::default(),
            credentials: Arc::default(),
            adaptations: Arc::default(),
            looked_up: Arc::default(),
            _stamping: Arc::new(TimestampingSocket::begin()),
        })
    }

    /// Returns the TLS configuration of an endpoint, with its client certificate if it has one.
    fn tls_of(&self, endpoint: &Endpoint) -> Arc<ClientConfig> {
        let tls = endpoint
            .client
            .as_ref()
            .and_then(|identity| self.tls_with.get(identity))
            .unwrap_or(&self.tls);
        if endpoint.api != Api::Realtime {
            return tls.clone();
        }
        // A WebSocket starts as an HTTP/1.1 request.
        let mut tls = (**tls).clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(tls)
    }

    /// Probes `endpoint` once.
    pub async fn probe(&self, endpoint: &Endpoint, due: Due) -> Sample {
        let blank = record::blank(endpoint, due, &self.location);
        let mut sample = Run::new(self, endpoint, due.started_at).probe(blank).await;
        if self.wants_look_up(LookUp::Models, endpoint, &sample) {
            let model = endpoint.model.as_deref().unwrap_or_default();
            match catalog::shutdown(endpoint.provider, model) {
                Some((date, successor)) => {
                    sample.model_retires_at = record::moment(date);
                    sample.model_successor = successor.map(str::to_owned);
                }
                None if catalog::lists_shutdowns(endpoint.provider) => {
                    let answer = self.look_up("", endpoint, due).await;
                    sample.model_retires_at = answer.model_retires_at;
                    sample.model_successor = answer.model_successor;
                }
                None => {}
            }
        }
        if !catalog::credit_paths(endpoint.provider).is_empty()
            && self.wants_look_up(LookUp::Credit, endpoint, &sample)
        {
            self.add_credit(&mut sample, endpoint, due).await;
        }
        sample
    }

    /// Adds how much credit is left, or that this key cannot know it.
    async fn add_credit(&self, sample: &mut Sample, endpoint: &Endpoint, due: Due) {
        for path in catalog::credit_paths(endpoint.provider) {
            let answer = self.look_up(path, endpoint, due).await;
            if answer.credit_left.is_some() {
                sample.credit_left = answer.credit_left;
                sample.credit_currency = answer.credit_currency;
                return;
            }
            // A server in trouble says nothing about the key.
            if !matches!(answer.http_status, Some(200 | 401 | 403)) {
                return;
            }
        }
        sample.warnings.push(Warning::CreditHidden);
    }

    /// Reports whether to look up the model's shutdown date: once a day, after a successful
    /// scheduled probe.
    fn wants_look_up(&self, what: LookUp, endpoint: &Endpoint, sample: &Sample) -> bool {
        if matches!(
            endpoint.api,
            Api::Models | Api::Http | Api::Mcp | Api::Realtime | Api::Speech | Api::Transcription
        ) || sample.trigger != Trigger::Schedule
            || sample.fault.is_some()
        {
            return false;
        }
        let mut looked_up = self
            .looked_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (what, endpoint.name.clone());
        if looked_up
            .get(&key)
            .is_some_and(|at| at.elapsed() < what.every())
        {
            return false;
        }
        looked_up.insert(key, Instant::now());
        true
    }

    /// What the provider says at `path`; of its models where that is empty.
    async fn look_up(&self, path: &str, endpoint: &Endpoint, due: Due) -> Sample {
        let list = Endpoint {
            api: Api::Models,
            path: path.to_owned(),
            body: None,
            connection: Connection::Fresh,
            timeouts: Timeouts {
                total: LOOK_UP_WITHIN.min(endpoint.timeouts.total),
                ..endpoint.timeouts
            },
            ..endpoint.clone()
        };
        let blank = record::blank(&list, due, &self.location);
        Run::new(self, &list, due.started_at).probe(blank).await
    }
}

/// Loads the trusted roots: the system's and those of `ca_file`.
fn roots(settings: &Settings) -> Result<RootCertStore, ProberSetupError> {
    let mut roots = RootCertStore::empty();
    // Without system roots, plain HTTP and servers trusted by `ca_file` still work.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &settings.process.ca_file {
        let failed = |why: String| ProberSetupError::Roots {
            path: path.clone(),
            why,
        };
        roots.add_parsable_certificates(extra_roots(path).map_err(failed)?);
    }
    Ok(roots)
}

/// Creates the TLS configuration of a probe: HTTP/2 if offered, and a client certificate if
/// configured.
fn tls_config(
    roots: &RootCertStore,
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, ProberSetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots.clone());
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let failed = |why: String| ProberSetupError::ClientCertificate {
                path: identity.certificate.clone(),
                why,
            };
            let (chain, key) = client_identity(identity).map_err(failed)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| failed(e.to_string()))?
        }
    };
    // A resumed session would hide the cost of a fresh connection.
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
