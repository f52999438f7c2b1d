//! Dynamic credentials: tokens of Microsoft Entra ID and Google, temporary keys of AWS. They are
//! fetched on demand and cached until shortly before they expire.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt as _, Limited};
use ring::rand::SystemRandom;
use ring::signature::RSA_PKCS1_SHA256;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Prober;
use super::end::{End, explain, message, of_hyper};
use super::pool::HttpConnection;
use super::transport::{self, ConnectionTimes, ProxyRoute};
use crate::clock::uptime;
use crate::config::service_key;
use crate::files;
use crate::redact::Redactor;
use llmwatch_core::model::{
    Aws, AwsKeys, AwsSource, Endpoint, Entra, Fault, Google, GoogleSource, Secret, Timestamp,
};
use llmwatch_core::protocol::dialect::{Credential, Request};
use llmwatch_core::protocol::{aws_credentials, entra_token, google_token};

/// A token is refreshed when it has less than this left.
const SPARE: Duration = Duration::from_mins(5);
/// Time limit of all steps of a fetch, and size limit of a response.
const WITHIN: Duration = Duration::from_secs(10);
const MAX_BYTES: usize = 64 * 1024;
/// Time limit of a metadata service, on this machine or its network.
const METADATA_WITHIN: Duration = Duration::from_secs(2);
/// How long the keys of a profile are cached before the file is read again.
const PROFILE_LIFE: Duration = Duration::from_mins(1);
/// The credential of one request.
#[derive(Debug, Clone)]
pub(super) enum Held {
    /// The key of the configuration.
    Configured,
    /// A token, and what masks it.
    Token(Secret, Redactor),
    /// AWS keys, and what masks them.
    Aws(AwsKeys, Redactor),
}

impl Held {
    /// Returns the credential in the form that requests take.
    pub(super) fn credential(&self) -> Credential<'_> {
        match self {
            Self::Configured => Credential::Configured,
            Self::Token(token, _) => Credential::Token(token.expose()),
            Self::Aws(keys, _) => Credential::Aws(keys),
        }
    }

    /// Masks the credential in a text of the server's.
    pub(super) fn mask(&self, text: &str) -> String {
        match self {
            Self::Configured => text.to_owned(),
            Self::Token(_, redactor) | Self::Aws(_, redactor) => redactor.clean_cut(text),
        }
    }

    fn token(token: Secret) -> Self {
        let redactor = Redactor::of_secrets([&token]);
        Self::Token(token, redactor)
    }

    fn aws(keys: AwsKeys) -> Self {
        let redactor = Redactor::of_secrets(keys.secrets());
        Self::Aws(keys, redactor)
    }
}

/// The source of a cached credential. It may contain secrets, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct CredentialSource(String);

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl CredentialSource {
    fn of(endpoint: &Endpoint) -> Option<Self> {
        if let Some(entra) = &endpoint.entra {
            let secret = entra.client_secret.expose();
            return Some(Self(format!(
                "{} {} {} {secret}",
                entra.token_url, entra.client_id, entra.scope
            )));
        }
        if let Some(aws) = &endpoint.aws {
            return match &aws.source {
                AwsSource::ApiKey | AwsSource::Keys(_) => None,
                source => Some(Self(format!("{source:?}"))),
            };
        }
        match &endpoint.google.as_ref()?.source {
            GoogleSource::None => None,
            GoogleSource::ServiceAccount {
                client_email,
                key_id,
                token_url,
                ..
            } => Some(Self(format!(
                "{token_url} {} {}",
                client_email.expose(),
                key_id.expose()
            ))),
            GoogleSource::AuthorizedUser {
                refresh_token,
                token_url,
                ..
            } => Some(Self(format!("{token_url} {}", refresh_token.expose()))),
            GoogleSource::Metadata { url } => Some(Self(url.to_string())),
        }
    }
}

/// The cached credentials of all endpoints, by source, with their expiry. Expiry is in machine
/// uptime, which includes suspension, since tokens age then as well.
#[derive(Debug, Default)]
pub(super) struct Credentials(Mutex<BTreeMap<CredentialSource, (Held, Duration)>>);

impl Credentials {
    async fn kept(&self, source: &CredentialSource) -> Option<Held> {
        let kept = self.0.lock().await;
        kept.get(source)
            .filter(|(_, until)| *until > uptime())
            .map(|(held, _)| held.clone())
    }

    async fn keep(&self, source: CredentialSource, held: Held, life: Duration) {
        // A lifetime shorter than the spare is used up to half.
        let until = uptime() + life.saturating_sub(SPARE).max(life / 2);
        self.0.lock().await.insert(source, (held, until));
    }
}

