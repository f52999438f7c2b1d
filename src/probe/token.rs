//! Tokens of Microsoft Entra ID, which stand for a key on Azure: kept until shortly before they expire.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::clock::uptime;
use llmwatch_core::model::{Entra, Secret};

/// A token is fetched anew when it has less than this left.
const SPARE: Duration = Duration::from_mins(5);

/// The tokens of all endpoints, by where they come from, and until when they are good: by the time the machine is up,
/// since a token ages while the machine sleeps as well.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<BTreeMap<String, (Secret, Duration)>>);

impl Tokens {
    /// A token that is still good for a while.
    pub(super) async fn kept(&self, entra: &Entra) -> Option<Secret> {
        let tokens = self.0.lock().await;
        tokens
            .get(&source(entra))
            .filter(|(_, until)| *until > uptime())
            .map(|(token, _)| token.clone())
    }

    /// Keeps a token that is good for `life`.
    pub(super) async fn keep(&self, entra: &Entra, token: Secret, life: Duration) {
        // One that lives shorter than the spare is used for half its life.
        let until = uptime() + life.saturating_sub(SPARE).max(life / 2);
        self.0.lock().await.insert(source(entra), (token, until));
    }
}

fn source(entra: &Entra) -> String {
    format!("{} {} {}", entra.token_url, entra.client_id, entra.scope)
}
