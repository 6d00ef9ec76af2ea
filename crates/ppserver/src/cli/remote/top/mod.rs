//! `top`: a running server on the terminal, until somebody has seen enough.
//!
//! ```text
//! asking, keys, signals  --Input-->  model  -->  view
//! ```
//!
//! This file is the shell: it asks, reads keys and draws. What is shown is decided by [`model`] and [`view`], which
//! open nothing. Invariant: however it ends, the terminal is as before.

mod answers;
mod detail;
mod model;
mod rows;
#[cfg(test)]
mod tests;
mod units;
mod view;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde::de::DeserializeOwned;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Admin;
use crate::cli::{Exit, Failure};
use crate::config::Colour;
use crate::control::client::Verb;
use answers::{Answers, Refusals, Text, Upstreams};
use model::{Key, Model, Next};

/// How long an answer may take: an operator wants to know of a server that says nothing.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// How often the screen is drawn though nothing has come, as the age of a silence grows.
const REDRAW_TIME: Duration = Duration::from_secs(1);

/// The bounds of `--interval`: what an eye can follow, and what still is a look at what goes on.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(60);

const HELP: &str = "\
Shows whether it serves, rates, the latency of connects, which endpoint is down since when and why, who is refused \
and why, listeners, pools and close reasons. A server that ends or is upgraded is found again.

Keys: Tab pane, arrows row, Enter explain it, / filter, s sort, p pause, ? help, q quit. \
It needs a terminal of 72 columns and 14 rows; NO_COLOR=1 leaves colours out.

Examples:
  ppserver top
  ppserver top --admin 127.0.0.1:9464 --interval 200ms
  ppserver status --watch                               # where there is no terminal";

/// Shows a running server on the terminal, as `top` does processes
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// How often to ask
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    interval: Duration,
    #[command(flatten)]
    admin: Admin,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        Ok(interval)
    } else {
        Err("100ms at least, and 60s at most".to_owned())
    }
}

/// What the screen follows.
#[derive(Debug)]
enum Input {
    Answers(Box<Result<Answers, String>>),
    Key(Key),
    /// The size has changed.
    Resize,
    /// A signal says so.
    End,
    /// Who watched something watches it no more.
    Lost,
}

/// Runs the command.
pub(in crate::cli) fn run(args: Args) -> Result<ExitCode, Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let why = "top needs a terminal; `ppserver status --watch` prints the same anywhere";
        return Err(Failure::usage(why));
    }
    // A wrong door is told where other commands tell it.
    let first = look(&args.admin)?;
    let failed = |error: io::Error| Failure::new(Exit::Failed, format!("the terminal: {error}"));
    let (sender, inputs) = mpsc::channel();
    watch_signals(Watch(sender.clone())).map_err(failed)?;
    let mut screen = Screen::open().map_err(failed)?;
    watch_keys(Watch(sender.clone())).map_err(failed)?;
    watch_server(args, Watch(sender)).map_err(failed)?;
    show(&mut screen, Model::new(now(), first), &inputs).map_err(failed)?;
    Ok(Exit::Ok.into())
}

/// The terminal, which is as before once this is dropped; a panic sees to it too.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Self> {
        let terminal = ratatui::try_init();
        terminal.map(Self).inspect_err(|_| ratatui::restore())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Draws what comes of each input, until one ends it.
fn show(screen: &mut Screen, mut model: Model, inputs: &Receiver<Input>) -> io::Result<()> {
    let colour = Colour::of(&io::stdout());
    loop {
        screen
            .0
            .draw(|frame| view::draw(&model, now(), colour, frame.area(), frame.buffer_mut()))?;
        let next = match inputs.recv_timeout(REDRAW_TIME) {
            Ok(Input::Answers(answers)) => {
                model.handle_answers(now(), *answers);
                Next::Stay
            }
            Ok(Input::Key(key)) => model.handle_key(key),
            Ok(Input::Resize) | Err(RecvTimeoutError::Timeout) => Next::Stay,
            Ok(Input::End) => Next::Quit,
            Ok(Input::Lost) | Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("nothing comes from it any more"));
            }
        };
        if next == Next::Quit {
            return Ok(());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one clock of this command")]
fn now() -> Instant {
    Instant::now()
}

/// A thread's end of the inputs. One that ends without being asked to, as by a panic, is told of.
#[derive(Debug)]
struct Watch(Sender<Input>);

impl Watch {
    /// Returns whether anybody still listens.
    fn tell(&self, input: Input) -> bool {
        self.0.send(input).is_ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tell(Input::Lost);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

fn watch_signals(watch: Watch) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGQUIT])?;
    spawn("signals", move || while signals.forever().next().is_some() && watch.tell(Input::End) {})
}

fn watch_keys(watch: Watch) -> io::Result<()> {
    spawn("keys", move || {
        while let Ok(event) = event::read() {
            let input = match event {
                Event::Key(pressed) => key(pressed).map(Input::Key),
                Event::Resize(..) => Some(Input::Resize),
                Event::FocusGained | Event::FocusLost | Event::Mouse(_) | Event::Paste(_) => None,
            };
            if input.is_some_and(|input| !watch.tell(input)) {
                return;
            }
        }
    })
}

/// Returns what a key means.
fn key(pressed: KeyEvent) -> Option<Key> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = pressed.modifiers.contains(KeyModifiers::CONTROL);
    let keys = [
        (KeyCode::Up, Key::Up),
        (KeyCode::Down, Key::Down),
        (KeyCode::PageUp, Key::PageUp),
        (KeyCode::PageDown, Key::PageDown),
        (KeyCode::Home, Key::Home),
        (KeyCode::End, Key::End),
        (KeyCode::Tab, Key::Tab),
        (KeyCode::BackTab, Key::BackTab),
        (KeyCode::Enter, Key::Enter),
        (KeyCode::Esc, Key::Escape),
        (KeyCode::Backspace, Key::Backspace),
    ];
    match pressed.code.as_char() {
        Some('c') if is_control => Some(Key::Interrupt),
        Some(_) if is_control => None,
        Some(c) => Some(Key::Char(c)),
        None => keys.iter().find(|(code, _)| *code == pressed.code).map(|(_, key)| *key),
    }
}

/// Asks again and again, whatever comes of it.
#[expect(clippy::disallowed_methods, reason = "it has nothing else to do until the next look")]
fn watch_server(args: Args, watch: Watch) -> io::Result<()> {
    spawn("asking", move || {
        loop {
            thread::sleep(args.interval);
            let answers = look(&args.admin).map_err(|failure| failure.in_a_line());
            if !watch.tell(Input::Answers(Box::new(answers))) {
                return;
            }
        }
    })
}

/// Asks for all that is shown.
fn look(admin: &Admin) -> Result<Answers, Failure> {
    let Refusals { mut refusals } = ask(admin, "/api/v1/refusals")?;
    refusals.reverse();
    let Upstreams { pools } = ask(admin, "/api/v1/upstreams")?;
    let live = admin.exchange(Verb::Get, "/livez", ANSWER_TIME)?;
    let still = String::from_utf8_lossy(&live.body);
    let still = still.lines().filter(|_| live.status != 200).map(Text::of);
    Ok(Answers { pools, refusals, still: still.collect(), status: ask(admin, "/api/v1/status")? })
}

fn ask<T: DeserializeOwned>(admin: &Admin, path: &str) -> Result<T, Failure> {
    let value = admin.ask(Verb::Get, path, ANSWER_TIME)?;
    serde_json::from_value(value).map_err(|error| {
        let why = format!("{} answers {path} not as this ppserver knows it: {error}", admin.door());
        Failure::new(Exit::Failed, why)
    })
}
