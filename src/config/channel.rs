//! `[[email]]`, and the filters that every channel has: where notifications are sent, and which
//! ones.

use std::time::Duration;

use lettre::Address;
use lettre::message::Mailbox;
use url::Url;

use super::diagnostic::echo;
use super::dkim;
use super::endpoint::checked_name;
use super::percent::percent_decoded;
use super::raw::{Table, Value};
use super::{Channel, ChannelKind, Email, Filters, Smtp, SmtpTls, units::minute_of_day};
use llmwatch_core::model::{Attribution, ChannelName, Provider, Secret, Status};

/// The reasons that a channel's `on` accepts.
const REASONS: [&str; 9] = [
    "opened",
    "updated",
    "escalated",
    "resolved",
    "reminder",
    "monitor",
    "report",
    "advice",
    "official",
];

/// Reads one `[[email]]`.
pub(super) fn email(table: &Table<'_>) -> Option<Channel> {
    let name = table
        .get("name")
        .and_then(|v| checked_name(&v))
        .unwrap_or_else(|| "email".to_owned());
    let to = table
        .required("to", "the recipients, such as `[\"oncall@example.com\"]`")
        .and_then(|v| addresses(&v));
    let cc = table
        .get("cc")
        .and_then(|v| addresses(&v))
        .unwrap_or_default();
    let from = table
        .required("from", "the sender, such as `\"llmwatch@example.com\"`")
        .and_then(|v| sender(&v));
    let hello = table.get("hello").and_then(|v| hello(&v));
    let reply_to = table.get("reply_to").and_then(|v| address(&v));
    let span = ["smtp", "smtp_file", "smtp_credential"]
        .into_iter()
        .find(|k| table.get(k).is_some())
        .map_or(table.span.clone(), |k| table.key_span(k));
    let given = table.secret("smtp", "smtp_file", "smtp_credential");
    if given.is_none()
        && !["smtp", "smtp_file", "smtp_credential"]
            .iter()
            .any(|k| table.get(k).is_some())
    {
        let help =
            "add the mail server: `smtp = \"smtps://user:${SMTP_PASSWORD}@smtp.example.com\"`";
        table.error("missing key `smtp` in `[[email]]`", help);
    }
    let smtp = given.and_then(|url| match smtp(&url) {
        Ok(smtp) => Some(smtp),
        Err((message, help)) => {
            table
                .sink()
                .error(Some(span), message, Some(help.to_owned()));
            None
        }
    });
    let dkim = table.table("dkim").and_then(|t| dkim::read(&t));
    let filters = filters(table);
    table.finish();
    let to = to?;
    if to.is_empty() {
        table.error("missing recipients in `[[email]]`", "fill `to`");
    }
    let email = Email {
        to,
        cc,
        from: from.clone()?.1,
        from_name: from?.0,
        hello,
        reply_to,
        smtp: smtp?,
        dkim,
    };
    Some(Channel {
        name: name.into(),
        kind: ChannelKind::Email(email),
        filters,
    })
}

/// Reads the filters of a channel.
pub(super) fn filters(table: &Table<'_>) -> Filters {
    let standard = Filters::default();
    let reasons = REASONS.map(|r| (r, r));
    let attributions = [
        Attribution::Provider,
        Attribution::Account,
        Attribution::Local,
    ]
    .map(|a| (a.as_str(), a));
    let providers: Vec<_> = Provider::ALL.iter().map(|p| (p.as_str(), *p)).collect();
    let on = match table.get("on").and_then(|v| v.items()) {
        Some(items) => items
            .iter()
            .filter_map(|v| v.one_of(&reasons).map(str::to_owned))
            .collect(),
        None => standard.on,
    };
    let attribution: Vec<_> = table
        .items("attribution")
        .iter()
        .filter_map(|v| v.one_of(&attributions))
        .collect();
    let quiet = table.get("quiet_hours").and_then(|v| {
        let text = v.string()?;
        let hours = text
            .split_once('-')
            .and_then(|(a, b)| Some((minute_of_day(a.trim())?, minute_of_day(b.trim())?)));
        hours.or_else(|| {
            v.error(
                format!("invalid quiet hours {}", echo(&text)),
                "write `\"22:00-07:00\"`",
            )
        })
    });
    let remind = table
        .get("remind_every")
        .map_or(standard.remind_every, |v| {
            if v.is_str() && v.string().as_deref() == Some("off") {
                None
            } else {
                v.duration()
            }
        });
    Filters {
        on,
        min_status: table
            .get("min_status")
            .and_then(|v| v.one_of(&[("degraded", Status::Degraded), ("outage", Status::Outage)]))
            .unwrap_or(standard.min_status),
        attribution: if attribution.is_empty() {
            standard.attribution
        } else {
            attribution
        },
        endpoints: table
            .get("endpoints")
            .and_then(|v| v.names())
            .unwrap_or_default(),
        providers: table
            .items("providers")
            .iter()
            .filter_map(|v| v.one_of(&providers))
            .collect(),
        groups: table
            .get("groups")
            .and_then(|v| v.strings())
            .unwrap_or_default(),
        remind_every: remind,
        after: length(table, "after").unwrap_or(standard.after),
        group_wait: length(table, "group_wait").unwrap_or(standard.group_wait),
        give_up_after: length(table, "give_up_after").unwrap_or(standard.give_up_after),
        fallback: table
            .get("fallback")
            .and_then(|v| v.string())
            .map(ChannelName::from),
        quiet_hours: quiet,
        quiet_hours_all: table
            .get("quiet_hours_all")
            .and_then(|v| v.boolean())
            .unwrap_or(false),
    }
}

