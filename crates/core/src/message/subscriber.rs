//! Mails to subscribers of the public status page. They contain only what the public summary shows.

use askama::Template;

use super::document::{FONT, GRAY, WIDTH, wrapped};
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
        "Someone entered this address on the status page of {site}. To get an email when something fails \
         and when it has recovered, open the link and confirm. The link is valid for seven days.",
        site
    );
    let otherwise = locale.say("If it was not you, ignore this email: you will not be subscribed.");
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
                "Since {since}: {title}. You will get an email when it is over.",
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

/// The link of one subscriber, at the end of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriberLink {
    /// Confirms the subscription.
    Confirm(String),
    /// Ends the subscription.
    Unsubscribe {
        /// The sentence before it.
        line: String,
        /// The address.
        url: String,
    },
}

impl SubscriberLink {
    /// Returns the link that ends the subscription to `site`.
    pub fn unsubscribe(url: String, site: &str, locale: &Locale) -> Self {
        Self::Unsubscribe {
            line: unsubscribe_line(site, locale),
            url,
        }
    }
}

impl SubscriberText {
    /// Returns the plain-text part with the subscriber's `link`.
    pub fn text(&self, link: &SubscriberLink) -> String {
        let body = &self.body;
        match link {
            SubscriberLink::Confirm(url) => format!("{body}\n{url}\n"),
            SubscriberLink::Unsubscribe { line, url } => format!("{body}\n-- \n{line}\n{url}\n"),
        }
    }

    /// Returns the HTML part with the subscriber's `link`. It loads nothing, and all outside text is
    /// escaped.
    pub fn html(&self, link: &SubscriberLink, locale: &Locale) -> String {
        // A paragraph is wrapped in the text, and a browser wraps it anew.
        let paragraphs = self.body.trim().split("\n\n");
        let html = SubscriberHtml {
            subject: &self.subject,
            paragraphs: paragraphs.map(|p| p.replace('\n', " ")).collect(),
            link,
            lang: locale.lang(),
            font: FONT,
            gray: GRAY,
            locale,
        };
        // Rendering into a string cannot fail.
        html.render().unwrap_or_default()
    }
}

#[derive(Template)]
#[template(path = "mail/subscriber.html")]
struct SubscriberHtml<'a> {
    subject: &'a str,
    paragraphs: Vec<String>,
    link: &'a SubscriberLink,
    lang: &'static str,
    font: &'static str,
    gray: &'static str,
    locale: &'a Locale,
}

impl SubscriberHtml<'_> {
    /// Reports whether a paragraph is nothing but a web address.
    fn is_address(paragraph: &str) -> bool {
        ["https://", "http://"]
            .iter()
            .any(|scheme| paragraph.starts_with(scheme))
            && !paragraph.contains(char::is_whitespace)
    }
}

/// Returns the text before the unsubscribe link.
fn unsubscribe_line(site: &str, locale: &Locale) -> String {
    let site = clean(site);
    text!(
        locale,
        "You get this email because you subscribed to {site}. Unsubscribe:",
        site
    )
}
