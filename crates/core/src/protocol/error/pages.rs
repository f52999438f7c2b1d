//! Recognizes pages from intermediaries: browser challenges of front ends and block pages of this
//! network's web filters. They are matched by strings that their vendors always include. Pure.

/// Strings in challenge pages, in lower case, and their vendors.
const CHALLENGES: &[(&str, &str)] = &[
    ("just a moment...", "Cloudflare"),
    ("_cf_chl_opt", "Cloudflare"),
    ("awswaf.com", "AWS WAF"),
    ("awswafcaptcha", "AWS WAF"),
    ("awswafintegration", "AWS WAF"),
    ("_incapsula_resource", "Imperva"),
    ("incapsula incident id", "Imperva"),
    ("pardon our interruption", "Imperva"),
    ("captcha-delivery.com", "DataDome"),
    ("px-captcha", "HUMAN"),
    ("perimeterx", "HUMAN"),
    ("sec-if-cpt-container", "Akamai"),
    ("bm-verify", "Akamai"),
    ("vercel security checkpoint", "Vercel"),
    ("ips.js?kpsdk", "Kasada"),
    ("ddos-guard", "DDoS-Guard"),
    ("friendly-captcha", "Friendly Captcha"),
    (".within.website", "Anubis"),
    ("your support id is", "a web application firewall"),
    ("checking your browser", "a check for browsers"),
    (
        "checking if the site connection is secure",
        "a check for browsers",
    ),
    (
        "enable javascript and cookies to continue",
        "a check for browsers",
    ),
    ("human verification", "a check for browsers"),
    ("not a bot", "a check for browsers"),
    ("not a robot", "a check for browsers"),
    ("security checkpoint", "a check for browsers"),
    (
        "unusual traffic from your computer network",
        "a check for browsers",
    ),
    ("verify that you are human", "a check for browsers"),
    ("verify you are human", "a check for browsers"),
    ("verifying you are human", "a check for browsers"),
    ("verifying your browser", "a check for browsers"),
];
/// Strings in the JSON that such front ends send to scripts, in lower case.
const SCRIPT_CHALLENGES: &[(&str, &str)] = &[
    ("captcha-delivery.", "DataDome"),
    ("\"jsclientsrc\"", "HUMAN"),
    ("\"blockscript\"", "HUMAN"),
];
/// Strings in block pages of web filters, in lower case, and their vendors.
const FILTERS: &[(&str, &str)] = &[
    ("zscaler", "Zscaler"),
    ("fortiguard", "FortiGuard"),
    ("fortigate", "FortiGate"),
    ("policy_denied", "Blue Coat"),
    ("blue coat", "Blue Coat"),
    ("netskope", "Netskope"),
    ("cisco umbrella", "Cisco Umbrella"),
    ("opendns", "OpenDNS"),
    ("forcepoint", "Forcepoint"),
    ("websense", "Websense"),
    ("mcafee web gateway", "McAfee"),
    ("skyhigh secure web gateway", "Skyhigh"),
    ("sophos web", "Sophos"),
    ("sophos firewall", "Sophos"),
    ("barracuda web", "Barracuda"),
    ("usercheck", "Check Point"),
    ("web page blocked", "a web filter"),
    ("in accordance with company policy", "a web filter"),
    ("according to company policy", "a web filter"),
    ("blocked by your organization", "a web filter"),
    ("blocked by your administrator", "a web filter"),
    ("blocked by your network administrator", "a web filter"),
    ("the requested url could not be retrieved", "Squid"),
];

/// Returns the vendor of the challenge page `lower`, which is in lower case.
pub(super) fn challenger(lower: &str) -> Option<&'static str> {
    find(CHALLENGES, lower)
}

/// Returns the vendor of the challenge in the JSON text `body`.
pub(super) fn script_challenger(body: &str) -> Option<&'static str> {
    find(SCRIPT_CHALLENGES, &body.to_ascii_lowercase())
}

/// Returns the vendor of the web filter's page `lower`, which is in lower case.
pub(super) fn filter(lower: &str) -> Option<&'static str> {
    find(FILTERS, lower)
}

fn find(table: &[(&str, &'static str)], lower: &str) -> Option<&'static str> {
    let found = table.iter().find(|(part, _)| lower.contains(part));
    found.map(|(_, name)| *name)
}
