//! One polite look at a status document: conditional, bounded in time and size, and never led off to another site.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{
    ACCEPT, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use reqwest::{Client, StatusCode, redirect};
use url::Url;

use crate::config::Settings;
use crate::http_client;

/// How long one document may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Google's list of a year's incidents is some megabytes; nothing that people read is more than this.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// More than this many redirects lead nowhere.
const MOST_REDIRECTS: usize = 3;

/// Why a document could not be had, in words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) words: String,
    /// How long the server asks us to wait.
    pub(super) retry_after: Option<Duration>,
}

impl Trouble {
    pub(super) fn new(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            retry_after: None,
        }
    }
}

/// One document, with what its server gave to ask for it again by.
#[derive(Debug)]
pub(super) struct Document {
    url: Url,
    validators: Vec<(HeaderName, HeaderValue)>,
    body: Option<Vec<u8>>,
}

impl Document {
    pub(super) fn at(url: Url) -> Self {
        Self {
            url,
            validators: Vec::new(),
            body: None,
        }
    }

    /// Its bytes as they are now.
    pub(super) async fn look(&mut self, client: &Client) -> Result<&[u8], Trouble> {
        let mut request = client.get(self.url.clone());
        if self.body.is_some() {
            request = request.headers(self.validators.iter().cloned().collect::<HeaderMap>());
        }
        let mut response = request.send().await.map_err(|e| Trouble::new(words(&e)))?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED && self.body.is_some() {
            return Ok(self.body.as_deref().unwrap_or_default());
        }
        if !status.is_success() {
            let moved = response
                .headers()
                .get("location")
                .and_then(|l| l.to_str().ok());
            let moved = moved
                .map(|to| format!(", moved to {to}: change `url`"))
                .unwrap_or_default();
            let asked = response
                .headers()
                .get("retry-after")
                .and_then(|v| v.to_str().ok()?.parse().ok());
            let words = format!("HTTP {}{moved}", status.as_u16());
            return Err(Trouble {
                words,
                retry_after: asked.map(Duration::from_secs),
            });
        }
        let mut validators = Vec::new();
        for (given, asked) in [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)] {
            validators.extend(
                response
                    .headers()
                    .get(&given)
                    .map(|value| (asked, value.clone())),
            );
        }
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|e| Trouble::new(words(&e)))?
        {
            if body.len() + chunk.len() > MOST_BYTES {
                return Err(Trouble::new(format!(
                    "it is larger than {} MiB",
                    MOST_BYTES >> 20
                )));
            }
            body.extend_from_slice(&chunk);
        }
        self.validators = validators;
        Ok(self.body.insert(body))
    }
}

/// A client for status documents: like a browser of people.
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
            let follow = attempt.previous().len() <= MOST_REDIRECTS
                && from.is_some_and(|f| is_same_site(f, attempt.url()));
            if follow {
                attempt.follow()
            } else {
                attempt.stop()
            }
        }));
    http_client::client(builder, settings).map_err(Trouble::new)
}

/// The same host, or one of the same owner (judged by the last two labels of its name), and not from https down to http.
fn is_same_site(from: &Url, to: &Url) -> bool {
    let owner = |url: &Url| {
        let labels: Vec<String> = url
            .domain()?
            .rsplit('.')
            .take(2)
            .map(str::to_owned)
            .collect();
        (labels.len() == 2).then_some(labels)
    };
    let same =
        from.host_str() == to.host_str() || owner(from).is_some() && owner(from) == owner(to);
    same && (from.scheme() == to.scheme() || to.scheme() == "https")
}

/// What went wrong, with the innermost reason.
fn words(error: &reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "it cannot be reached"
    } else {
        "the request failed"
    };
    let mut innermost = error.source();
    while let Some(inner) = innermost.and_then(std::error::Error::source) {
        innermost = Some(inner);
    }
    innermost.map_or_else(|| kind.to_owned(), |inner| format!("{kind}: {inner}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_within_the_site_and_never_down_to_plain_http() {
        let same = |a: &str, b: &str| is_same_site(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same(
            "https://status.example.com/a",
            "https://www.example.com/b"
        ));
        assert!(same(
            "http://status.example.com/",
            "https://status.example.com/"
        ));
        assert!(!same(
            "https://status.example.com/",
            "http://status.example.com/"
        ));
        assert!(!same(
            "https://status.anthropic.com/",
            "https://status.claude.com/"
        ));
        assert!(!same("http://127.0.0.1:1/", "http://10.0.0.1:1/"));
    }
}
