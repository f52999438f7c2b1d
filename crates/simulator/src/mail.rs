//! The stored mails and the fault of a mail server, shared by the sink and its sessions.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use llmwatch_core::model::{Secret, Timestamp};

use crate::inbox::Inbox;

/// An accepted mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The envelope sender; empty for `<>`.
    pub from: String,
    /// The envelope recipients that were accepted.
    pub to: Vec<String>,
    /// Headers and body as sent, dots unstuffed.
    pub data: Vec<u8>,
    /// When its last line arrived.
    pub received_at: Timestamp,
}

/// How the server fails.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum MailFault {
    /// No fault.
    #[default]
    None,
    /// Connections are reset before the greeting.
    Refuse,
    /// No response after the greeting.
    HangAfterBanner,
    /// 4xx: retry later.
    Transient(MailStage),
    /// 5xx: do not retry.
    Permanent(MailStage),
    /// 550 for this recipient; others are accepted.
    RejectRecipient(String),
    /// Replies are sent byte by byte, with this delay after each.
    Drip(Duration),
    /// The connection is closed after the first line of the message.
    DisconnectInData,
}

/// The stage of the dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailStage {
    /// In response to `MAIL FROM`.
    Mail,
    /// In response to each `RCPT TO`.
    Rcpt,
    /// In response to the message, once it has arrived completely.
    Data,
}

/// The state that all sessions share.
#[derive(Debug)]
pub(crate) struct SmtpState {
    pub(crate) mails: Inbox<Mail>,
    pub(crate) fault: Mutex<MailFault>,
    pub(crate) login: Mutex<Option<Login>>,
}

/// A user name and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

impl SmtpState {
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
