//! What is seen and what keys do: each screen letter for letter, on ratatui's own terminal.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use serde_json::{Value, json};

use super::answers::{Answers, Refusals, Text, Upstreams};
use super::model::{Key, Mode, Model, Next, Pane};
use super::view;
use crate::config::Colour;

/// A server that does something, as it is seen at second 0 and 1 of the test.
struct Scene {
    second: u64,
    status: Value,
    upstreams: Value,
    refusals: Value,
    still: Vec<&'static str>,
}

impl Scene {
    /// Two listeners, two pools, some seconds after the start.
    fn new(second: u64) -> Self {
        let endpoint = |address: &str, active: u64, connects: u64| {
            json!({
                "address": address, "name": null, "weight": 1, "state": "up", "is_set": false, "why": null,
                "since": "2026-11-30T03:00:00.000Z", "active": active, "connects": connects, "failures": 0,
                "check_latency_seconds": null
            })
        };
        let listener = |name: &str, bind: &str, upstream: &str, accepted: u64, bytes: u64| {
            json!({
                "name": name, "bind": [bind], "upstream": upstream, "accepted": accepted, "active": 7,
                "closed": { "done": accepted - 9, "header_absent": 2 }, "bytes_up": bytes, "bytes_down": 9 * bytes
            })
        };
        let accepted = 1_000 + 120 * second;
        let bytes = 5_000_000 * second;
        let buckets = |connects: u64| {
            let buckets =
                [(json!(0.0005), 100), (json!(0.001), 90), (json!(0.0025), 9), (json!(null), 1)];
            json!(
                buckets.map(
                    |(bound, count)| json!({ "seconds_max": bound, "count": count * connects })
                )
            )
        };
        Self {
            second,
            status: json!({
                "version": "0.1.0", "commit": "15bdf3a4c1d2", "pid": 28567, "generation": 1,
                "started": "2026-11-30T03:00:00.000Z", "uptime_seconds": 7385.0 + Duration::from_secs(second).as_secs_f64(),
                "workers": 2, "state": "serving", "config": "/etc/ppserver/ppserver.toml",
                "connections_max": 9389,
                "active": 14, "accepted": accepted + 20, "closed": { "done": accepted, "header_absent": 4, "untrusted": 2 },
                "bytes_up": bytes, "bytes_down": 9 * bytes, "connect_failures": 0, "accept_pauses": 0,
                "pipes_missing": 0, "access_lines_dropped": 0, "log_lines_dropped": 0,
                "listeners": [
                    listener("edge", "0.0.0.0:443", "web", accepted, bytes),
                    listener("mail", "[::]:25", "post", 20, 0)
                ],
                "pools": []
            }),
            upstreams: json!({ "pools": [
                { "name": "web", "connect_buckets": buckets(second), "endpoints": [
                    endpoint("10.0.0.1:8080", 7, accepted / 2), endpoint("10.0.0.2:8080", 7, accepted / 2)
                ] },
                { "name": "post", "connect_buckets": buckets(0), "endpoints": [endpoint("[fd00::25]:25", 0, 20)] }
            ] }),
            refusals: json!({ "refusals": [], "lost": 0 }),
            still: Vec::new(),
        }
    }

    fn with_endpoint_down(mut self) -> Self {
        let endpoint = &mut self.upstreams["pools"][0]["endpoints"][1];
        endpoint["state"] = json!("down");
        endpoint["why"] = json!("3 checks failed: connection refused");
        endpoint["since"] = json!("2026-11-30T04:59:01.500Z");
        endpoint["failures"] = json!(31 + 3 * self.second);
        self.still = vec!["worker 1 has not turned for 7 s"];
        self
    }

    fn with_refusals(mut self) -> Self {
        let http = "474554202f20485454502f312e310d0a486f73743a207765620d0a0d0a";
        self.refusals["refusals"] = json!([
            {
                "time": "2026-11-30T04:58:00.000Z", "listener": "mail", "peer": "198.51.100.9:40001",
                "reason": "untrusted", "error": null, "offset": null, "bytes": "",
                "why": "the peer is outside `trust`"
            },
            {
                "time": "2026-11-30T05:03:05.900Z", "listener": "edge", "peer": "203.0.113.80:54736",
                "reason": "header_absent", "error": "not_proxy", "offset": 0, "bytes": http,
                "why": "the bytes are not a PROXY protocol header this receiver allows (byte 0, spec 2.2); \
                    it looks like HTTP"
            }
        ]);
        self
    }

