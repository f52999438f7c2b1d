//! `llmwatch status --watch` on a terminal: a live list with sparklines, filter, sorting and
//! details.
//!
//! The terminal is always restored: after a key, a signal, an error, or a panic.

mod draw;
mod screen;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::screen::{After, Screen};
use super::{change, current};
use crate::cli::{Exit, Failure, plugin_code};
use crate::clock;
use crate::config::Settings;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::Snapshot;

/// How often durations are redrawn.
const TICK: Duration = Duration::from_secs(1);
/// How often the key reader checks whether to stop.
const KEYS: Duration = Duration::from_millis(100);
/// The size of the key queue.
const MAX_KEYS: usize = 64;

/// The last status: the snapshot, and why it may be outdated.
type Seen = (Snapshot, Option<&'static str>);

/// Shows the status until the user quits.
///
/// # Errors
/// When there is no status to show, or the terminal cannot be used.
pub(super) async fn run(config: Arc<Settings>) -> Exit {
    let first = current(&config).await?;
    let (seen, mut news) = watch::channel(first);
    let reading = tokio::spawn(keep_reading(config.clone(), seen));
    let (send, mut keys) = mpsc::channel(MAX_KEYS);
    let stop = Arc::new(AtomicBool::new(false));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;

    let mut terminal = ratatui::try_init()?;
    let reader = std::thread::spawn({
        let stop = stop.clone();
        move || read_keys(&send, &stop)
    });
    let mut screen = Screen::new(Locale::of(&config), draw::wants_color());
    let mut tick = tokio::time::interval(TICK);
    let ended: std::io::Result<()> = loop {
        {
            let (snapshot, note) = &*news.borrow_and_update();
            screen.show(snapshot, *note, clock::now());
        }
        if let Err(error) = terminal.draw(|frame| draw::draw(frame, &mut screen)) {
            break Err(error);
        }
        tokio::select! {
            key = keys.recv() => match key {
                None => break Ok(()),
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if screen.press(key) == After::Quit {
                        break Ok(());
                    }
                }
                // A resize: redrawn below.
                Some(_) => {}
            },
            changed = news.changed() => if changed.is_err() {
                break Ok(());
            },
            _ = tick.tick() => {}
            _ = terminate.recv() => break Ok(()),
            _ = hang_up.recv() => break Ok(()),
            _ = tokio::signal::ctrl_c() => break Ok(()),
        }
    };
    ratatui::restore();
    stop.store(true, Ordering::Relaxed);
    reading.abort();
    drop(keys);
    // The reader stops at its next check; its result is irrelevant.
    drop(reader.join());
    ended?;
    let overall = news.borrow().0.overall();
    Ok(plugin_code(overall))
}

/// Reads the status again whenever the daemon reports an event.
async fn keep_reading(config: Arc<Settings>, seen: watch::Sender<Seen>) {
    let mut events = None;
    loop {
        change(&config, &mut events).await;
        match current(&config).await {
            Ok(new) => drop(seen.send_replace(new)),
            // Keeps the last status and marks it as outdated.
            Err(Failure { .. }) => seen.send_modify(|(_, note)| *note = Some("no status")),
        }
        if seen.is_closed() {
            return;
        }
    }
}

fn read_keys(send: &mpsc::Sender<Event>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match event::poll(KEYS) {
            Ok(false) => {}
            Ok(true) => match event::read() {
                Ok(event) => {
                    if send.blocking_send(event).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            },
            // The terminal was closed.
            Err(_) => return,
        }
    }
}
