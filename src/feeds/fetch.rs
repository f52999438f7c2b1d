//! One polite request for a status document: conditional, limited in time and size, with redirects
//! only within the same server.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{
    ACCEPT, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use reqwest::{Client, Response, StatusCode, redirect};
use url::Url;

use crate::config::Settings;
use crate::http_client;

/// Time limit of one document.
const PATIENCE: Duration = Duration::from_secs(15);
/// The maximum number of redirects.
const MAX_REDIRECTS: usize = 3;
/// The maximum length of a shown URL, in bytes.
const MAX_LOCATION: usize = 300;

/// Why a document could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) message: String,
    /// How long the server asks us to wait.
    pub(super) retry_after: Option<Duration>,
}

impl Trouble {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            retry_after: None,
        }
    }
}

/// One document, with its server's validators for conditional requests.
#[derive(Debug)]
pub(super) struct Document {
    url: Url,
    /// The maximum size of the body, in bytes.
    max_bytes: usize,
    validators: Vec<(HeaderName, HeaderValue)>,
    /// What the server may say is unchanged. Kept only if it gave a validator.
    body: Option<Arc<[u8]>>,
}

impl Document {
    pub(super) fn at(url: Url, max_bytes: usize) -> Self {
        Self {
            url,
            max_bytes,
            validators: Vec::new(),
            body: None,
        }
    }

    /// Returns its current content.
    pub(super) async fn fetch(&mut self, client: &Client) -> Result<Arc<[u8]>, Trouble> {
        let mut request = client.get(self.url.clone());
        if self.body.is_some() {
            request = request.headers(self.validators.iter().cloned().collect::<HeaderMap>());
        }
        let response = request
            .send()
            .await
            .map_err(|e| Trouble::new(describe(&e)))?;
        if let (StatusCode::NOT_MODIFIED, Some(body)) = (response.status(), &self.body) {
            return Ok(body.clone());
        }
        if !response.status().is_success() {
            return Err(refusal(&response));
        }
        let validators = validators(response.headers());
        let body: Arc<[u8]> = self.body_of(response).await?.into();
        self.body = (!validators.is_empty()).then(|| body.clone());
        self.validators = validators;
        Ok(body)
    }

    async fn body_of(&self, mut response: Response) -> Result<Vec<u8>, Trouble> {
        let too_large = || Trouble::new(format!("it is larger than {} MiB", self.max_bytes >> 20));
        let announced = response.content_length();
        if announced.is_some_and(|length| length > self.max_bytes as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|e| Trouble::new(describe(&e)))?
        {
            if body.len() + chunk.len() > self.max_bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// Describes an error response.
fn refusal(response: &Response) -> Trouble {
    let header = |name| response.headers().get(name)?.to_str().ok();
    let status = response.status();
    let moved = header("location")
        .filter(|_| status.is_redirection())
        .and_then(|to| response.url().join(to).ok())
        .map(|to| shown(&to));
    let message = match moved {
        Some(to) => format!(
            "HTTP {}: it redirects to {to}, which is not followed; change `url`",
            status.as_u16()
        ),
        None => format!("HTTP {}", status.as_u16()),
    };
    Trouble {
        message,
        retry_after: header("retry-after")
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs),
    }
}

/// Formats a URL without the parts that may contain a secret.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Neither fails for a URL with a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let text: String = url.into();
    text[..text.floor_char_boundary(MAX_LOCATION)].to_owned()
}

fn validators(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)]
        .into_iter()
        .filter_map(|(given, asked)| Some((asked, headers.get(given)?.clone())))
        .collect()
}

/// Creates a client for status documents.
pub(super) fn client(settings: &Settings) -> Result<Client, Trouble> {
    let accept = "application/json, application/rss+xml;q=0.9, */*;q=0.8";
    let builder = Client::builder()
        .default_headers(
            [(ACCEPT, HeaderValue::from_static(accept))]
                .into_iter()
                .collect(),
        )
        .timeout(PATIENCE)
        .pool_max_idle_per_host(0)
        .redirect(redirect::Policy::custom(|attempt| {
            let from = attempt.previous().last();
            let follow = attempt.previous().len() <= MAX_REDIRECTS
                && from.is_some_and(|from| is_same_server(from, attempt.url()));
            if follow {
                attempt.follow()
            } else {
                attempt.stop()
            }
        }));
    http_client::client(builder, settings).map_err(Trouble::new)
}

/// Reports whether both URLs have the same host and port, without a downgrade from https to http.
/// Two names count as two servers.
fn is_same_server(from: &Url, to: &Url) -> bool {
    let same =
        from.host() == to.host() && from.port_or_known_default() == to.port_or_known_default();
    same && (from.scheme() == to.scheme() || to.scheme() == "https")
}

/// Describes a request error.
fn describe(error: &reqwest::Error) -> String {
    http_client::error_text(error, "the status page")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn a_redirect_is_followed_to_the_same_host_and_port_only() {
        let same = |a: &str, b: &str| is_same_server(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same(
            "https://s.example.com/a",
            "https://s.example.com:443/b"
        ));
        assert!(!same("https://s.example.com/", "https://www.example.com/"));
        assert!(!same(
            "https://s.example.com/",
            "https://s.example.com:8443/"
        ));
        assert!(!same("https://s.example.com/", "http://s.example.com:443/"));
        assert!(!same("https://a.co.uk/", "https://evil.co.uk/"));
        assert!(!same("http://127.0.0.1:1/", "http://127.0.0.1:2/"));
    }

    #[test]
    fn the_address_of_a_redirect_is_shown_without_secrets() {
        let url = "https://me:secret@new.example.com/path?token=secret#secret";
        assert_eq!(shown(&url.parse().unwrap()), "https://new.example.com/path");
    }

    #[tokio::test]
    async fn a_body_without_validator_is_not_kept() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        for (header, is_kept) in [("", false), ("etag: \"1\"\r\n", true)] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            let answer = format!("HTTP/1.1 200 OK\r\n{header}content-length: 2\r\n\r\n{{}}");
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
            let mut document = Document::at(url.parse().unwrap(), 1024);
            let body = document.fetch(&Client::new()).await.unwrap();
            assert_eq!(&*body, b"{}");
            assert_eq!(document.body.is_some(), is_kept, "{header}");
        }
    }
}