    fn with_listeners(mut self, count: usize) -> Self {
        let template = self.status["listeners"][0].clone();
        let listeners = (0..count).map(|number| {
            let mut listener = template.clone();
            listener["name"] = json!(format!("tenant-{number:03}"));
            listener["bind"] = json!([format!("192.0.2.1:{}", 10_000 + number)]);
            listener["active"] = json!(number);
            listener
        });
        self.status["listeners"] = listeners.collect();
        self
    }

    fn answers(self) -> Answers {
        let Upstreams { pools } = serde_json::from_value(self.upstreams).unwrap();
        let Refusals { mut refusals } = serde_json::from_value(self.refusals).unwrap();
        refusals.reverse();
        Answers {
            status: serde_json::from_value(self.status).unwrap(),
            pools,
            refusals,
            still: self.still.into_iter().map(Text::of).collect(),
        }
    }
}

/// A model whose clock the test turns.
struct Stage {
    begin: Instant,
    model: Model,
}

impl Stage {
    /// Two looks, a second apart.
    #[expect(clippy::disallowed_methods, reason = "there is no other first Instant")]
    fn of(scene: impl Fn(u64) -> Scene) -> Self {
        let begin = Instant::now();
        let mut model = Model::new(begin, scene(0).answers());
        model.handle_answers(begin + Duration::from_secs(1), Ok(scene(1).answers()));
        Self { begin, model }
    }

    fn at(&self, second: u64) -> Instant {
        self.begin + Duration::from_secs(second)
    }

    fn answer(&mut self, second: u64, answers: Result<Answers, String>) {
        self.model.handle_answers(self.at(second), answers);
    }

    fn press(&mut self, keys: &[Key]) {
        for key in keys {
            assert_eq!(self.model.handle_key(*key), Next::Stay, "{key:?}");
        }
    }

    fn write(&mut self, letters: &str) {
        letters.chars().for_each(|c| self.press(&[Key::Char(c)]));
    }

    fn terminal(
        &self,
        colour: Colour,
        second: u64,
        width: u16,
        height: u16,
    ) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let draw = |frame: &mut ratatui::Frame<'_>| {
            view::draw(&self.model, self.at(second), colour, frame.area(), frame.buffer_mut());
        };
        terminal.draw(draw).unwrap();
        terminal
    }

    /// The screen as text, without what is empty at the ends of lines.
    fn screen(&self, second: u64, width: u16, height: u16) -> String {
        let terminal = self.terminal(Colour::Off, second, width, height);
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(width));
        let row = |row: &[ratatui::buffer::Cell]| {
            row.iter().map(|cell| cell.symbol()).collect::<String>()
        };
        rows.map(|cells| row(cells).trim_end().to_owned() + "\n").collect()
    }

    /// The row that is marked.
    fn marked(&self) -> String {
        let table = self.model.table();
        let at = self.model.marked(&table).unwrap();
        table.rows[at].cells[0].text.clone()
    }
}

#[track_caller]
fn assert_shows(stage: &Stage, second: u64, expected: &str) {
    let screen = stage.screen(second, 80, 24);
    assert!(screen == expected, "it shows now:\n{screen}\nand should show:\n{expected}");
}

#[test]
fn a_server_at_work_fits_a_small_terminal() {
    assert_shows(&Stage::of(Scene::new), 1, include_str!("views/serving.txt"));
}

#[test]
fn an_endpoint_that_is_down_comes_first_with_why_and_since_when() {
    let mut stage = Stage::of(|second| Scene::new(second).with_endpoint_down());
    stage.press(&[Key::Enter]);
    assert_shows(&stage, 1, include_str!("views/endpoint_down.txt"));
}

#[test]
fn a_refusal_is_explained_with_its_bytes() {
    let mut stage = Stage::of(|second| Scene::new(second).with_refusals());
    stage.press(&[Key::Tab, Key::Tab, Key::Tab, Key::Enter]);
    assert_shows(&stage, 1, include_str!("views/refusal.txt"));
    // The operators' page shows the same.
    let docs = include_str!("../../../../../../docs/operations.md");
    assert!(
        docs.contains(include_str!("views/refusal.txt")),
        "docs/operations.md shows another screen"
    );
}

#[test]
fn a_server_that_is_gone_is_told_with_since_when_and_found_again() {
    let mut stage = Stage::of(Scene::new);
    let refused =
        || Err("no answer from unix:/run/ppserver/admin.sock: Connection refused".to_owned());
    stage.answer(2, refused());
    stage.answer(64, refused());
    assert_shows(&stage, 65, include_str!("views/gone.txt"));
    let mut other = Scene::new(0);
    other.status["pid"] = json!(28999);
    stage.answer(66, Ok(other.answers()));
    let screen = stage.screen(66, 80, 24);
    assert!(screen.starts_with("SERVING") && screen.contains("process 28999"), "{screen}");
    assert!(screen.contains("-/s accepted"), "rates are of one process alone: {screen}");
}

