//! A plain HTTP request, for any web target: a page, a gateway, your own application.

use super::{ProbeRequest, Request};

pub(super) fn request(ask: &ProbeRequest<'_>) -> Request {
    let endpoint = ask.endpoint;
    let (path, query) = match endpoint.path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (endpoint.path.as_str(), None),
    };
    let mut url = if path.is_empty() {
        endpoint.base_url.clone()
    } else {
        super::joined(&endpoint.base_url, path)
    };
    url.set_query(query);

    let headers = endpoint
        .api_key
        .as_ref()
        .map(super::bearer)
        .into_iter()
        .collect();
    Request {
        method: endpoint.method.clone(),
        url,
        headers,
        body: ask.own_body().unwrap_or_default(),
    }
}