/// Returns the credential of `endpoint`, and how long it took if it was fetched. An error ends the
/// probe.
pub(super) async fn obtain(
    prober: &Prober,
    endpoint: &Endpoint,
    now: Timestamp,
) -> (Result<Held, End>, Option<Duration>) {
    if let Some(Aws {
        source: AwsSource::Keys(keys),
        ..
    }) = &endpoint.aws
    {
        return (Ok(Held::Aws(keys.clone(), Redactor::default())), None);
    }
    let Some(source) = CredentialSource::of(endpoint) else {
        return (Ok(Held::Configured), None);
    };
    if let Some(held) = prober.credentials.kept(&source).await {
        return (Ok(held), None);
    }
    let began = Instant::now();
    let fetch = Fetch { prober, now };
    let fetched = tokio::time::timeout(WITHIN, fetch.of(endpoint)).await;
    let took = Some(began.elapsed());
    match fetched {
        Err(_) => {
            let words = "no answer from the identity provider".to_owned();
            (Err(End::Broken(Fault::TimeoutHeaders, words)), took)
        }
        Ok(Err((fault, words))) => (Err(End::Broken(fault, words)), took),
        Ok(Ok((held, life))) => {
            prober.credentials.keep(source, held.clone(), life).await;
            (Ok(held), took)
        }
    }
}

type Fetched = Result<(Held, Duration), (Fault, String)>;

struct Fetch<'a> {
    prober: &'a Prober,
    now: Timestamp,
}

impl Fetch<'_> {
    async fn of(&self, endpoint: &Endpoint) -> Fetched {
        if let Some(entra) = &endpoint.entra {
            self.entra(entra).await
        } else if let Some(aws) = &endpoint.aws {
            self.aws(aws).await
        } else if let Some(google) = &endpoint.google {
            self.google(google).await
        } else {
            Ok((Held::Configured, Duration::ZERO))
        }
    }

    async fn entra(&self, entra: &Entra) -> Fetched {
        self.token(&entra_token::request(entra), &[]).await
    }

    /// Fetches an OAuth 2.0 token with a request that holds `secrets` beside those of the
    /// configuration.
    async fn token(&self, request: &Request, secrets: &[Secret]) -> Fetched {
        let fetched = async {
            let (status, body) = self
                .send(request, MetadataRoute::Usual)
                .await
                .map_err(|(fault, words)| (fault, format!("the identity provider: {words}")))?;
            let (token, life) = entra_token::read(status, &body)?;
            Ok((Held::token(token), life))
        };
        masked(fetched.await, secrets)
    }

    async fn google(&self, google: &Google) -> Fetched {
        match &google.source {
            GoogleSource::None => Ok((Held::Configured, Duration::ZERO)),
            GoogleSource::ServiceAccount {
                client_email,
                key_id,
                private_key,
                token_url,
            } => {
                let unsigned = google_token::unsigned(
                    client_email.expose(),
                    key_id.expose(),
                    token_url,
                    self.now,
                );
                let signature = sign(private_key, &unsigned)
                    .map_err(|words| (Fault::AccountAuth, words.to_owned()))?;
                let assertion = format!("{unsigned}.{signature}");
                let request = google_token::exchange(token_url, &assertion);
                self.token(&request, &[Secret::new(assertion)]).await
            }
            GoogleSource::AuthorizedUser {
                client_id,
                client_secret,
                refresh_token,
                token_url,
            } => {
                let request =
                    google_token::refresh(token_url, client_id, client_secret, refresh_token);
                self.token(&request, &[]).await
            }
            GoogleSource::Metadata { url } => {
                let (status, body) = self
                    .send(&google_token::of_metadata(url), MetadataRoute::Metadata)
                    .await
                    .map_err(|(_, words)| {
                        (
                            Fault::AccountAuth,
                            format!(
                                "no Google credentials: none are configured, and the metadata service of \
                                 a machine at Google does not answer: {words}"
                            ),
                        )
                    })?;
                let (token, life) = entra_token::read(status, &body)?;
                Ok((Held::token(token), life))
            }
        }
    }

    async fn aws(&self, aws: &Aws) -> Fetched {
        match &aws.source {
            AwsSource::ApiKey => Ok((Held::Configured, Duration::ZERO)),
            AwsSource::Keys(keys) => Ok((Held::aws(keys.clone()), Duration::MAX)),
            AwsSource::Profile { file, profile } => {
                let text = read_file(file).await?;
                let keys = aws_credentials::of_profile(&text, profile).map_err(|words| {
                    (Fault::AccountAuth, format!("{}: {words}", file.display()))
                })?;
                Ok((Held::aws(keys), PROFILE_LIFE))
            }
            AwsSource::WebIdentity {
                token_file,
                role_arn,
                session_name,
                sts_url,
            } => {
                let token = Secret::new(read_file(token_file).await?.trim());
                let request = aws_credentials::assume_role(sts_url, role_arn, session_name, &token);
                let (status, body) = self
                    .send(&request, MetadataRoute::Usual)
                    .await
                    .map_err(|(fault, words)| (fault, format!("AWS STS: {words}")))?;
                let keys = keys(aws_credentials::of_sts(status, &body, self.now));
                masked(keys, &[token])
            }
            AwsSource::Container {
                url,
                token_file,
                token,
            } => {
                let token = match token_file {
                    Some(file) => Some(Secret::new(read_file(file).await?.trim())),
                    None => token.clone(),
                };
                let request = aws_credentials::of_container(url, token.as_ref());
                let (status, body) = self.metadata(&request).await?;
                let keys = keys(aws_credentials::of_json(status, &body, self.now));
                masked(keys, token.as_slice())
            }
            AwsSource::Instance { url } => {
                let (status, session) = self.metadata(&aws_credentials::session(url)).await?;
                let session = aws_credentials::one_line(status, &session)
                    .map_err(|words| (Fault::AccountAuth, words))?;
                let request = aws_credentials::role(url, &session);
                let (status, role) = self.metadata(&request).await?;
                let role = aws_credentials::one_line(status, &role)
                    .map_err(|words| (Fault::AccountAuth, words))?;
                let request = aws_credentials::of_role(url, &session, &role);
                let (status, body) = self.metadata(&request).await?;
                let keys = keys(aws_credentials::of_json(status, &body, self.now));
                masked(keys, &[Secret::new(session)])
            }
        }
    }

    /// Asks a metadata service for AWS keys.
    async fn metadata(&self, request: &Request) -> Result<(u16, String), (Fault, String)> {
        self.send(request, MetadataRoute::Metadata).await.map_err(|(_, words)| {
            let host = request.url.host_str().unwrap_or_default();
            (
                Fault::AccountAuth,
                format!(
                    "no AWS credentials: none are configured, and the metadata service at {host} does \
                     not answer: {words}"
                ),
            )
        })
    }

    /// Sends one request. Returns the status and body of the response.
    async fn send(
        &self,
        request: &Request,
        way: MetadataRoute,
    ) -> Result<(u16, String), (Fault, String)> {
        let Prober {
            proxies,
            tls,
            proxy_tls,
            ..
        } = self.prober;
        let (proxy, within) = match way {
            MetadataRoute::Usual => (proxies.towards(&request.url), WITHIN),
            MetadataRoute::Metadata => (None, METADATA_WITHIN),
        };
        let mut stages = ConnectionTimes::default();
        let route = ProxyRoute {
            proxy,
            proxy_tls,
            resolve: &[],
            source: None,
        };
        let exchange = async {
            let deadline = Instant::now() + within;
            let connected = transport::connect(&request.url, route, tls, deadline, &mut stages)
                .await
                .map_err(|no| (no.fault, no.message))?;
            let of_line =
                |error: hyper::Error| (of_hyper(&error, Fault::TcpReset), explain(&error));
            let mut line = HttpConnection::begin(connected, stages.remote, None, false)
                .await
                .map_err(of_line)?;
            let forwarder = proxies.forwarder(&request.url).filter(|_| proxy.is_some());
            let message = message(request, line.is_http2(), forwarder)
                .map_err(|error| (Fault::RequestRejected, error.to_string()))?;
            let answer = line.send(message).await.map_err(of_line)?;
            let status = answer.status().as_u16();
            let body = line
                .drive(Limited::new(answer.into_body(), MAX_BYTES).collect())
                .await
                .map_err(|error| (Fault::BodyMalformed, error.to_string()))?
                .to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        match tokio::time::timeout(within, exchange).await {
            Ok(done) => done,
            Err(_) => Err((Fault::TimeoutHeaders, "no answer in time".to_owned())),
        }
    }
}