#[test]
fn a_drain_is_told_before_all_else() {
    let stage = Stage::of(|second| {
        let mut scene = Scene::new(second).with_endpoint_down();
        scene.status["state"] = json!("draining");
        scene
    });
    let screen = stage.screen(1, 80, 24);
    assert!(screen.starts_with("DRAINING for 2h 3m"), "{screen}");
    assert!(
        screen.contains("\nlook at    it accepts nobody, and ends with its last client; worker 1"),
        "{screen}"
    );
}

#[test]
fn help_names_every_key() {
    let mut stage = Stage::of(Scene::new);
    stage.write("?");
    assert_shows(&stage, 1, include_str!("views/help.txt"));
    assert!(stage.screen(1, 72, 24).contains("99 of 100 of the latest connects took this\n"));
    stage.write("q");
    assert_eq!(stage.model.mode, Mode::List);
}

#[test]
fn a_filter_shows_the_rows_with_these_letters() {
    let mut stage = Stage::of(|second| Scene::new(second).with_listeners(500));
    stage.press(&[Key::Tab, Key::Tab]);
    stage.write("/ANT-31");
    assert_shows(&stage, 1, include_str!("views/filter.txt"));
    stage.press(&[Key::Backspace, Key::Enter]);
    assert_eq!(stage.model.table().rows.len(), 100);
    stage.press(&[Key::Escape]);
    assert_eq!(stage.model.table().rows.len(), 500);
}

#[test]
fn five_hundred_listeners_are_walked_through() {
    let mut stage = Stage::of(|second| Scene::new(second).with_listeners(500));
    stage.press(&[Key::Tab, Key::Tab, Key::End]);
    assert_shows(&stage, 1, include_str!("views/many_listeners.txt"));
    stage.press(&[Key::PageUp, Key::Up, Key::Char('k')]);
    assert_eq!(stage.marked(), "tenant-487");
    stage.press(&[Key::Home, Key::Up]);
    assert_eq!(stage.marked(), "tenant-000");
}

#[test]
fn a_terminal_that_is_too_small_says_what_is_needed() {
    let stage = Stage::of(Scene::new);
    for (width, height) in [(71, 24), (80, 13), (20, 5)] {
        let words = stage.screen(1, width, height).split_whitespace().collect::<Vec<_>>().join(" ");
        let expected =
            format!("top needs 72 columns and 14 rows; here are {width} and {height}. q quits");
        assert_eq!(words, expected);
    }
    assert!(stage.screen(1, 1, 1).len() <= 2);
    assert!(stage.screen(1, 72, 14).contains("10.0.0.1:8080"));
    assert!(stage.screen(1, 200, 60).contains("every worker turns"));
}

#[test]
fn without_colour_nothing_is_coloured_and_with_it_no_letter_differs() {
    let stage = Stage::of(|second| Scene::new(second).with_endpoint_down().with_refusals());
    let [plain, coloured] =
        [Colour::Off, Colour::On].map(|colour| stage.terminal(colour, 1, 80, 24));
    let cells = |terminal: &Terminal<TestBackend>| terminal.backend().buffer().content().to_vec();
    let (plain, coloured) = (cells(&plain), cells(&coloured));
    assert!(plain.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert!(coloured.iter().any(|cell| cell.fg == Color::Red));
    let letters = |cells: &[ratatui::buffer::Cell]| {
        cells.iter().map(|cell| cell.symbol().to_owned()).collect::<String>()
    };
    assert_eq!(letters(&plain), letters(&coloured));
}

#[test]
fn no_byte_of_a_stranger_moves_the_cursor() {
    let hostile = "\u{1b}[2J\u{9b}31m\u{202e}\r\n\u{7}";
    let mut stage = Stage::of(|second| {
        let mut scene = Scene::new(second).with_refusals();
        for key in ["why", "peer", "listener", "reason"] {
            scene.refusals["refusals"][1][key] = json!(hostile);
        }
        scene.status["version"] = json!(hostile);
        scene
    });
    stage.press(&[Key::Tab, Key::Tab, Key::Tab, Key::Enter]);
    stage.answer(2, Err(hostile.to_owned()));
    let screen = stage.screen(2, 120, 30);
    assert!(screen.contains(r"\u{1b}[2J\u{9b}31m\u{202e}\r\n\u{7}"), "{screen}");
    let is_odd = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!screen.contains(is_odd), "{screen:?}");
}

