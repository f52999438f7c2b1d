//! `proxy` of `[monitor]`: none, a URL or the environment's, and the targets that bypass it.

use std::collections::HashMap;

use url::Url;

use super::Proxy;
use super::raw::Value;
use llmwatch_core::config::no_proxy_rules;
use llmwatch_core::model::Secret;

const HELP: &str = "write it as `\"http://proxy.example.com:3128\"`, `\"https://…\"` or `\"socks5://proxy.example.com:1080\"`";

/// Reads the value of `proxy`; `vars` are the environment.
pub(super) fn read(value: &Value<'_>, vars: &HashMap<String, String>) -> Option<Proxy> {
    match value.string()?.as_str() {
        "" | "none" => Some(Proxy::None),
        "env" => of_environment(value, vars),
        text => match usable(text) {
            Ok(address) => Some(Proxy::Url(address)),
            Err(why) => value.error(format!("`proxy` {why}"), format!("{HELP}, or `\"env\"`")),
        },
    }
}

/// Reads the proxy variables as curl does: lower case takes precedence. `HTTP_PROXY` is ignored,
/// because a request can set it for a CGI script. An unusable proxy is an error: bypassing it would
/// measure a different path.
fn of_environment(value: &Value<'_>, vars: &HashMap<String, String>) -> Option<Proxy> {
    let first = |names: &[&'static str]| {
        names
            .iter()
            .find_map(|n| Some((*n, vars.get(*n)?.as_str())))
            .filter(|(_, text)| !text.is_empty())
    };
    let address =
        |names: &[&'static str]| match first(names).map(|(name, text)| (name, usable(text))) {
            None => Some(None),
            Some((_, Ok(address))) => Some(Some(address)),
            Some((name, Err(why))) => value.error(
                format!("`{name}` of the environment {why}"),
                format!("{HELP}; or name one in `proxy` itself"),
            ),
        };
    let http = address(&["http_proxy", "all_proxy", "ALL_PROXY"])?;
    let https = address(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?;
    let except = first(&["no_proxy", "NO_PROXY"]);
    Some(Proxy::Env {
        http,
        https,
        except: except
            .map(|(_, rules)| no_proxy_rules(rules))
            .unwrap_or_default(),
    })
}

/// Checks a proxy URL, whose scheme is optional. The error repeats nothing that may be secret.
fn usable(text: &str) -> Result<Secret, String> {
    const OTHERS: [&str; 2] = ["socks4", "socks4a"];
    let text = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let url = Url::parse(&text).map_err(|_| "is not a URL".to_owned())?;
    match url.scheme() {
        "http" | "https" | "socks5" | "socks5h" if url.has_host() => Ok(Secret::new(text)),
        scheme if OTHERS.contains(&scheme) => Err(format!(
            "is a proxy of kind `{scheme}://`, which is not supported"
        )),
        _ => Err("is not the URL of a proxy".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_proxy_error_hides_the_password() {
        for (text, why) in [
            (
                "socks4a://me:secret@proxy.test:1080",
                "is a proxy of kind `socks4a://`, which is not supported",
            ),
            ("secret://proxy.test", "is not the URL of a proxy"),
            ("me:secret@", "is not a URL"),
        ] {
            assert_eq!(usable(text).map(|_| ()), Err(why.to_owned()), "{text}");
        }
        for text in [
            "proxy.test:3128",
            "http://me:secret@proxy.test",
            "https://me:secret@proxy.test",
            "socks5://proxy.test:1080",
        ] {
            assert!(usable(text).is_ok(), "{text}");
        }
    }
}
