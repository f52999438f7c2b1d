//! `[[status_feed]]`: the vendor status pages to poll, and the endpoints that each covers.

use std::collections::BTreeSet;
use std::time::Duration;

use url::Url;

use super::endpoint::CheckedEndpoint;
use super::raw::{Table, Value, reference};
use super::{FeedKind, StatusFeed, catalog};
use llmwatch_core::model::{EndpointName, Provider};
use llmwatch_core::protocol::presets::{self, StatusPage};

/// Reads the status feeds. A provider without one gets its known feed if it is probed at its
/// official address.
pub(super) fn read(root: &Table<'_>, reads: &[CheckedEndpoint<'_>]) -> Vec<StatusFeed> {
    let kinds = [
        ("statuspage", FeedKind::Statuspage),
        ("incident_io", FeedKind::IncidentIo),
        ("azure_rss", FeedKind::AzureRss),
        ("google_cloud", FeedKind::GoogleCloud),
        ("instatus", FeedKind::Instatus),
        ("betterstack", FeedKind::BetterStack),
        ("rss", FeedKind::Rss),
        ("aws_health", FeedKind::AwsHealth),
    ];
    let providers: Vec<_> = Provider::ALL.iter().map(|p| (p.as_str(), *p)).collect();
    let mut feeds = Vec::new();
    let mut named = Vec::new();
    for table in root.tables("status_feed") {
        let provider = table.get("provider").and_then(|v| v.one_of(&providers));
        let enabled = table
            .get("enabled")
            .and_then(|v| v.boolean())
            .unwrap_or(true);
        let url = table
            .get("url")
            .and_then(|v| v.parse::<Url>("URL", "it begins with `https://`"));
        let kind = table.get("kind").and_then(|v| v.one_of(&kinds));
        let components = table.get("components").and_then(|v| v.strings());
        let endpoints = table
            .get("endpoints")
            .and_then(|v| v.items())
            .unwrap_or_default();
        let endpoints = provider
            .map(|p| endpoints_of(&endpoints, p, reads))
            .unwrap_or_default();
        // Do not overload other people's pages; a local one may be polled as often as the user
        // likes.
        let own = url.as_ref().is_some_and(super::is_local);
        let least = Duration::from_secs(if own { 1 } else { 30 });
        let interval = table
            .get("interval")
            .and_then(|v| v.duration_of_at_least(least));
        table.finish();
        let Some(provider) = provider else {
            table.error(
                "missing key `provider` in `[[status_feed]]`",
                "add `provider = …`",
            );
            continue;
        };
        named.push(provider);
        if !enabled {
            continue;
        }
        let interval = interval.unwrap_or(Duration::from_mins(2));
        let feed = match (url, kind, known_feed(provider)) {
            (Some(url), Some(kind), _) => StatusFeed {
                provider,
                url: document_of(url, kind),
                fallback: None,
                kind,
                components: components.unwrap_or_default(),
                endpoints,
                interval,
            },
            (None, None, Some(known)) => {
                let components = components.unwrap_or_else(|| known.components.clone());
                StatusFeed {
                    components,
                    endpoints,
                    interval,
                    ..known
                }
            }
            _ => {
                table.error(
                    "missing `url` or `kind` in `[[status_feed]]`",
                    "give both `url` and `kind`",
                );
                continue;
            }
        };
        if feeds.iter().any(|f: &StatusFeed| f.key() == feed.key()) {
            let message = format!(
                "two status feeds of provider `{provider}` have the URL {}",
                feed.url
            );
            table.error(message, "name all their components and endpoints in one");
        }
        warn_of_strangers(&table, &feed, reads);
        feeds.push(feed);
    }
    for provider in Provider::ALL.iter().filter(|p| !named.contains(p)) {
        let of_provider = reads
            .iter()
            .filter(|r| r.enabled && r.endpoint.provider == *provider);
        let (at_vendor, elsewhere): (Vec<_>, Vec<_>) = of_provider.partition(|r| {
            let host = r.endpoint.base_url.domain();
            host.is_some_and(|host| is_official(*provider, host))
        });
        if at_vendor.is_empty() {
            continue;
        }
        // What is probed elsewhere, such as at a gateway, is not what the vendor's page is about.
        let endpoints = if elsewhere.is_empty() {
            Vec::new()
        } else {
            at_vendor.iter().map(|r| r.endpoint.name.clone()).collect()
        };
        feeds.extend(known_feed(*provider).map(|known| StatusFeed { endpoints, ..known }));
    }
    feeds
}

