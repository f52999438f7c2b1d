//! The state of the terminal view, and its key bindings. Pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::widgets::TableState;

use crate::cli::status::{badness, reason};
use llmwatch_core::message::headline::headline;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{EndpointView, Incident, Snapshot, Status, Timestamp};

/// The longest filter, in characters.
const LONGEST_FILTER: usize = 40;
/// The number of rows that a page key moves by.
const PAGE: isize = 10;

/// The effect of a key on the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Stay,
    Quit,
}

/// The sort order of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Worst first, then in the order of the configuration.
    Status,
    Name,
    /// Slowest first token first.
    Latency,
    /// Least available first.
    Availability,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Status => Self::Name,
            Self::Name => Self::Latency,
            Self::Latency => Self::Availability,
            Self::Availability => Self::Status,
        }
    }
}

/// One line of the list.
#[derive(Debug, Clone)]
pub(super) struct ScreenRow {
    pub(super) view: EndpointView,
    pub(super) reason: String,
}

/// The complete state of the view.
pub(super) struct Screen {
    pub(super) locale: Locale,
    pub(super) has_color: bool,
    pub(super) sort: Sort,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    pub(super) only_problems: bool,
    /// Whether the details of the selected endpoint are shown.
    pub(super) is_open: bool,
    pub(super) table: TableState,
    pub(super) rows: Vec<ScreenRow>,
    /// The total number of endpoints, shown or not.
    pub(super) total: usize,
    pub(super) headline: String,
    pub(super) status: Status,
    pub(super) note: Option<&'static str>,
    pub(super) incidents: Vec<Incident>,
    pub(super) now: Timestamp,
    snapshot: Option<Snapshot>,
}

impl Screen {
    pub(super) fn new(locale: Locale, has_color: bool) -> Self {
        Self {
            locale,
            has_color,
            sort: Sort::Status,
            filter: String::new(),
            is_typing: false,
            only_problems: false,
            is_open: false,
            table: TableState::default().with_selected(0),
            rows: Vec::new(),
            total: 0,
            headline: String::new(),
            status: Status::Unknown,
            note: None,
            incidents: Vec::new(),
            now: Timestamp(0),
            snapshot: None,
        }
    }

    /// Applies a new status. The selection stays on its endpoint.
    pub(super) fn show(&mut self, snapshot: &Snapshot, note: Option<&'static str>, now: Timestamp) {
        self.now = now;
        self.note = note;
        self.headline = headline(snapshot, now, &self.locale);
        self.status = snapshot.overall();
        self.incidents.clone_from(&snapshot.incidents);
        self.total = snapshot.endpoints.len();
        self.snapshot = Some(snapshot.clone());
        self.arrange();
    }

    /// Returns the selected endpoint.
    pub(super) fn selected(&self) -> Option<&ScreenRow> {
        self.rows.get(self.table.selected()?)
    }

    /// Returns the endpoint's open incident.
    pub(super) fn incident(&self, endpoint: &str) -> Option<&Incident> {
        self.incidents
            .iter()
            .find(|i| i.endpoints.iter().any(|name| name == endpoint))
    }

    fn arrange(&mut self) {
        let Some(snapshot) = &self.snapshot else {
            return;
        };
        let selected = self.selected().map(|row| row.view.name.clone());
        let filter = self.filter.to_lowercase();
        let wanted = |e: &&EndpointView| {
            (filter.is_empty()
                || e.name.to_lowercase().contains(&filter)
                || e.title.to_lowercase().contains(&filter))
                && (!self.only_problems || badness(e) > 0)
        };
        let mut views: Vec<&EndpointView> = snapshot.endpoints.iter().filter(wanted).collect();
        match self.sort {
            Sort::Status => views.sort_by_key(|e| std::cmp::Reverse(badness(e))),
            Sort::Name => views.sort_by(|a, b| a.name.cmp(&b.name)),
            Sort::Latency => views.sort_by(|a, b| {
                let ms = |e: &EndpointView| e.first_token_ms_p50.unwrap_or(-1.0);
                ms(b).total_cmp(&ms(a))
            }),
            Sort::Availability => views.sort_by(|a, b| {
                let share = |e: &EndpointView| e.availability_24h.unwrap_or(2.0);
                share(a).total_cmp(&share(b))
            }),
        }
        self.rows = views
            .into_iter()
            .map(|view| ScreenRow {
                reason: reason(view, snapshot, &self.locale),
                view: view.clone(),
            })
            .collect();
        let place = selected.and_then(|name| self.rows.iter().position(|r| r.view.name == name));
        let last = self.rows.len().checked_sub(1);
        let kept = self.table.selected().unwrap_or(0);
        self.table
            .select(place.or_else(|| last.map(|last| kept.min(last))));
        if self.rows.is_empty() {
            self.is_open = false;
        }
    }

    /// Handles a key.
    pub(super) fn press(&mut self, key: KeyEvent) -> After {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => After::Quit,
                _ => After::Stay,
            };
        }
        if key.modifiers.contains(KeyModifiers::ALT) {
            return After::Stay;
        }
        if self.is_typing {
            self.type_key(key.code);
            return After::Stay;
        }
        match key.code {
            KeyCode::Char('q') => return After::Quit,
            KeyCode::Esc if self.is_open => self.is_open = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.only_problems = false;
            }
            KeyCode::Enter => self.is_open = !self.is_open && !self.rows.is_empty(),
            KeyCode::Char('/') => {
                self.is_typing = true;
                self.is_open = false;
            }
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('p') => self.only_problems = !self.only_problems,
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.go(PAGE),
            KeyCode::PageUp => self.go(-PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.go(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.go(isize::MAX),
            _ => {}
        }
        self.arrange();
        After::Stay
    }

    fn type_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if self.filter.chars().count() < LONGEST_FILTER => self.filter.push(c),
            _ => {}
        }
        self.arrange();
    }

    fn go(&mut self, by: isize) {
        let Some(last) = self.rows.len().checked_sub(1) else {
            return;
        };
        let now = self.table.selected().unwrap_or(0);
        let to = now.saturating_add_signed(by).min(last);
        self.table.select(Some(to));
    }
}
