//! What must be known about a message itself: a test, late, a reminder, what has changed since the last one.

use super::Setting;
use super::letter::{clean, when};
use crate::incident::human_duration;
use crate::model::{Acknowledgement, Attribution, Notice, NoticeType};

/// A message sent this long after its decision is late.
const LATE_MS: i64 = 5 * 60_000;

/// What must be known about the message itself.
pub(super) fn remarks(notice: &Notice, setting: Setting) -> Vec<String> {
    let mut remarks = Vec::new();
    if notice.test && notice.r#type != NoticeType::Test {
        remarks.push(
            "This is only a test, asked for by a person: nothing is wrong, and everything below is made up.".into(),
        );
    }
    let late_by = setting.now.since_ms(notice.decided_at);
    if late_by >= LATE_MS {
        remarks.push(format!(
            "This message is late: it was decided at {} and could not be delivered for {}.",
            when(notice.decided_at, setting),
            human_duration(late_by as f64 / 1000.0)
        ));
    }
    if let Some(channel) = &notice.instead_of {
        let channel = clean(channel);
        remarks.push(format!(
            "This came to you because the channel `{channel}` could not deliver it."
        ));
    }
    let resolved_at = notice.incident.as_ref().and_then(|i| i.resolved_at);
    if let Some(resolved_at) = resolved_at.filter(|_| notice.already_over) {
        let at = when(resolved_at, setting);
        remarks.push(format!(
            "It is already over: it ended at {at}, before this message could be delivered."
        ));
    }
    let attribution = notice.incident.as_ref().map(|i| i.attribution);
    match notice.r#type {
        // Only what the provider was suspected of can become the account's later.
        NoticeType::Escalated if attribution == Some(Attribution::Account) => {
            remarks.push("It turned out not to be the provider's fault.".to_owned());
        }
        NoticeType::Escalated => {
            remarks.push("It has become worse since the last message.".to_owned())
        }
        NoticeType::Updated => remarks.push(
            match notice
                .incident
                .as_ref()
                .and_then(|i| i.acknowledged.as_ref())
            {
                Some(word) => taken_by(word, setting),
                None => "Its cause or its extent has changed since the last message.".to_owned(),
            },
        ),
        NoticeType::Reminder => remarks.push("A reminder: it still goes on.".to_owned()),
        _ => {}
    }
    remarks
}

fn taken_by(word: &Acknowledgement, setting: Setting) -> String {
    let by = if word.by.is_empty() {
        "Somebody".to_owned()
    } else {
        clean(&word.by)
    };
    let comment = if word.comment.is_empty() {
        String::new()
    } else {
        format!(": {}", clean(&word.comment))
    };
    format!(
        "{by} is on it, acknowledged at {}{comment}",
        when(word.at, setting)
    )
}
