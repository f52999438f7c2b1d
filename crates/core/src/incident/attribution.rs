//! Provider, account or local? Pure: the fault's default attribution, revised by what else is known.

use crate::model::{Attribution, ConnectivityCheckResult, Fault, Sample};

/// The share of a limit that refutes that it is used up.
const LEFT: f64 = 0.1;
/// Limits that headers about requests and tokens a minute say nothing about.
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

/// What is known besides the fault itself.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
pub struct Context {
    /// What the connectivity checks found, if they were asked.
    pub connectivity: Option<ConnectivityCheckResult>,
    /// Whether a provider of another failure domain has answered since this endpoint began to fail.
    pub others_answer: bool,
    /// Whether the proxy said that it cannot reach the target, and a provider of another failure domain has answered
    /// through it since this endpoint began to fail.
    pub proxy_reaches_others: bool,
    /// Whether this machine's network is known to be gone.
    pub offline: bool,
    /// Whether unrelated providers fail as they do where packets are lost, and answer in between.
    pub is_lossy: bool,
    /// Whether something independent of the account confirms that the provider rejects it wrongly.
    pub is_confirmed: bool,
}

/// Whose fault is `fault` in this context?
///
/// - A failure below HTTP while no control answers either is this machine's, unless another provider answers meanwhile:
///   then it is the checks that cannot be reached from here.
/// - A break or a timeout while this machine's network is down is this machine's fault.
/// - Packets or queries that are lost on the way to unrelated providers alike, now and then, are lost near this machine.
/// - A DNS failure is local until an unrelated name has resolved after it: then the provider's zone is broken.
/// - A target that the proxy cannot reach while it reaches others is the one that is gone.
/// - A fault of the account is suspected to be the provider's mistake when something independent confirms that.
/// - Otherwise the fault's own default holds.
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

/// Whether the provider may have rejected wrongly what it answers with `fault`: whatever it says about the account, for keys
/// have been rejected and limits been found used up that were in order. A model or a request that is rejected was the
/// request's own.
pub fn may_be_wrongly_refused(fault: Fault) -> bool {
    fault.as_str().starts_with("account.")
}

/// Whether another account that is rejected as well confirms `fault`. Money never: several accounts run dry together.
pub fn is_confirmed_by_accounts(fault: Fault) -> bool {
    may_be_wrongly_refused(fault) && fault != Fault::AccountQuota
}

/// Whether the provider's own headers refute that a limit is used up: of every limit that they name a tenth or more is
/// left. They say nothing about a limit for longer than minutes, which the error names and the headers do not.
pub fn is_refuted_by_headers(sample: &Sample) -> bool {
    let left = |remaining: Option<i64>| remaining != Some(0);
    let error = sample.error.as_deref().unwrap_or_default().to_lowercase();
    sample.fault == Some(Fault::AccountRateLimit)
        && sample.ratelimit_headroom.is_some_and(|share| share >= LEFT)
        && left(sample.ratelimit_remaining_requests)
        && left(sample.ratelimit_remaining_tokens)
        && !OTHER_LIMITS.iter().any(|limit| error.contains(limit))
}

/// Whether the title of a vendor's own incident admits what it answers with `fault`.
pub fn is_admitted(fault: Fault, title: &str) -> bool {
    let title = title.to_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|text| title.contains(text));
    match fault {
        Fault::AccountRateLimit => has(&[
            "rate limit",
            "rate-limit",
            "ratelimit",
            "429",
            "throttl",
            "too many requests",
        ]),
        Fault::AccountQuota => has(&["quota", "billing", "credit", "payment", "balance", "402"]),
        Fault::AccountAuth => has(&[
            "auth",
            "api key",
            "api-key",
            "401",
            "login",
            "credential",
            "token validation",
        ]),
        Fault::AccountPermission | Fault::AccountRegion => has(&[
            "permission",
            "403",
            "forbidden",
            "access",
            "authoriz",
            "region",
        ]),
        _ => false,
    }
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