fn length(table: &Table<'_>, key: &'static str) -> Option<Duration> {
    table.get(key)?.duration()
}

fn addresses(value: &Value<'_>) -> Option<Vec<String>> {
    if value.is_str() {
        return value.error(
            format!("`{}` is a list", value.key),
            "put it in brackets: `[\"oncall@example.com\"]`",
        );
    }
    value.items()?.iter().map(address).collect()
}

fn address(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    match text.parse::<Address>() {
        Ok(_) => Some(text),
        Err(_) => value.error(
            format!("invalid email address {}", echo(&text)),
            "the bare address: `oncall@example.com`",
        ),
    }
}

/// Parses the sender: an optional name, and an address.
fn sender(value: &Value<'_>) -> Option<(Option<String>, String)> {
    let text = value.string()?;
    match text.parse::<Mailbox>() {
        Ok(sender) => Some((sender.name, sender.email.to_string())),
        Err(_) => value.error(
            format!("invalid email address {}", echo(&text)),
            "write `llmwatch@example.com` or `Name <llmwatch@example.com>`",
        ),
    }
}

/// Checks a name for EHLO (RFC 5321, section 4.1.3): a host name or an address literal.
fn hello(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    let literal = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let is_valid = if let Some(address) = literal {
        let address = address.strip_prefix("IPv6:").unwrap_or(address);
        address.parse::<std::net::IpAddr>().is_ok()
    } else {
        text.len() <= 253
            && text.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            })
    };
    if is_valid {
        return Some(text);
    }
    value.error(
        format!("invalid EHLO name {}", echo(&text)),
        "write this machine's full name, such as `monitor.example.com`, or an address in brackets",
    )
}

/// What is wrong with a mail server's URL, and what to do. Neither contains the URL.
type SmtpUrlError = (&'static str, &'static str);

fn smtp(url: &Secret) -> Result<Smtp, SmtpUrlError> {
    const FORM: &str = "write `smtps://user:${PASSWORD}@host`, `smtp://user:${PASSWORD}@host:587` or `smtp://127.0.0.1:25`; \
                        percent-encode special characters of the password";
    let url =
        Url::parse(url.expose()).map_err(|_| ("the mail server's URL cannot be read", FORM))?;
    // A `#`, `?` or `/` of a password ends the login part early: then what follows it is no host.
    let is_cut = !matches!(url.path(), "" | "/") || url.query_pairs().any(|(k, _)| k != "tls");
    if is_cut || url.fragment().is_some() {
        return Err((
            "the mail server's URL has more than a login, a host, a port and `?tls=`",
            FORM,
        ));
    }
    // The URL standard does not know `smtp`, so it does not recognize an IP address as one.
    let host = url
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    if host.is_empty() {
        return Err(("the mail server's URL has no host", FORM));
    }
    let loopback = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    let asked = url
        .query_pairs()
        .find(|(k, _)| k == "tls")
        .map(|(_, v)| v.into_owned());
    let tls = match (url.scheme(), asked.as_deref()) {
        ("smtps", None) => SmtpTls::Implicit,
        ("smtp", Some("required")) => SmtpTls::Required,
        ("smtp", None) if !loopback => SmtpTls::Required,
        ("smtp", None | Some("none")) => SmtpTls::None,
        ("smtp" | "smtps", _) => {
            return Err((
                "the mail server's URL asks for an unknown `tls`",
                "`?tls=required` or `?tls=none`",
            ));
        }
        _ => {
            return Err((
                "the mail server's URL is neither smtp:// nor smtps://",
                FORM,
            ));
        }
    };
    let broken = ("the mail server's URL has a broken percent code", FORM);
    let credentials = match (url.username(), url.password()) {
        ("", None) => None,
        (user, Some(password)) if !user.is_empty() => {
            let user = percent_decoded(user).ok_or(broken)?;
            let password = percent_decoded(password).ok_or(broken)?;
            Some((user, Secret::new(password)))
        }
        _ => {
            return Err((
                "the mail server's URL has a name or a password, but not both",
                FORM,
            ));
        }
    };
    let port = url.port().unwrap_or(match tls {
        SmtpTls::Implicit => 465,
        SmtpTls::Required => 587,
        SmtpTls::None => 25,
    });
    Ok(Smtp {
        host,
        port,
        tls,
        credentials,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Smtp, SmtpUrlError> {
        smtp(&Secret::new(url))
    }

    #[test]
    fn a_mail_server_is_protected_unless_it_is_this_machine() {
        let server = |url| read(url).map(|s| (s.port, s.tls)).unwrap();
        assert_eq!(
            server("smtps://u:p@mail.example.com"),
            (465, SmtpTls::Implicit)
        );
        assert_eq!(
            server("smtp://u:p@mail.example.com"),
            (587, SmtpTls::Required)
        );
        assert_eq!(server("smtp://127.0.0.1:25"), (25, SmtpTls::None));
        assert_eq!(
            server("smtp://localhost?tls=required"),
            (587, SmtpTls::Required)
        );
        assert_eq!(
            server("smtp://mail.example.com?tls=none"),
            (25, SmtpTls::None)
        );
        for bad in [
            "mail.example.com",
            "http://mail.example.com",
            "smtp://u@mail.example.com",
            "smtp://h?tls=maybe",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn special_characters_of_a_password_are_percent_codes() {
        let (user, password) = read("smtps://me%40example.com:p%40ss%2Fw@mail.example.com")
            .unwrap()
            .credentials
            .unwrap();
        assert_eq!(
            (user.as_str(), password.expose()),
            ("me@example.com", "p@ss/w")
        );
    }
}