/// Reports whether `provider` itself serves `host`: it is its usual host, or a regional or private
/// one.
fn is_official(provider: Provider, host: &str) -> bool {
    let own = catalog::base_url(provider).and_then(|url| Url::parse(url).ok());
    let zones: &[&str] = match provider {
        Provider::OpenAi => &[".api.openai.com"],
        Provider::AzureOpenAi => &[
            ".openai.azure.com",
            ".services.ai.azure.com",
            ".cognitiveservices.azure.com",
        ],
        Provider::Bedrock => &[".amazonaws.com"],
        Provider::Vertex => &["aiplatform.googleapis.com"],
        _ => &[],
    };
    own.is_some_and(|url| url.domain() == Some(host))
        || zones.iter().any(|zone| host.ends_with(zone))
}

/// Resolves the listed endpoints, which must be those of `provider`.
fn endpoints_of(
    listed: &[Value<'_>],
    provider: Provider,
    reads: &[CheckedEndpoint<'_>],
) -> Vec<EndpointName> {
    let of_provider = reads.iter().filter(|r| r.endpoint.provider == provider);
    let known: Vec<_> = of_provider.map(|r| r.endpoint.name.as_str()).collect();
    let what = format!("`{provider}` endpoint");
    listed
        .iter()
        .filter_map(|value| reference(value, &what, &known))
        .map(EndpointName::from)
        .collect()
}

/// Warns if one feed would cover unrelated servers.
fn warn_of_strangers(table: &Table<'_>, feed: &StatusFeed, reads: &[CheckedEndpoint<'_>]) {
    if !feed.endpoints.is_empty()
        || !matches!(feed.provider, Provider::OpenAiCompatible | Provider::Http)
    {
        return;
    }
    let ours = reads
        .iter()
        .filter(|r| r.enabled && feed.is_about(&r.endpoint));
    let hosts: BTreeSet<_> = ours.map(|r| r.endpoint.domain()).collect();
    if hosts.len() > 1 {
        let hosts = hosts.into_iter().collect::<Vec<_>>().join(", ");
        table.sink().warn(format!(
            "the status feed {} counts for every endpoint of provider `{}`, at {hosts}: say with `endpoints` for which",
            feed.url, feed.provider
        ));
    }
}

/// Returns the URL of the document, if `url` is only the page's address.
fn document_of(mut url: Url, kind: FeedKind) -> Url {
    let document = match kind {
        FeedKind::Statuspage | FeedKind::IncidentIo => "/api/v2/summary.json",
        FeedKind::Instatus => "/summary.json",
        FeedKind::BetterStack => "/index.json",
        FeedKind::AwsHealth => "/public/currentevents",
        FeedKind::AzureRss | FeedKind::GoogleCloud | FeedKind::Rss => return url,
    };
    if url.path() == "/" {
        url.set_path(document);
    }
    url
}

/// The vendors' official status pages, with the components that concern their APIs.
fn known_feed(provider: Provider) -> Option<StatusFeed> {
    let (url, kind, components): (_, _, &[&str]) = match provider {
        Provider::OpenAi => (
            "https://status.openai.com/api/v2/summary.json",
            FeedKind::IncidentIo,
            &[
                "Chat Completions",
                "Responses",
                "Embeddings",
                "Moderations",
                "Realtime",
                "Batch",
                "Files",
                "Fine-tuning",
            ],
        ),
        Provider::Anthropic => (
            "https://status.claude.com/api/v2/summary.json",
            FeedKind::Statuspage,
            &["api.anthropic.com"],
        ),
        Provider::Gemini | Provider::Vertex => (
            "https://status.cloud.google.com/incidents.json",
            FeedKind::GoogleCloud,
            &["Z0FZJAMvEB4j3NbCJs6B", "Gemini"],
        ),
        Provider::Bedrock => (
            "https://health.aws.amazon.com/public/currentevents",
            FeedKind::AwsHealth,
            &["bedrock"],
        ),
        Provider::AzureOpenAi => (
            "https://azure.status.microsoft/en-us/status/feed/",
            FeedKind::AzureRss,
            &["OpenAI", "Foundry", "Cognitive Services", "Multiple"],
        ),
        vendor => match presets::of(vendor)?.status_page? {
            StatusPage::Statuspage(url) => (url, FeedKind::Statuspage, &[]),
            StatusPage::IncidentIo(url) => (url, FeedKind::IncidentIo, &[]),
            StatusPage::Instatus(url) => (url, FeedKind::Instatus, &[]),
            StatusPage::BetterStack(url) => (url, FeedKind::BetterStack, &[]),
            StatusPage::Rss(url) => (url, FeedKind::Rss, &[]),
        },
    };
    // The vendor's front end sometimes rejects automated clients; the platform's own address has
    // not.
    let fallback = (provider == Provider::Anthropic)
        .then(|| Url::parse("https://anthropic.statuspage.io/api/v2/summary.json").ok())
        .flatten();
    Some(StatusFeed {
        provider,
        url: Url::parse(url).ok()?,
        fallback,
        kind,
        components: components.iter().map(|c| (*c).to_owned()).collect(),
        endpoints: Vec::new(),
        interval: Duration::from_mins(2),
    })
}
