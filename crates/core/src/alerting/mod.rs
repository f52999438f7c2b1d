//! Who hears what, and when. Pure: changes of incidents, people's words and the time go in, notifications come out.
//!
//! The desk keeps, for every channel and every incident, what that channel was told and what it is owed: messages wait
//! for others to join them (`group_wait`), for an escalation's time (`after`), for the end of a silence, of a
//! maintenance window or of quiet hours; reminders have their clock; a storm becomes a digest. Unlike the incidents
//! this is no fold over samples, since it depends on time and on people, so it is a record of its own: it is committed
//! in the very transaction that puts the notifications into the outbox.

mod advice_batch;
mod channel_state;
pub mod maintenance;
mod rate_limiter;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Timelike;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use self::advice_batch::Counsel;
use self::channel_state::{Circumstances, Next, Thread};
use self::maintenance::Active;
use self::rate_limiter::{Gathered, Pace};
use crate::config::matchers::{concerns, ends_by_message, is_machine, wants_type};
use crate::config::{Channel, Config, Filters};
use crate::incident::{Change, close_as_removed};
use crate::message;
use crate::message::values::Locale;
use crate::model::Advice;
use crate::model::Silence;
use crate::model::Snapshot;
use crate::model::{
    Acknowledgement, Block, Condition, Document, Endpoint, Incident, IncidentState, Notice,
    NoticeType, Outgoing, Status, Tally, Timestamp, moved,
};

/// A channel that has been tried in vain for this long is worth a word through the others.
const FAILING: Duration = Duration::from_mins(5);
/// That a recipient refuses is told no more often than this.
const REFUSED: Duration = Duration::from_hours(24);
/// So many first messages at once are one message. Ten endpoints of one vendor are one incident anyway.
const LUMP: usize = 12;

/// Everything that was told, is owed and was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Desk {
    cases: BTreeMap<Uuid, Case>,
    silences: Vec<Silence>,
    paces: BTreeMap<String, Pace>,
    /// Advice that waits for more to join it, by channel.
    counsels: BTreeMap<String, Counsel>,
    /// Channels that do not deliver, as far as the others were told.
    failing: BTreeMap<String, Timestamp>,
    /// Until when the dead letters of a channel are told.
    dead: BTreeMap<String, Timestamp>,
    /// When it was last told that somebody of a channel refuses.
    refused: BTreeMap<String, Timestamp>,
    /// Counts the messages that are about no incident, so that each has its own id.
    announced: u64,
    /// The last period that was reported ends here.
    reported_until: Option<Timestamp>,
    #[serde(skip)]
    announcements: Vec<Announcement>,
    #[serde(skip)]
    changed: bool,
}

/// An incident, as it was last heard of, and who was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Case {
    incident: Incident,
    changed_at: Timestamp,
    threads: BTreeMap<String, Thread>,
}

/// Something to be told that is about no incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// What kind.
    pub r#type: NoticeType,
    /// One line.
    pub title: String,
    /// When it was decided.
    pub at: Timestamp,
    /// The rest, if one line does not say it all.
    pub document: Option<Document>,
    /// Only to these channels; `None` for all that want this type.
    pub only: Option<Vec<String>>,
    /// Not to this channel.
    pub except: Option<String>,
    /// What it begins or ends.
    pub condition: Option<Condition>,
}

impl Announcement {
    /// One line, for every channel that wants this type.
    pub fn new(r#type: NoticeType, title: String, at: Timestamp) -> Self {
        let condition = match r#type {
            NoticeType::Blind => Some(("blind", false)),
            NoticeType::Sighted => Some(("blind", true)),
            NoticeType::Budget => Some(("budget", false)),
            NoticeType::Store => Some(("store", false)),
            _ => None,
        };
        let condition = condition.map(|(key, over)| Condition {
            key: key.to_owned(),
            over,
        });
        Self {
            r#type,
            title,
            at,
            document: None,
            only: None,
            except: None,
            condition,
        }
    }

    /// The end of what it begins otherwise.
    #[must_use]
    pub fn over(self) -> Self {
        let condition = self.condition.map(|condition| Condition {
            over: true,
            ..condition
        });
        Self { condition, ..self }
    }

    /// A word before something fails, to the channels that want it.
    pub fn advice(advice: &Advice, channels: Vec<String>, at: Timestamp) -> Self {
        let data = serde_json::json!({
            "endpoint": advice.endpoint, "kind": advice.kind, "text": advice.text, "since": advice.since,
        });
        let document = Document {
            blocks: vec![Block::Text(advice.kind.remedy().to_owned())],
            data,
        };
        let said = Self::new(NoticeType::Advice, advice.text.clone(), at);
        Self {
            document: Some(document),
            only: Some(channels),
            ..said
        }
    }
}

