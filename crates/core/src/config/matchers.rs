//! Matches a notice against a channel's filters. Pure.

use std::sync::Arc;

use crate::config::{Channel, ChannelKind, Config, Filters, WebhookKind};
use crate::model::{
    Annotation, Attribution, Endpoint, EndpointName, Incident, NoticeKind, Provider, Silence,
};

/// A selection of endpoints, as in filters, silences and maintenance windows. An empty list is no
/// restriction.
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
    /// Reports whether nothing is restricted.
    pub fn is_everything(&self) -> bool {
        self.endpoints.is_empty() && self.providers.is_empty() && self.groups.is_empty()
    }

    /// Reports whether it includes the endpoint with this name.
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

    /// Reports whether it includes `endpoint`.
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

impl Annotation {
    /// Reports whether the note is about this endpoint.
    pub fn covers(&self, endpoint: &str, config: &Config) -> bool {
        EndpointScope {
            endpoints: &self.endpoints,
            providers: &self.providers,
            groups: &self.groups,
        }
        .covers(endpoint, config)
    }
}

impl Silence {
    /// Reports whether the silence applies to this endpoint. The caller checks whether it has
    /// expired.
    pub fn covers(&self, endpoint: &str, config: &Config) -> bool {
        EndpointScope {
            endpoints: &self.endpoints,
            providers: &self.providers,
            groups: &self.groups,
        }
        .covers(endpoint, config)
    }
}

/// Reports whether a receiver keeps its own incidents. Each message changes one there, so none may
/// be skipped.
pub fn is_stateful_receiver(channel: &Channel) -> bool {
    kind(channel) == Some(WebhookKind::Alertmanager) || requires_explicit_resolve(channel)
}

/// Reports whether a receiver keeps an incident open until an explicit resolve. An opening message
/// that is already resolved must therefore be followed by a resolve message.
pub fn requires_explicit_resolve(channel: &Channel) -> bool {
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

/// Reports whether a channel with `filters` has this kind of notice in its `on`.
pub fn wants_type(filters: &Filters, kind: NoticeKind) -> bool {
    matches!(
        kind,
        NoticeKind::Test | NoticeKind::Digest | NoticeKind::Drill
    ) || filters.on.iter().any(|reason| reason == kind.filter_word())
}

/// Reports whether `incident`, in its current state, matches a channel's `filters`.
pub fn concerns(filters: &Filters, incident: &Incident, config: &Config) -> bool {
    // `min_status` applies only to faults of the provider: the others have no severity.
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
