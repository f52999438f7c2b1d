//! Notes about a message itself: late, sent through a fallback, a reminder, changes since the last
//! one.

use super::RenderContext;
use crate::message::incident::{changes, fails_otherwise};
use crate::message::values::clean;
use crate::model::{Acknowledgement, Attribution, Incident, Notice, NoticeKind};
use crate::text;

/// A message sent this long after its decision counts as late.
const LATE_MS: i64 = 5 * 60_000;
/// The most notes of people in one message; the page has them all.
const MAX_NOTES: usize = 5;

/// Returns the notes about the message itself, the most important first.
pub(super) fn notes(notice: &Notice, context: RenderContext<'_>) -> Vec<String> {
    let locale = &context.locale;
    let mut notes = Vec::new();
    let late_by = context.now.since_ms(notice.decided_at);
    if late_by >= LATE_MS {
        let at = locale.time(notice.decided_at);
        let late = locale.duration(late_by as f64 / 1000.0);
        notes.push(text!(
            locale,
            "This message is late: it was decided at {at} and could not be delivered for {late}.",
            at,
            late
        ));
    }
    if let Some(channel) = &notice.instead_of {
        let channel = clean(channel);
        notes.push(text!(
            locale,
            "You get this message because the channel `{channel}` could not deliver it.",
            channel
        ));
    }
    let end = notice.incident.as_ref().and_then(Incident::end);
    if let Some(end) = end.filter(|_| notice.already_over) {
        let end = locale.time(end);
        notes.push(text!(
            locale,
            "It is already over: it ended at {end}, before this message could be delivered.",
            end
        ));
    }
    if notice.kind == NoticeKind::Resolved && !notice.failing_otherwise.is_empty() {
        notes.push(fails_otherwise(&notice.failing_otherwise, locale) + ".");
    }
    notes.extend(change(notice, context));
    notes.extend(noted(notice, context));
    notes
}

/// Returns what people have noted on the incident since the last message; an update and an
/// escalation list it among the changes.
fn noted(notice: &Notice, context: RenderContext<'_>) -> Vec<String> {
    if matches!(notice.kind, NoticeKind::Updated | NoticeKind::Escalated) {
        return Vec::new();
    }
    let known = notice.before.as_ref().map_or(0, |before| before.notes);
    let written = notice.incident.iter().flat_map(|i| i.notes.iter());
    let new: Vec<_> = written.skip(known).collect();
    let first_shown = new.len().saturating_sub(MAX_NOTES);
    new[first_shown..]
        .iter()
        .map(|note| {
            let locale = &context.locale;
            let at = locale.time(note.at);
            let said = clean(&note.text);
            if note.by.is_empty() {
                text!(locale, "Note at {at}: {said}", at, said)
            } else {
                let by = clean(&note.by);
                text!(locale, "Note by {by} at {at}: {said}", at, by, said)
            }
        })
        .collect()
}

/// Returns what has changed since the last message.
fn change(notice: &Notice, context: RenderContext<'_>) -> Option<String> {
    let incident = notice.incident.as_ref()?;
    let changes = notice
        .before
        .as_ref()
        .map(|before| changes(before, incident, &notice.failing_otherwise, &context.locale))
        .filter(|changes| !changes.is_empty());
    let locale = &context.locale;
    let was_acknowledged = notice
        .before
        .as_ref()
        .is_some_and(|before| before.is_acknowledged);
    Some(match notice.kind {
        // An incident of the account can only be escalated if it was attributed to the provider
        // before.
        NoticeKind::Escalated if incident.attribution == Attribution::Account => locale
            .say("Correction: this is not the provider's fault.")
            .to_owned(),
        NoticeKind::Escalated => match changes {
            Some(changes) => text!(locale, "Since the last message: {changes}.", changes),
            None => locale
                .say("It has become worse since the last message.")
                .to_owned(),
        },
        NoticeKind::Updated => match (&incident.acknowledged, changes) {
            (Some(acknowledgement), None) => acknowledged(acknowledgement, context),
            (Some(acknowledgement), Some(changes)) if !was_acknowledged => {
                let done = acknowledged(acknowledgement, context);
                text!(locale, "{done}. Also: {changes}.", done, changes)
            }
            (_, Some(changes)) => text!(locale, "Since the last message: {changes}.", changes),
            (None, None) => locale
                .say("Its cause or extent has changed since the last message.")
                .to_owned(),
        },
        NoticeKind::Reminder => locale.say("Reminder: this is still going on.").to_owned(),
        _ => return None,
    })
}

fn acknowledged(acknowledgement: &Acknowledgement, context: RenderContext<'_>) -> String {
    let by = if acknowledgement.by.is_empty() {
        context.locale.say("Somebody").to_owned()
    } else {
        clean(&acknowledgement.by)
    };
    let note = if acknowledgement.note.is_empty() {
        String::new()
    } else {
        format!(": {}", clean(&acknowledgement.note))
    };
    let at = context.locale.time(acknowledgement.at);
    text!(
        context.locale,
        "{by} acknowledged this incident at {at}{note}",
        by,
        at,
        note
    )
}
