//! Finds an Ollama server on this machine, or at `OLLAMA_HOST`.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::environment::Candidate;
use crate::config::{self, Environment};
use crate::http_client;
use llmwatch_core::model::Provider;

/// A local server answers at once or is not running.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The size limit of the model list, in bytes. A thousand models take about 400 KiB.
const MAX_BYTES: usize = 1 << 20;
const DEFAULT: &str = "http://127.0.0.1:11434";

#[derive(Deserialize)]
struct Tags {
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    #[serde(default)]
    size: u64,
}

/// Returns the server's smallest model, which is the cheapest to keep loaded; `None` without a
/// server.
pub(super) async fn candidate(surroundings: &Environment) -> Option<Candidate> {
    let named = surroundings.vars.get("OLLAMA_HOST").map(|v| v.trim());
    let named = named.filter(|v| !v.is_empty());
    let base = match named {
        Some(host) => address(host)?,
        None => Url::parse(DEFAULT).ok()?,
    };
    let found = named.map_or_else(
        || format!("Ollama at {DEFAULT}"),
        |_| format!("Ollama at {base} (OLLAMA_HOST)"),
    );
    let Some(models) = models(&base, surroundings).await else {
        if named.is_some() {
            eprintln!("OLLAMA_HOST is set, but no Ollama answers at {base}: skipped");
        }
        return None;
    };
    let Some(model) = models.into_iter().min_by_key(|m| m.size) else {
        eprintln!("found {found}, but it has no model: skipped (`ollama pull` gets one)");
        return None;
    };
    Some(
        Candidate::new(found, Provider::OpenAiCompatible)
            .with("api", "ollama")
            .with("base_url", base.as_str().trim_end_matches('/'))
            .with("model", &model.name),
    )
}

/// Parses `OLLAMA_HOST` as Ollama's own client does: a host, with optional scheme and port.
fn address(host: &str) -> Option<Url> {
    let with_scheme = if host.contains("://") {
        host.to_owned()
    } else {
        format!("http://{host}")
    };
    let mut url = Url::parse(&with_scheme).ok()?;
    // Wildcard addresses are for listening, not for connecting.
    if matches!(url.host_str(), Some("0.0.0.0" | "[::]")) {
        url.set_host(Some("127.0.0.1")).ok()?;
    }
    let has_port = with_scheme.rsplit_once("://").is_some_and(|(_, rest)| {
        rest.trim_end_matches('/')
            .rsplit(']')
            .next()
            .is_some_and(|r| r.contains(':'))
    });
    if !has_port && url.scheme() == "http" {
        url.set_port(Some(11434)).ok()?;
    }
    Some(url)
}

async fn models(base: &Url, surroundings: &Environment) -> Option<Vec<Model>> {
    let settings =
        config::load_text(Path::new("monitor.toml"), String::new(), surroundings).ok()?;
    let client = http_client::without_redirects(TIMEOUT, &settings).ok()?;
    let url = base.join("api/tags").ok()?;
    let mut response = client.get(url).send().await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BYTES {
            return None;
        }
    }
    let tags: Tags = serde_json::from_slice(&body).ok()?;
    Some(tags.models)
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn ollama_host_is_read_as_its_client_reads_it() {
        let said = [
            "127.0.0.1",
            "0.0.0.0:8080",
            "http://gpu:11435",
            "gpu.internal",
            "https://ollama.example.com",
            "[::1]",
        ]
        .map(|host| address(host).unwrap().to_string());
        assert_eq!(
            said,
            [
                "http://127.0.0.1:11434/",
                "http://127.0.0.1:8080/",
                "http://gpu:11435/",
                "http://gpu.internal:11434/",
                "https://ollama.example.com/",
                "http://[::1]:11434/",
            ]
        );
    }
}
