//! The meaning of a fault and what to do about it.

use crate::model::{Attribution, Fault};

/// Returns what is wrong with this machine.
pub fn local_cause(fault: Fault) -> &'static str {
    match fault {
        Fault::LocalDns => "This machine cannot resolve host names",
        Fault::LocalUnreachable => "This machine has no route to the network",
        Fault::LocalResources => "This machine is out of resources",
        Fault::LocalClock => "This machine's clock is wrong",
        Fault::LocalProxy => "This machine's proxy fails",
        _ => "This machine's network fails",
    }
}

/// Returns what to do about a fault of the account or of this machine; empty for a fault of the
/// provider.
pub fn remedy(fault: Fault) -> &'static str {
    match fault {
        Fault::AccountAuth => {
            "Check whether the key was revoked, has expired or was replaced, and whether it belongs \
             to this organization. Then change `api_key` and reload."
        }
        Fault::AccountPermission => "Grant the key's project or role access to this model and API.",
        Fault::AccountQuota => "Add credit or raise the spending limit. Retrying does not help.",
        Fault::AccountRateLimit => {
            "Something else uses up the limit, or it is too low for `interval`. Raise the limit or \
             probe less often."
        }
        Fault::AccountRegion => {
            "Probe from an address that the provider accepts, or have this one allowed."
        }
        Fault::RequestModelNotFound => {
            "Compare `model` (or `deployment`) with the provider's list of models and its \
             retirement announcements. Then change it and reload."
        }
        Fault::RequestRejected => {
            "Read what the provider's message names. For a parameter, check `body`, \
             `reasoning_effort` and `max_tokens` of the endpoint; for a URL, check `base_url` and \
             `api`."
        }
        Fault::RequestTooFewTokens => "Raise `max_tokens` or lower `reasoning_effort`.",
        Fault::AnswerFiltered => "Change `prompt` or the settings of the content filter.",
        Fault::AnswerRefused => "Change `prompt`.",
        Fault::LocalDns => "Check the resolver (`/etc/resolv.conf`, `resolvectl status`).",
        Fault::LocalUnreachable => "Check the network interface, the routes and the firewall.",
        Fault::LocalResources => {
            "Raise the limits of the service (`LimitNOFILE`, memory) or lower \
             `max_concurrent_probes`."
        }
        Fault::LocalClock => {
            "Set the clock and keep it synchronized (`timedatectl`): certificates depend on it."
        }
        Fault::LocalProxy => "Check `proxy` in `[monitor]`.",
        _ => "",
    }
}

/// Reports whether the error text of such a failure came from the API. Otherwise it came from this
/// machine's resolver, TLS or sockets, or it is the monitor's own: what it expected of an answer.
pub fn is_providers_message(fault: Fault) -> bool {
    let is_own = matches!(
        fault,
        Fault::TlsCertificate
            | Fault::AnswerWrong
            | Fault::AnswerEmpty
            | Fault::RequestTooFewTokens
            | Fault::StreamTruncated
    );
    !fault.is_network() && fault.attribution() != Attribution::Local && !is_own
}
