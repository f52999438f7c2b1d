//! incident.io's own page feed (`/proxy/HOST`): it says which components an incident concerns, and when it was
//! published. It is undocumented; the shape was read from captures.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Wanted, component_status, is_over, list, ulid, word};
use crate::model::{Status, Timestamp, VendorIncident, VendorPage};

/// Reads the document's `summary`.
pub(super) fn read(summary: &Value, wanted: Wanted<'_>) -> VendorPage {
    let directory = Directory::new(summary);
    let ours = |affected: &Value| directory.is_wanted(word(affected, "component_id"), wanted);
    let status = list(summary, "affected_components")
        .iter()
        .filter(|a| ours(a))
        .map(current)
        .fold(Status::Operational, Status::worse);
    let base = word(summary, "public_url").trim_end_matches('/');
    let incidents = list(summary, "ongoing_incidents")
        .iter()
        .filter(|i| !is_over(word(i, "status")))
        .filter_map(|i| {
            let affected: Vec<_> = list(i, "affected_components")
                .iter()
                .chain(list(i, "component_impacts"))
                .collect();
            if !wanted.is_everything() && !affected.is_empty() && !affected.iter().any(|a| ours(a))
            {
                return None;
            }
            let of_ours = list(i, "affected_components")
                .iter()
                .filter(|a| ours(a))
                .map(current);
            let mut components: Vec<_> = affected
                .iter()
                .map(|a| directory.name(word(a, "component_id")).to_owned())
                .collect();
            components.sort();
            components.dedup();
            Some(VendorIncident {
                id: word(i, "id").to_owned(),
                name: word(i, "name").to_owned(),
                status: of_ours.fold(Status::Operational, Status::worse),
                phase: word(i, "status").to_owned(),
                published_at: published_at(i),
                url: (!base.is_empty()).then(|| format!("{base}/incidents/{}", word(i, "id"))),
                components,
            })
        })
        .collect();
    let maintained = list(summary, "in_progress_maintenances").iter().any(|m| {
        let affected = list(m, "affected_components");
        wanted.is_everything() || affected.iter().any(ours)
    });
    let status = if maintained {
        status.worse(Status::Maintenance)
    } else {
        status
    };
    VendorPage {
        status,
        incidents,
        url: word(summary, "public_url").to_owned(),
    }
}

fn current(affected: &Value) -> Status {
    let now = affected["current_status"]
        .as_str()
        .unwrap_or_else(|| word(affected, "status"));
    component_status(now)
}

/// `start_at` of the impacts is dated back and says nothing about this.
fn published_at(incident: &Value) -> Option<Timestamp> {
    let moment = |value: &Value| value.as_str().and_then(|t| Timestamp::parse(t).ok());
    moment(&incident["published_at"])
        .or_else(|| ulid::made_at(word(incident, "id")))
        .or_else(|| {
            list(incident, "updates")
                .iter()
                .filter_map(|u| moment(&u["published_at"]))
                .min()
        })
}

/// The names by which a component can be meant: its own, and those of its group.
struct Directory<'a> {
    names: BTreeMap<&'a str, &'a str>,
    groups: BTreeMap<&'a str, [&'a str; 2]>,
}

impl<'a> Directory<'a> {
    fn new(summary: &'a Value) -> Self {
        let mut names: BTreeMap<_, _> = list(summary, "components")
            .iter()
            .map(|c| (word(c, "id"), word(c, "name")))
            .collect();
        let mut groups = BTreeMap::new();
        for group in list(&summary["structure"], "items")
            .iter()
            .map(|item| &item["group"])
        {
            for component in list(group, "components") {
                let id = word(component, "component_id");
                names.entry(id).or_insert_with(|| word(component, "name"));
                groups.insert(id, [word(group, "id"), word(group, "name")]);
            }
        }
        Self { names, groups }
    }

    fn name(&self, id: &'a str) -> &'a str {
        self.names.get(id).copied().unwrap_or(id)
    }

    fn is_wanted(&self, id: &'a str, wanted: Wanted<'_>) -> bool {
        let group = self.groups.get(id).into_iter().flatten().copied();
        wanted.has([id, self.name(id)].into_iter().chain(group))
    }
}
