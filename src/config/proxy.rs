//! `proxy` of `[monitor]`: none, one, or what the environment says.

use std::collections::HashMap;

use url::Url;

use super::Proxy;
use super::raw::Value;
use crate::model::Secret;

/// Reads the value of `proxy`; `vars` are the environment.
pub(super) fn read(value: &Value<'_>, vars: &HashMap<String, String>) -> Option<Proxy> {
    match value.string()?.as_str() {
        "" | "none" => Some(Proxy::None),
        "env" => Some(of_environment(vars)),
        url if Url::parse(url).is_ok_and(|u| u.scheme() == "http" && u.host().is_some()) => {
            Some(Proxy::Url(Secret::new(url)))
        }
        _ => value.error("`proxy` is no http URL", "write `\"http://proxy.example.com:3128\"` or `\"env\"`"),
    }
}

/// As curl reads it: lower case counts before upper case, and `HTTP_PROXY` not at all, since a request may set it for a
/// CGI script.
fn of_environment(vars: &HashMap<String, String>) -> Proxy {
    let first = |names: &[&str]| names.iter().find_map(|n| vars.get(*n)).filter(|v| !v.is_empty());
    let address = |names: &[&str]| first(names).map(|v| Secret::new(v.as_str()));
    let except = first(&["no_proxy", "NO_PROXY"]).map(|v| v.split(',').map(|h| h.trim().to_ascii_lowercase()));
    Proxy::Env {
        http: address(&["http_proxy", "all_proxy", "ALL_PROXY"]),
        https: address(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
        except: except.map(|hosts| hosts.filter(|h| !h.is_empty()).collect()).unwrap_or_default(),
    }
}
