//! What a mail server keeps, and how it fails: shared by the sink and its sessions.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use llmwatch_core::model::{Secret, Timestamp};

use crate::inbox::Inbox;

/// One mail that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The envelope's sender; empty for `<>`.
    pub from: String,
    /// The envelope's recipients that were accepted.
    pub to: Vec<String>,
    /// Headers and body as sent, dots unstuffed.
    pub data: Vec<u8>,
    /// When its last line came.
    pub received_at: Timestamp,
}

/// How the server fails.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum MailFault {
    /// It doesn't.
    #[default]
    None,
    /// Connections are reset before the greeting.
    Refuse,
    /// Silence after the greeting.
    HangAfterBanner,
    /// 4xx: try later.
    Transient(MailStage),
    /// 5xx: don't try again.
    Permanent(MailStage),
    /// 550 for this recipient; the others are fine.
    RejectRecipient(String),
    /// Every answer comes byte by byte, with this long after each.
    Drip(Duration),
    /// The connection is closed when the first line of the message has come.
    DisconnectInData,
}

/// Where in the dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailStage {
    /// In answer to `MAIL FROM`.
    Mail,
    /// In answer to each `RCPT TO`.
    Rcpt,
    /// In answer to the message, when all of it has arrived.
    Data,
}

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct PostOffice {
    pub(crate) mails: Inbox<Mail>,
    pub(crate) fault: Mutex<MailFault>,
    pub(crate) login: Mutex<Option<Login>>,
}

/// A name and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

impl PostOffice {
    pub(crate) fn fault(&self) -> MailFault {
        self.fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn login(&self) -> Option<Login> {
        self.login
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
