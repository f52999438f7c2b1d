//! Who is told? Pure: a channel's filters against a notice.

use crate::config::{Config, Filters};
use crate::model::{Attribution, Notice, NoticeType};

/// Whether a channel with `filters` wants `notice`.
pub fn wants(filters: &Filters, notice: &Notice, config: &Config) -> bool {
    if notice.r#type == NoticeType::Test {
        return true;
    }
    if !filters.on.iter().any(|reason| reason == notice.r#type.filter_word()) {
        return false;
    }
    let Some(incident) = &notice.incident else { return true };
    // A fault of the account or of this machine has no degrees: it is wanted or not.
    let severe = incident.attribution != Attribution::Provider || incident.status >= filters.min_status;
    let concerned = |name: &String| {
        let endpoint = config.endpoints.iter().find(|e| e.name == *name);
        let provider = endpoint.map(|e| e.provider);
        let group = endpoint.and_then(|e| e.group.as_ref());
        (filters.endpoints.is_empty() || filters.endpoints.contains(name))
            && (filters.providers.is_empty() || provider.is_some_and(|p| filters.providers.contains(&p)))
            && (filters.groups.is_empty() || group.is_some_and(|g| filters.groups.contains(g)))
    };
    severe && filters.attribution.contains(&incident.attribution) && incident.endpoints.iter().any(concerned)
}
