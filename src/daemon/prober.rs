//! The real prober with the connectivity checks, replaced on reload.

use std::sync::{Arc, PoisonError, RwLock};

use super::scheduler::{Probe, Probed};
use crate::config::Settings;
use crate::probe::{ConnectivityChecks, Due as ProbeDue, Prober};
use crate::redact::Redactor;
use crate::store::postgres::SharedStore;
use llmwatch_core::model::{Endpoint, Timestamp};
use llmwatch_core::schedule::Due;

/// The real prober with the connectivity checks, replaced on reload.
pub(super) struct ReloadableProber {
    set: RwLock<Arc<ProberSet>>,
    /// Set if several daemons may probe from one location: each slot is claimed by one of them.
    shared: Option<SharedStore>,
}

struct ProberSet {
    location: String,
    prober: Prober,
    checks: ConnectivityChecks,
    redactor: Redactor,
}

impl ReloadableProber {
    pub(super) fn new(config: &Settings, shared: Option<&SharedStore>) -> anyhow::Result<Self> {
        Ok(Self {
            set: RwLock::new(Arc::new(ProberSet::new(config)?)),
            shared: shared.cloned(),
        })
    }

    pub(super) fn reload(&self, config: &Settings) -> anyhow::Result<()> {
        let set = Arc::new(ProberSet::new(config)?);
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = set;
        Ok(())
    }

    fn current(&self) -> Arc<ProberSet> {
        self.set
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ProberSet {
    fn new(config: &Settings) -> anyhow::Result<Self> {
        Ok(Self {
            location: config.monitor.location.clone(),
            prober: Prober::new(config)?,
            checks: ConnectivityChecks::new(&config.connectivity_checks, &config.endpoints),
            redactor: Redactor::new(config),
        })
    }
}

impl Probe for ReloadableProber {
    async fn probe(&self, endpoint: Arc<Endpoint>, due: Due, started_at: Timestamp) -> Probed {
        let set = self.current();
        let due = ProbeDue {
            scheduled_at: due.scheduled_at,
            started_at,
            trigger: due.trigger,
        };
        let mut sample = set.prober.probe(&endpoint, due).await;
        set.redactor.clean_sample(&mut sample);
        let connectivity = match sample.fault {
            Some(fault) => set.checks.ask_about(&endpoint, fault).await,
            None => None,
        };
        Probed {
            sample,
            connectivity,
        }
    }

    async fn claims(&self, endpoint: &Endpoint, due: &Due) -> bool {
        let Some(shared) = &self.shared else {
            return true;
        };
        let location = self.current().location.clone();
        let claimed = shared
            .claim_slot(
                &due.endpoint,
                &location,
                due.scheduled_at,
                endpoint.interval,
            )
            .await;
        // If the store is unreachable, probe anyway.
        claimed.unwrap_or(true)
    }
}
