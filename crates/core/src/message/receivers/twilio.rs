//! Twilio's SMS. Each segment of 67 characters is billed, so only the subject and the link are
//! sent.
//!
//! <https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded::Serializer;

use super::shorten::{length, shorten};
use super::{Call, FormatInput};
use crate::model::Secret;

/// The default base URL.
pub(super) const ADDRESS: &str = "https://api.twilio.com";
/// Twilio accepts 1600 characters; this is five segments of Unicode.
const BODY: usize = 335;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let account = input.key("account_sid");
    let link = input.link().map(|url| format!("\n{url}"));
    let link = link
        .filter(|link| length(link) < BODY / 2)
        .unwrap_or_default();
    let text = shorten(&input.message.subject, BODY - length(&link)) + &link;
    let body = Serializer::new(String::new())
        .append_pair("To", input.key("to"))
        .append_pair("From", input.key("from"))
        .append_pair("Body", &text)
        .finish();
    let url = input.url(&format!("/2010-04-01/Accounts/{account}/Messages.json"));
    let login = STANDARD.encode(format!("{account}:{}", input.key("token")));
    let call = Call {
        content_type: "application/x-www-form-urlencoded".to_owned(),
        body,
        ..Call::json(Secret::new(url), &serde_json::Value::Null)
    };
    call.with_header("authorization", format!("Basic {login}"))
}