fn keys(read: Result<(AwsKeys, Duration), String>) -> Fetched {
    let (keys, life) = read.map_err(|words| (Fault::AccountAuth, words))?;
    keys.secrets()
        .iter()
        .try_for_each(|secret| entra_token::check_length(secret))?;
    Ok((Held::aws(keys), life))
}

/// Masks what the request held if the server's message repeats it.
fn masked(fetched: Fetched, secrets: &[Secret]) -> Fetched {
    fetched.map_err(|(fault, words)| (fault, Redactor::of_secrets(secrets).clean_cut(&words)))
}

/// How a service is reached.
#[derive(Clone, Copy)]
enum MetadataRoute {
    /// Like the endpoints.
    Usual,
    /// Without a proxy and with a short time limit: it is on this machine or its network.
    Metadata,
}

async fn read_file(path: &std::path::Path) -> Result<String, (Fault, String)> {
    let failed = |why: String| {
        (
            Fault::AccountAuth,
            format!("cannot read {}: {why}", path.display()),
        )
    };
    let owned = path.to_owned();
    tokio::task::spawn_blocking(move || files::read_to_string(&owned, files::MAX_SECRET))
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(transport::describe_io(&error)))
}

/// Signs `text` with RS256, as JSON Web Tokens require.
fn sign(pem: &Secret, text: &str) -> Result<String, &'static str> {
    let key = service_key(pem)?;
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text.as_bytes(),
        &mut signature,
    )
    .map_err(|_| "the service account's key cannot sign")?;
    Ok(URL_SAFE_NO_PAD.encode(signature))
}
