//! A request as bytes, before it is signed or sent.

use url::Url;

/// An HTTP request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// The URL.
    pub url: Url,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}
