//! One plain HTTP request, for any web target: a page, a gateway, your own application.

use super::{Answer, Request};
use crate::model::Endpoint;

pub(super) fn request(endpoint: &Endpoint) -> Request {
    let (path, query) = match endpoint.path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (endpoint.path.as_str(), None),
    };
    let mut url = if path.is_empty() { endpoint.base_url.clone() } else { super::below(&endpoint.base_url, path) };
    url.set_query(query);
    let mut headers = vec![("accept".to_owned(), "*/*".to_owned())];
    if let Some(key) = &endpoint.api_key {
        headers.push(("authorization".to_owned(), format!("Bearer {}", key.expose())));
    }
    let body = endpoint.body.clone().unwrap_or_default().into_bytes();
    if !body.is_empty() {
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    Request { method: endpoint.method.clone(), url, headers, body }
}

pub(super) fn body(answer: &mut Answer, body: &str) {
    body.clone_into(&mut answer.text);
    answer.complete = true;
}
