//! Mails to subscribers of the public status page. They contain only what the public summary shows.

use super::document::{WIDTH, wrapped};
use super::incident::public_title;
use super::severity::Severity;
use super::values::{Locale, clean};
use crate::model::{Incident, Note};
use crate::text;

/// A mail: its subject, and its text without the links of the subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberText {
    /// The subject, on one line.
    pub subject: String,
    /// The body, as plain text.
    pub body: String,
}

/// Why subscribers get a mail about an incident.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PublicEvent<'a> {
    /// The incident was opened.
    Opened,
    /// A note was added.
    Noted(&'a Note),
    /// The incident was resolved.
    Resolved,
}

/// Returns the double opt-in mail for `site`, without the confirmation link that follows it.
pub fn confirmation(site: &str, locale: &Locale) -> SubscriberText {
    let site = clean(site);
    let text = text!(
        locale,
        "Somebody entered this address on the status page of {site}. To get a mail when something fails \
         and when it has recovered, open the link and confirm. The link is valid for seven days.",
        site
    );
    let otherwise = locale.say("If it was not you, ignore this mail: you will not be subscribed.");
    SubscriberText {
        subject: text!(locale, "Confirm your subscription to {site}", site),
        body: format!(
            "{}\n\n{}\n",
            wrapped(&text, "", "", WIDTH),
            wrapped(otherwise, "", "", WIDTH)
        ),
    }
}

/// Returns the mail about `incident` of `site`; `page` is its public page.
pub fn incident(
    incident: &Incident,
    event: PublicEvent<'_>,
    site: &str,
    page: Option<&str>,
    locale: &Locale,
) -> SubscriberText {
    let title = public_title(incident, locale);
    let tag = Severity::of(incident).public_tag();
    let since = locale.time(incident.started_at);
    let (subject, text) = match event {
        PublicEvent::Opened => (
            format!("[{tag}] {title}"),
            text!(
                locale,
                "Since {since}: {title}. You will get a mail when it is over.",
                since,
                title
            ),
        ),
        PublicEvent::Noted(note) => (
            format!("[UPDATE] {title}"),
            format!("{} ({})", clean(&note.text), locale.time(note.at)),
        ),
        PublicEvent::Resolved => {
            let lasted = locale.duration(incident.duration_s);
            let end = locale.time(incident.end().unwrap_or(incident.started_at));
            let names = locale.list_at_most(&incident.endpoints, 3);
            (
                text!(locale, "[RESOLVED after {lasted}] {names}", lasted, names),
                text!(
                    locale,
                    "The incident is over: {names}. It lasted {lasted}, from {since} to {end}.",
                    names,
                    lasted,
                    since,
                    end
                ),
            )
        }
    };
    let mut body = format!("{}\n", wrapped(&text, "", "", WIDTH));
    if let Some(page) = page {
        body += &format!("\n{page}\n");
    }
    SubscriberText {
        subject: format!("{} · {}", clean(&subject), clean(site)),
        body,
    }
}

/// Returns the text before the unsubscribe link.
pub fn unsubscribe_line(site: &str, locale: &Locale) -> String {
    let site = clean(site);
    text!(
        locale,
        "You get this mail because you subscribed to {site}. Unsubscribe:",
        site
    )
}
