//! Which channels does a notice go to? Pure: a channel's filters against a notice.

use std::sync::Arc;

use crate::config::{Channel, ChannelKind, Config, Filters, WebhookKind};
use crate::model::{Attribution, Endpoint, EndpointName, Incident, NoticeKind, Provider, Silence};

/// A choice of endpoints, as filters, silences and maintenance windows make it. An empty list is no restriction.
#[derive(Debug, Clone, Copy)]
pub struct EndpointScope<'a> {
    /// These endpoints.
    pub endpoints: &'a [EndpointName],
    /// Endpoints of these providers.
    pub providers: &'a [Provider],
    /// Endpoints of these groups.
    pub groups: &'a [String],
}

impl EndpointScope<'_> {
    /// Whether it is no restriction at all.
    pub fn is_everything(&self) -> bool {
        self.endpoints.is_empty() && self.providers.is_empty() && self.groups.is_empty()
    }

    /// Whether the endpoint of this name is in it.
    pub fn covers(&self, name: &str, config: &Config) -> bool {
        if self.is_everything() {
            return true;
        }
        self.matches(
            name,
            config
                .endpoints
                .iter()
                .find(|e| e.name == name)
                .map(Arc::as_ref),
        )
    }

    /// Whether `endpoint` is in it.
    pub fn includes(&self, endpoint: &Endpoint) -> bool {
        self.matches(&endpoint.name, Some(endpoint))
    }

    fn matches(&self, name: &str, endpoint: Option<&Endpoint>) -> bool {
        let provider = endpoint.map(|e| e.provider);
        let group = endpoint.and_then(|e| e.group.as_ref());
        (self.endpoints.is_empty() || self.endpoints.iter().any(|e| e == name))
            && (self.providers.is_empty() || provider.is_some_and(|p| self.providers.contains(&p)))
            && (self.groups.is_empty() || group.is_some_and(|g| self.groups.contains(g)))
    }
}

impl Silence {
    /// Whether it holds for the endpoint of this name. Whether it has ended is for the caller to know.
    pub fn covers(&self, endpoint: &str, config: &Config) -> bool {
        EndpointScope {
            endpoints: &self.endpoints,
            providers: &self.providers,
            groups: &self.groups,
        }
        .covers(endpoint, config)
    }
}

/// Receivers that keep incidents themselves: each message changes one there, so none may be left out.
pub fn is_machine(channel: &Channel) -> bool {
    kind(channel) == Some(WebhookKind::Alertmanager) || ends_by_message(channel)
}

/// Receivers that keep an incident until another message ends it: a first message that says that it is over already
/// must be followed by one that does.
pub fn ends_by_message(channel: &Channel) -> bool {
    matches!(
        kind(channel),
        Some(
            WebhookKind::Pagerduty
                | WebhookKind::Opsgenie
                | WebhookKind::Jsm
                | WebhookKind::IncidentIo
                | WebhookKind::SplunkOncall
        )
    )
}

fn kind(channel: &Channel) -> Option<WebhookKind> {
    match &channel.kind {
        ChannelKind::Webhook(webhook) => Some(webhook.kind),
        ChannelKind::Email(_) => None,
    }
}

/// Whether a channel with `filters` has this type of notice in its `on`.
pub fn wants_type(filters: &Filters, kind: NoticeKind) -> bool {
    matches!(
        kind,
        NoticeKind::Test | NoticeKind::Digest | NoticeKind::Drill
    ) || filters.on.iter().any(|reason| reason == kind.filter_word())
}

/// Whether `incident`, as it is now, concerns a channel with `filters`.
pub fn concerns(filters: &Filters, incident: &Incident, config: &Config) -> bool {
    // A fault of the account or of this machine has no degrees: it is wanted or not.
    let severe =
        incident.attribution != Attribution::Provider || incident.status >= filters.min_status;
    let scope = EndpointScope {
        endpoints: &filters.endpoints,
        providers: &filters.providers,
        groups: &filters.groups,
    };
    severe
        && filters.attribution.contains(&incident.attribution)
        && incident
            .endpoints
            .iter()
            .any(|name| scope.covers(name, config))
}