#[test]
fn rates_and_latencies_are_of_the_last_looks() {
    let stage = Stage::of(Scene::new);
    let rate = stage.model.server_rate(|answers| answers.status.accepted);
    assert_eq!(rate, Some(120.0));
    assert_eq!(stage.model.connect_latency(Some("web"), 0.5), Some((0.0, 0.0005)));
    assert_eq!(stage.model.connect_latency(None, 0.99), Some((0.001, 0.0025)));
    assert_eq!(stage.model.connect_latency(Some("post"), 0.5), None);
}

#[test]
fn the_marked_row_stays_marked_though_others_come_before_it() {
    let mut stage = Stage::of(|second| Scene::new(second).with_refusals());
    stage.press(&[Key::BackTab, Key::BackTab, Key::Down]);
    assert_eq!((stage.model.pane, stage.marked().as_str()), (Pane::Refusals, "04:58:00"));
    let mut scene = Scene::new(2).with_refusals();
    let mut newer = scene.refusals["refusals"][1].clone();
    newer["time"] = json!("2026-11-30T05:03:06.500Z");
    scene.refusals["refusals"].as_array_mut().unwrap().push(newer);
    stage.answer(2, Ok(scene.answers()));
    assert_eq!(stage.model.table().rows.len(), 3);
    assert_eq!(stage.marked(), "04:58:00");
}

#[test]
fn each_press_sorts_by_the_next_column_and_the_last_one_not_at_all() {
    let mut stage = Stage::of(|second| Scene::new(second).with_listeners(3));
    stage.press(&[Key::Tab, Key::Tab]);
    let first = |stage: &Stage| stage.model.table().rows[0].cells[0].text.clone();
    let mut seen = Vec::new();
    for _ in 0..8 {
        seen.push((stage.model.sorted_by(), first(&stage)));
        stage.press(&[Key::Char('s')]);
    }
    assert_eq!(seen[0], (None, "tenant-000".to_owned()));
    assert_eq!(seen[1], (Some("LISTENER"), "tenant-000".to_owned()));
    assert_eq!(seen[4], (Some("ACTIVE"), "tenant-002".to_owned()));
    assert_eq!((seen[7].0, stage.model.sorted_by()), (Some("DOWN/S"), None));
    stage.press(&[Key::Char('s')]);
    assert!(stage.screen(1, 80, 24).contains("by LISTENER"));
}

#[test]
fn a_pause_holds_the_figures_until_another_process_answers() {
    let mut stage = Stage::of(Scene::new);
    stage.press(&[Key::Char('p')]);
    let before = stage.screen(1, 80, 24);
    assert!(before.contains("PAUSED"), "{before}");
    stage.answer(2, Ok(Scene::new(9).answers()));
    assert_eq!(stage.screen(1, 80, 24), before);
    let mut other = Scene::new(9);
    other.status["generation"] = json!(2);
    other.status["pid"] = json!(28999);
    stage.answer(3, Ok(other.answers()));
    assert!(stage.screen(1, 80, 24).contains("process 28999, generation 2"));
}

#[test]
fn escape_closes_what_is_open_and_then_quits() {
    let mut stage = Stage::of(Scene::new);
    stage.write("/x");
    stage.press(&[Key::Enter, Key::Enter]);
    assert_eq!((stage.model.mode, &*stage.model.filter), (Mode::Detail, "x"));
    stage.press(&[Key::Escape]);
    assert_eq!((stage.model.mode, &*stage.model.filter), (Mode::List, "x"));
    stage.press(&[Key::Escape]);
    assert_eq!(stage.model.filter, "");
    assert_eq!(stage.model.handle_key(Key::Escape), Next::Quit);
    for (before, key) in
        [("", Key::Char('q')), ("", Key::Interrupt), ("?", Key::Interrupt), ("/", Key::Interrupt)]
    {
        let mut stage = Stage::of(Scene::new);
        stage.write(before);
        assert_eq!(stage.model.handle_key(key), Next::Quit, "{before}");
    }
}

#[test]
fn letters_of_a_filter_are_no_commands_and_have_an_end() {
    let mut stage = Stage::of(Scene::new);
    stage.write("/q?ps");
    stage.write(&"x".repeat(100));
    assert_eq!(stage.model.filter.len(), 64);
    assert!(stage.model.filter.starts_with("q?ps") && !stage.model.is_paused);
    assert_eq!(stage.model.table().rows.len(), 0);
    assert!(stage.screen(1, 80, 24).contains("none with these letters"));
    stage.press(&[Key::Escape]);
    assert_eq!((stage.model.mode, &*stage.model.filter), (Mode::List, ""));
}
