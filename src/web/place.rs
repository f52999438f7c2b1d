//! `?location=fra1`: one location's view instead of the verdict of the quorum.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::Problem;
use llmwatch_core::locations::view_from;
use llmwatch_core::model::Snapshot;

/// Which location's view.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LocationQuery {
    /// Only what this location sees; default: the verdict of the quorum.
    pub(super) location: Option<String>,
}

impl LocationQuery {
    /// Returns `snapshot` as seen from the requested location.
    ///
    /// # Errors
    /// If no daemon probes from there.
    pub(super) fn view(&self, snapshot: Arc<Snapshot>) -> Result<Arc<Snapshot>, Problem> {
        let Some(location) = &self.location else {
            return Ok(snapshot);
        };
        view_from(&snapshot, location)
            .map(Arc::new)
            .map_err(Problem::not_found)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for LocationQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(place) = Query::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("give `location` only once"))?;
        Ok(place)
    }
}