impl Desk {
    /// Takes in a change of an incident at `at`; gives the incident with what people said about it.
    pub fn hear(&mut self, change: Change, mut incident: Incident, at: Timestamp) -> Incident {
        self.changed = true;
        let changed_at = if change == Change::Opened {
            incident.opened_at
        } else {
            at
        };
        if let Some(known) = self.cases.get(&incident.id) {
            incident
                .acknowledged
                .clone_from(&known.incident.acknowledged);
        }
        let case = self.cases.entry(incident.id).or_insert_with(|| Case {
            incident: incident.clone(),
            changed_at,
            threads: BTreeMap::new(),
        });
        case.incident = incident.clone();
        case.changed_at = changed_at;
        let owed = match change {
            Change::Opened => None,
            Change::Updated => Some(NoticeType::Updated),
            Change::Escalated => Some(NoticeType::Escalated),
            Change::Resolved => Some(NoticeType::Resolved),
        };
        if let Some(r#type) = owed {
            case.threads.values_mut().for_each(|t| t.owe(r#type, at));
        }
        incident
    }

    /// Has something told about the monitor itself, or a report.
    pub fn announce(&mut self, announcement: Announcement) {
        if announcement.r#type == NoticeType::Report {
            self.reported_until = Some(announcement.at);
        }
        self.changed = true;
        self.announcements.push(announcement);
    }

    /// When the last periodic report was decided.
    pub fn reported_until(&self) -> Option<Timestamp> {
        self.reported_until
    }

    /// Lets periods begin at `at`: what was before it is never reported.
    pub fn report_from(&mut self, at: Timestamp) {
        self.changed = true;
        self.reported_until = Some(at);
    }

    /// Begins a silence.
    pub fn silence(&mut self, silence: Silence) {
        self.changed = true;
        self.silences.push(silence);
    }

    /// Ends a silence early; `None` when there is none of this id.
    pub fn unsilence(&mut self, id: Uuid) -> Option<Silence> {
        let place = self.silences.iter().position(|s| s.id == id)?;
        self.changed = true;
        Some(self.silences.remove(place))
    }

    /// Records that somebody is on the incident of this number; `None` when no such incident goes on.
    pub fn acknowledge(&mut self, number: u64, word: Acknowledgement) -> Option<Incident> {
        let open =
            |c: &&mut Case| c.incident.number == number && c.incident.state == IncidentState::Open;
        let case = self.cases.values_mut().find(open)?;
        self.changed = true;
        let at = word.at;
        case.incident.acknowledged = Some(word);
        case.threads
            .values_mut()
            .for_each(|t| t.owe(NoticeType::Updated, at));
        Some(case.incident.clone())
    }

    /// Follows a clock that was set by `by_ms`: what waits and what is to be repeated keeps its distance from now. What
    /// people and the calendar said (silences, the periods of reports) stays. Gives the incidents that go on.
    pub fn move_along(&mut self, by_ms: i64) -> Vec<Incident> {
        if let Some(moved) = moved(
            &*self,
            by_ms,
            &["silences", "reported_until", "official", "dead", "refused"],
        ) {
            let announcements = std::mem::take(&mut self.announcements);
            *self = Self {
                announcements,
                changed: true,
                ..moved
            };
        }
        let open = |case: &&Case| case.incident.state == IncidentState::Open;
        self.cases
            .values()
            .filter(open)
            .map(|case| case.incident.clone())
            .collect()
    }

    /// Adds to `snapshot` what people said.
    pub fn annotate(&self, snapshot: &mut Snapshot) {
        snapshot.silences.clone_from(&self.silences);
        for incident in &mut snapshot.incidents {
            if let Some(case) = self.cases.get(&incident.id) {
                incident
                    .acknowledged
                    .clone_from(&case.incident.acknowledged);
            }
        }
    }

    /// Closes what does not go on any more though nobody said so: after the state of detection had to be made anew. What
    /// concerned only endpoints that are not watched any more is closed as removed. Gives what it closed.
    pub fn reconcile(&mut self, snapshot: &Snapshot) -> Vec<Incident> {
        let at = snapshot.at;
        let is_open = |id: &Uuid| snapshot.incidents.iter().any(|i| i.id == *id);
        let is_watched = |name: &String| snapshot.endpoints.iter().any(|e| e.name == *name);
        let mut closed = Vec::new();
        for (_, case) in self
            .cases
            .iter_mut()
            .filter(|(id, c)| c.incident.state == IncidentState::Open && !is_open(id))
        {
            self.changed = true;
            if case.incident.endpoints.iter().any(is_watched) {
                case.incident.state = IncidentState::Resolved;
                case.incident.resolved_at = Some(at);
                case.incident.duration_s =
                    at.since_ms(case.incident.started_at).max(0) as f64 / 1000.0;
            } else {
                close_as_removed(&mut case.incident, at);
                message::incident::narrate(&mut case.incident, &Locale::default());
            }
            case.threads
                .values_mut()
                .for_each(|t| t.owe(NoticeType::Resolved, at));
            closed.push(case.incident.clone());
        }
        closed
    }

    /// What is to be sent as of `now`. `outbox` says how delivery goes.
    pub fn tick(
        &mut self,
        now: Timestamp,
        config: &Config,
        snapshot: &Snapshot,
        outbox: &[Tally],
    ) -> Vec<Outgoing> {
        let before = self.silences.len();
        self.silences.retain(|s| s.until > now);
        self.changed |= self.silences.len() != before;
        self.watch_channels(now, config, outbox);
        let room = Room {
            now,
            config,
            snapshot,
            windows: maintenance::active(config, now),
        };
        let mut outgoing = Vec::new();
        for announcement in std::mem::take(&mut self.announcements) {
            self.announce_to_channels(&announcement, &room, &mut outgoing);
        }
        for channel in &config.channels {
            self.counsel(channel, &room, &mut outgoing);
            self.serve(channel, &room, &mut outgoing);
        }
        let is_channel = |name: &String| config.channels.iter().any(|c| c.name == *name);
        self.counsels.retain(|name, _| is_channel(name));
        self.cases.retain(|_, case| {
            case.threads.retain(|name, _| is_channel(name));
            case.incident.state == IncidentState::Open || !case.threads.is_empty()
        });
        outgoing
    }

    /// The whole record, if it has changed since the last call.
    pub fn take_change(&mut self) -> Option<String> {
        // Plain data with string keys: serialising cannot fail.
        std::mem::take(&mut self.changed).then(|| serde_json::to_string(self).unwrap_or_default())
    }

    /// Tells one channel everything that it is to be told now.
    fn serve(&mut self, channel: &Channel, room: &Room<'_>, outgoing: &mut Vec<Outgoing>) {
        let filters = &channel.filters;
        let mut concerned: Vec<(u64, Uuid)> = Vec::new();
        let (mut due, mut waiting) = (0, 0);
        for (id, case) in &mut self.cases {
            if !case.threads.contains_key(&channel.name) {
                let over = case.incident.state == IncidentState::Resolved;
                if over || !concerns(filters, &case.incident, room.config) {
                    continue;
                }
                case.threads
                    .insert(channel.name.clone(), Thread::since(case.changed_at));
                self.changed = true;
            }
            let Some(thread) = case.threads.get(&channel.name) else {
                continue;
            };
            concerned.push((case.incident.number, *id));
            let around = room.around(&self.silences, filters, &case.incident);
            match thread.next(&case.incident, filters, &around, false) {
                Next::Say(NoticeType::Opened, _) => due += 1,
                Next::Wait => waiting += 1,
                _ => {}
            }
        }
        concerned.sort_unstable();
        let machine = is_machine(channel);
        let lump = !machine && due > 0 && due + waiting > LUMP;
        let mut pace = self.paces.remove(&channel.name).unwrap_or_default();
        self.changed |= pace.pass(room.now);
        for (_, id) in concerned {
            let Some(case) = self.cases.get_mut(&id) else {
                continue;
            };
            let around = room.around(&self.silences, filters, &case.incident);
            while let Some(thread) = case.threads.get_mut(&channel.name) {
                match thread.next(&case.incident, filters, &around, lump) {
                    Next::Wait | Next::Nothing => break,
                    Next::Hold => {
                        self.changed |= thread.hold();
                        break;
                    }
                    Next::Forget if pace.holds(id) => break,
                    Next::Forget => {
                        case.threads.remove(&channel.name);
                        self.changed = true;
                    }
                    Next::Say(r#type, at) => {
                        self.changed = true;
                        let incident = &case.incident;
                        let id = thread.id_of_next(&channel.name, incident, r#type, at);
                        let wanted = wants_type(filters, r#type);
                        let gathered =
                            wanted && !machine && (lump || thread.gathered() || !pace.has_room());
                        if gathered {
                            pace.gather(room.now, r#type, incident);
                        } else if wanted {
                            pace.take_one(room.now);
                            let notice = room.notice(id, r#type, at, incident, thread.first());
                            outgoing.push(Outgoing {
                                channel: channel.name.clone(),
                                not_before: None,
                                notice,
                                whole: false,
                            });
                        }
                        let whole = wanted && !gathered && !ends_by_message(channel);
                        thread.said(r#type, wanted.then_some(id), room.now, incident, gathered);
                        if whole && r#type == NoticeType::Opened {
                            // It says that it is over as well.
                            thread.owes_no_end();
                        }
                    }
                }
            }
        }
        if let Some(Gathered {
            title,
            document,
            alone,
        }) = pace.digest(room.now, filters.group_wait, lump)
        {
            self.changed = true;
            self.announced += 1;
            let id = stable_id(&[
                &channel.name,
                "digest",
                &self.announced.to_string(),
                &room.now.to_string(),
            ]);
            let of = |(incident, r#type)| {
                let case = self.cases.get_mut(&incident)?;
                let thread = case.threads.get_mut(&channel.name)?;
                let notice = room.notice(id, r#type, room.now, &case.incident, thread.first());
                thread.alone(id);
                Some(notice)
            };
            let notice = alone.and_then(of).unwrap_or_else(|| Notice {
                document: Some(document),
                ..room.bare(id, NoticeType::Digest, room.now, title)
            });
            outgoing.push(Outgoing {
                channel: channel.name.clone(),
                not_before: None,
                notice,
                whole: false,
            });
        }
        if !pace.is_fresh() {
            self.paces.insert(channel.name.clone(), pace);
        }
    }

    fn announce_to_channels(
        &mut self,
        announcement: &Announcement,
        room: &Room<'_>,
        outgoing: &mut Vec<Outgoing>,
    ) {
        let Announcement {
            r#type,
            title,
            at,
            document,
            only,
            except,
            condition,
        } = announcement;
        self.announced += 1;
        for channel in &room.config.channels {
            let asked = match only {
                Some(names) => names.contains(&channel.name),
                None => wants_type(&channel.filters, *r#type),
            };
            if !asked || except.as_ref() == Some(&channel.name) {
                continue;
            }
            if *r#type == NoticeType::Advice {
                self.counsels
                    .entry(channel.name.clone())
                    .or_default()
                    .gather(announcement);
                continue;
            }
            let id = stable_id(&[
                &channel.name,
                r#type.as_str(),
                &self.announced.to_string(),
                &at.to_string(),
            ]);
            let bare = room.bare(id, *r#type, *at, title.clone());
            let notice = Notice {
                document: document.clone(),
                condition: condition.clone(),
                ..bare
            };
            // That the monitor is blind, or a channel broken, is as grave as an outage; the rest can wait.
            let grave = matches!(
                r#type,
                NoticeType::Blind | NoticeType::Sighted | NoticeType::Store | NoticeType::Delivery
            );
            let not_before = room.closed_until().max(room.quiet_until(channel, grave));
            // Whoever was not reached when it began hears of all of it at the end, once.
            let whole = condition.as_ref().is_some_and(|c| c.over) && !ends_by_message(channel);
            outgoing.push(Outgoing {
                channel: channel.name.clone(),
                not_before,
                notice,
                whole,
            });
        }
    }

    /// Tells a channel the advice that has waited long enough for more to join it.
    fn counsel(&mut self, channel: &Channel, room: &Room<'_>, outgoing: &mut Vec<Outgoing>) {
        let due = self
            .counsels
            .get(&channel.name)
            .is_some_and(|c| c.is_due(room.now, channel.filters.group_wait));
        let Some(counsel) = due.then(|| self.counsels.remove(&channel.name)).flatten() else {
            return;
        };
        self.changed = true;
        self.announced += 1;
        let (at, title, document) = counsel.told(&room.config.monitor.location);
        let id = stable_id(&[
            &channel.name,
            "advice",
            &self.announced.to_string(),
            &at.to_string(),
        ]);
        let notice = Notice {
            document: Some(document),
            ..room.bare(id, NoticeType::Advice, at, title)
        };
        let not_before = room.closed_until().max(room.quiet_until(channel, false));
        outgoing.push(Outgoing {
            channel: channel.name.clone(),
            not_before,
            notice,
            whole: false,
        });
    }

    /// A channel that does not deliver is told about through the others, once, and once more when it delivers again.
    fn watch_channels(&mut self, now: Timestamp, config: &Config, outbox: &[Tally]) {
        for tally in outbox
            .iter()
            .filter(|t| config.channels.iter().any(|c| c.name == t.channel))
        {
            let name = &tally.channel;
            let in_vain = tally
                .failing_since
                .filter(|since| now.since_ms(*since) >= FAILING.as_millis() as i64);
            let dead = tally
                .last_dead_at
                .filter(|at| self.dead.get(name).is_none_or(|known| known < at));
            if let Some(at) = dead {
                self.changed = true;
                self.dead.insert(name.clone(), at);
            }
            let fresh = |at: &Timestamp| {
                self.refused
                    .get(name)
                    .is_none_or(|told| at.since_ms(*told) >= REFUSED.as_millis() as i64)
            };
            if let (Some(at), Some(who)) = (tally.last_refused_at.filter(fresh), &tally.refused) {
                self.refused.insert(name.clone(), at);
                let title = format!("the channel `{name}` does not reach everybody: {who}");
                self.announce(Announcement::new(NoticeType::Delivery, title, now));
            }
            let title = match (self.failing.get(name).copied(), in_vain.or(dead)) {
                (None, Some(since)) => {
                    self.failing.insert(name.clone(), since);
                    let why = tally
                        .last_error
                        .as_deref()
                        .map(|e| format!(": {e}"))
                        .unwrap_or_default();
                    format!("the channel `{name}` does not deliver{why}")
                }
                (Some(since), None) if tally.last_sent_at.is_some_and(|at| at > since) => {
                    self.failing.remove(name);
                    let lasted = Locale::default().duration(now.since_ms(since) as f64 / 1000.0);
                    format!("the channel `{name}` delivers again after {lasted}")
                }
                _ => continue,
            };
            let condition = Some(Condition {
                key: format!("delivery/{name}"),
                over: !self.failing.contains_key(name),
            });
            let except = Some(name.clone());
            self.announce(Announcement {
                except,
                condition,
                ..Announcement::new(NoticeType::Delivery, title, now)
            });
        }
        self.failing
            .retain(|name, _| config.channels.iter().any(|c| c.name == *name));
        self.refused
            .retain(|name, _| config.channels.iter().any(|c| c.name == *name));
    }
}

/// What the desk sees around it at one moment.
struct Room<'a> {
    now: Timestamp,
    config: &'a Config,
    snapshot: &'a Snapshot,
    windows: Vec<Active<'a>>,
}

impl Room<'_> {
    /// A maintenance of everything is a time in which nothing is sent.
    fn closed_until(&self) -> Option<Timestamp> {
        self.windows
            .iter()
            .filter(|w| w.scope().is_everything())
            .map(|w| w.until)
            .max()
    }

    /// Until when `channel` wants to hear nothing, or nothing but what is grave.
    fn quiet_until(&self, channel: &Channel, grave: bool) -> Option<Timestamp> {
        (!grave || channel.filters.quiet_hours_all)
            .then(|| quiet_until(&channel.filters, self.config, self.now))
            .flatten()
    }

    fn around(
        &self,
        silences: &[Silence],
        filters: &Filters,
        incident: &Incident,
    ) -> Circumstances {
        let all =
            |covered: &dyn Fn(&str) -> bool| incident.endpoints.iter().all(|name| covered(name));
        let through = incident.status == Status::Outage && !filters.quiet_hours_all;
        Circumstances {
            now: self.now,
            silenced: !silences.is_empty()
                && all(&|name| silences.iter().any(|s| s.covers(name, self.config))),
            maintenance: !self.windows.is_empty()
                && all(&|name| maintenance::covers(&self.windows, name, self.config)),
            quiet: !through && quiet_until(filters, self.config, self.now).is_some(),
        }
    }

    fn notice(
        &self,
        id: Uuid,
        r#type: NoticeType,
        at: Timestamp,
        incident: &Incident,
        thread: Option<Uuid>,
    ) -> Notice {
        let end = incident.end().unwrap_or(self.now);
        let duration_s = end.since_ms(incident.started_at).max(0) as f64 / 1000.0;
        let endpoint = incident
            .endpoints
            .iter()
            .find_map(|n| self.config.endpoints.iter().find(|e| e.name == *n));
        // What the vendor's page says changes without the incident changing.
        let now = self.snapshot.incidents.iter().find(|i| i.id == incident.id);
        let official = now.unwrap_or(incident).official.clone();
        let subject =
            endpoint.map_or_else(|| incident.provider.clone(), |e| Endpoint::domain_title(e));
        Notice {
            subject,
            alternatives: self.snapshot.alternatives(&incident.endpoints),
            monitors_alternative: Some(self.snapshot.monitors_alternative(&incident.endpoints)),
            also_failing: self.snapshot.also_failing(incident),
            recent: self.snapshot.strips(&incident.endpoints),
            url: self
                .config
                .monitor
                .public_url
                .as_ref()
                .map(|u| format!("{u}/incidents/{}", incident.number)),
            thread,
            already_over: r#type == NoticeType::Opened && incident.resolved_at.is_some(),
            incident: Some(Incident {
                duration_s,
                official,
                ..incident.clone()
            }),
            ..self.bare(id, r#type, at, incident.title.clone())
        }
    }

    fn bare(&self, id: Uuid, r#type: NoticeType, at: Timestamp, title: String) -> Notice {
        Notice {
            id,
            r#type,
            decided_at: at,
            location: self.config.monitor.location.clone(),
            incident: None,
            subject: self.config.monitor.location.clone(),
            title,
            alternatives: Vec::new(),
            monitors_alternative: None,
            also_failing: Vec::new(),
            url: self.config.monitor.public_url.clone(),
            thread: None,
            already_over: false,
            recent: Vec::new(),
            test: false,
            instead_of: None,
            document: None,
            condition: None,
        }
    }
}

/// The end of the quiet hours that `now` lies in.
fn quiet_until(filters: &Filters, config: &Config, now: Timestamp) -> Option<Timestamp> {
    let (start, end) = filters.quiet_hours?;
    let local = now.to_datetime().with_timezone(&config.monitor.timezone);
    let minute = (local.hour() * 60 + local.minute()) as u16;
    let quiet = if start <= end {
        (start..end).contains(&minute)
    } else {
        minute >= start || minute < end
    };
    let left =
        i64::from((end + 24 * 60 - minute) % (24 * 60)) * 60_000 - i64::from(local.second()) * 1000;
    quiet.then(|| now + Duration::from_millis(left.max(0).unsigned_abs()))
}

/// An id that is the same whenever the same thing is told: what is repeated after a crash cannot be told twice.
fn stable_id(parts: &[&str]) -> Uuid {
    let digest = Sha256::digest(parts.join("\n").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notification_ids_stay_equal_between_releases() {
        assert_eq!(
            stable_id(&["mail", "advice", "1"]).to_string(),
            "fd3b8857-d1d0-82f9-bc5d-ac0c707f0f3b"
        );
    }
}
