//! Error replies of the front end (Cloudflare), sent without reaching the vendor's servers.

use crate::reply::Reply;

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=UTF-8";
const PLAIN: &str = "text/plain; charset=UTF-8";

fn reply(status: u16, content_type: &str, body: &str) -> Reply {
    Reply {
        status,
        body: body.to_owned(),
        headers: Vec::new(),
        from_edge: true,
    }
    .with(&[("content-type", content_type)])
}

fn page(status: u16, title: &str, text: &str) -> Reply {
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en-US\">\n<head><title>{title}</title></head>\n\
         <body><h1>{text}</h1><p>Performance &amp; security by Cloudflare</p></body>\n</html>\n"
    );
    reply(status, HTML, &body)
}

pub(super) fn load_shedding() -> Reply {
    reply(429, JSON, r#"{"status":"come back later"}"#)
}

pub(super) fn bad_gateway_json() -> Reply {
    reply(
        502,
        JSON,
        r#"{"error":{"code":502,"message":"Bad gateway.","param":null,"type":"cf_bad_gateway"}}"#,
    )
}

pub(super) fn challenge() -> Reply {
    page(
        403,
        "Just a moment...",
        "Checking if the site connection is secure",
    )
    .with(&[("cf-mitigated", "challenge")])
}

pub(super) fn bad_gateway_page() -> Reply {
    page(
        502,
        "api.simulated.test | 502: Bad gateway",
        "Error code 502",
    )
}

pub(super) fn unknown_error() -> Reply {
    page(
        520,
        "api.simulated.test | 520: Web server is returning an unknown error",
        "Error code 520",
    )
}

pub(super) fn timeout() -> Reply {
    page(
        524,
        "api.simulated.test | 524: A timeout occurred",
        "Error code 524",
    )
}

pub(super) fn tunnel_error() -> Reply {
    reply(530, PLAIN, "error code: 1033")
}
