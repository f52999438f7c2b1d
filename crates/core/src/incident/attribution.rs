//! Attributes a fault to the provider, the account or this machine. Pure: the fault's default
//! attribution, revised by context.

use crate::model::{Attribution, ConnectivityCheckResult, Fault, Sample};

/// With at least this share left, a rate limit cannot be exhausted.
const LEFT: f64 = 0.1;
/// Limits that the rate-limit headers for requests and tokens per minute do not cover.
const OTHER_LIMITS: &[&str] = &[
    "per day",
    "daily",
    "(tpd)",
    "(rpd)",
    "per hour",
    "hourly",
    "per week",
    "weekly",
    "per month",
    "monthly",
    "concurren",
    "5-hour",
    "usage limit",
];

/// Context for attributing a fault.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
pub struct Context {
    /// Result of the connectivity checks, if they ran.
    pub connectivity: Option<ConnectivityCheckResult>,
    /// Whether a provider of another failure domain has answered since this endpoint began to fail.
    pub others_answer: bool,
    /// Whether the proxy reported the target as unreachable, and a provider of another failure
    /// domain has answered through it since this endpoint began to fail.
    pub proxy_reaches_others: bool,
    /// Whether this machine is known to be offline.
    pub offline: bool,
    /// Whether unrelated providers show intermittent failures that are typical of packet loss.
    pub is_lossy: bool,
    /// Whether independent evidence confirms that the provider wrongly rejects the account.
    pub is_confirmed: bool,
}

/// Returns the attribution of `fault` in this context.
///
/// - A failure below HTTP is local while no connectivity check succeeds, unless another provider
///   answers: then only the checks are unreachable.
/// - A broken connection or a timeout while this machine is offline is local.
/// - Intermittent packet or query loss toward unrelated providers is local.
/// - A DNS failure is local until an unrelated name resolves; then the provider's zone is broken.
/// - If the proxy reaches other providers, an unreachable target is the provider's fault.
/// - An account fault is the provider's when independent evidence confirms it.
/// - Otherwise the fault's default attribution applies.
pub fn attribute(fault: Fault, context: Context) -> Attribution {
    let by_default = fault.attribution();
    if context.is_lossy && fault.is_loss() {
        return Attribution::Local;
    }
    match context.connectivity {
        Some(ConnectivityCheckResult { any: false, .. }) if fault.is_transport() => {
            if context.others_answer && by_default != Attribution::Local {
                by_default
            } else {
                Attribution::Local
            }
        }
        Some(reach) if fault == Fault::LocalDns && reach.by_name => Attribution::Provider,
        _ if fault == Fault::LocalProxy && context.proxy_reaches_others => Attribution::Provider,
        None if fault.is_network() && context.offline => Attribution::Local,
        _ if context.is_confirmed && by_default == Attribution::Account => Attribution::Provider,
        _ => by_default,
    }
}

/// Reports whether a rejection with `fault` may be the provider's mistake. Every account fault may
/// be: providers have rejected valid keys and reported unused limits as exhausted. A rejected model
/// or request is the request's own fault.
pub fn may_be_wrongly_refused(fault: Fault) -> bool {
    fault.as_str().starts_with("account.")
}

/// Reports whether the rejection of another account confirms `fault`. An exhausted quota never
/// counts: several accounts can run out of money together.
pub fn is_confirmed_by_accounts(fault: Fault) -> bool {
    may_be_wrongly_refused(fault) && fault != Fault::AccountQuota
}

/// Reports whether the provider's headers contradict a rate-limit error: at least a tenth of every
/// limit that they name is left. Headers do not cover limits longer than minutes, which only the
/// error text names.
pub fn is_refuted_by_headers(sample: &Sample) -> bool {
    let error = sample.error.as_deref().unwrap_or_default().to_lowercase();
    sample.fault == Some(Fault::AccountRateLimit)
        && sample.ratelimit_headroom.is_some_and(|share| share >= LEFT)
        && sample.ratelimit_remaining_requests != Some(0)
        && sample.ratelimit_remaining_tokens != Some(0)
        && !OTHER_LIMITS.iter().any(|limit| error.contains(limit))
}

/// Reports whether the title of a vendor incident admits `fault`.
pub fn is_admitted(fault: Fault, title: &str) -> bool {
    let title = title.to_lowercase();
    let admissions: &[&str] = match fault {
        Fault::AccountRateLimit => &[
            "rate limit",
            "rate-limit",
            "ratelimit",
            "429",
            "throttl",
            "too many requests",
        ],
        Fault::AccountQuota => &["quota", "billing", "credit", "payment", "balance", "402"],
        Fault::AccountAuth => &[
            "auth",
            "api key",
            "api-key",
            "401",
            "login",
            "credential",
            "token validation",
        ],
        Fault::AccountPermission | Fault::AccountRegion => &[
            "permission",
            "403",
            "forbidden",
            "access",
            "authoriz",
            "region",
        ],
        _ => &[],
    };
    admissions.iter().any(|text| title.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(any: bool) -> Context {
        Context {
            connectivity: Some(ConnectivityCheckResult {
                any,
                by_name: false,
            }),
            ..Context::default()
        }
    }

    #[test]
    fn refused_connection_is_a_provider_fault_unless_offline() {
        assert_eq!(
            attribute(Fault::TcpTimeout, Context::default()),
            Attribution::Provider
        );
        assert_eq!(
            attribute(Fault::TcpTimeout, asked(true)),
            Attribution::Provider
        );
        assert_eq!(
            attribute(Fault::TcpTimeout, asked(false)),
            Attribution::Local
        );
        assert_eq!(
            attribute(Fault::Http5xx, asked(false)),
            Attribution::Provider,
            "an answer came through"
        );
        let firewalled = Context {
            others_answer: true,
            ..asked(false)
        };
        assert_eq!(
            attribute(Fault::TcpTimeout, firewalled),
            Attribution::Provider,
            "only the connectivity checks are blocked"
        );
    }

    #[test]
    fn what_is_lost_on_the_way_to_all_is_lost_here() {
        let lossy = Context {
            is_lossy: true,
            ..asked(true)
        };
        assert_eq!(attribute(Fault::TcpTimeout, lossy), Attribution::Local);
        assert_eq!(attribute(Fault::TcpRefused, lossy), Attribution::Provider);
        assert_eq!(attribute(Fault::Http5xx, lossy), Attribution::Provider);
    }

    #[test]
    fn a_dns_failure_is_local_until_another_name_resolves() {
        assert_eq!(
            attribute(Fault::LocalDns, Context::default()),
            Attribution::Local
        );
        for (reach, expected) in [
            ((false, false), Attribution::Local),
            ((true, false), Attribution::Local),
            ((true, true), Attribution::Provider),
        ] {
            let asked = Context {
                connectivity: Some(ConnectivityCheckResult {
                    any: reach.0,
                    by_name: reach.1,
                }),
                ..Context::default()
            };
            assert_eq!(attribute(Fault::LocalDns, asked), expected, "{reach:?}");
        }
    }

    #[test]
    fn target_a_proxy_cannot_reach_is_a_provider_fault() {
        let reaches = Context {
            proxy_reaches_others: true,
            ..Context::default()
        };
        assert_eq!(attribute(Fault::LocalProxy, reaches), Attribution::Provider);
        assert_eq!(
            attribute(Fault::LocalProxy, Context::default()),
            Attribution::Local
        );
        assert_eq!(
            attribute(Fault::LocalResources, reaches),
            Attribution::Local
        );
    }

    #[test]
    fn a_stream_that_breaks_off_when_the_network_goes_is_ours() {
        let offline = Context {
            offline: true,
            ..Context::default()
        };
        assert_eq!(
            attribute(Fault::TimeoutTokenGap, offline),
            Attribution::Local
        );
        assert_eq!(attribute(Fault::Http5xx, offline), Attribution::Provider);
        assert_eq!(
            attribute(Fault::TimeoutTokenGap, Context::default()),
            Attribution::Provider
        );
    }

    #[test]
    fn a_fault_of_the_account_is_the_providers_when_confirmed() {
        let together = Context {
            is_confirmed: true,
            ..Context::default()
        };
        assert_eq!(
            attribute(Fault::AccountAuth, together),
            Attribution::Provider
        );
        assert_eq!(
            attribute(Fault::AccountAuth, Context::default()),
            Attribution::Account
        );
        assert_eq!(attribute(Fault::TcpReset, together), Attribution::Provider);
        for fault in Fault::ALL {
            assert_eq!(
                may_be_wrongly_refused(*fault),
                fault.as_str().starts_with("account."),
                "{fault}"
            );
        }
    }
}
