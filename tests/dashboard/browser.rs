//! A headless Chromium, driven by the DevTools protocol through its pipe: JSON between NULs.
//!
//! Not a client of that protocol: it knows the dozen calls that a test of one page needs. Invariant: whatever the
//! page complains of, on its console or to its policies, is noted, and a page that is dropped with a complaint
//! fails its test.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::process::{Proc, require_program};

/// What puts it on a Debian machine.
const INSTALL: &str = "apt-get install -y --no-install-recommends chromium";

/// Nothing but the page: no sandbox, which root cannot have, and no request of its own.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
];

/// Reads file 3 and writes file 4, as the pipe of the protocol is.
const WITH_PIPE: &str = "exec \"$@\" 3<\"$0/asked\" 4>\"$0/told\"";

/// A page in a browser of its own.
pub(crate) struct Page {
    proc: Proc,
    asked: File,
    told: Receiver<Value>,
    session: Option<String>,
    calls: u64,
    complaints: Vec<String>,
    may_be_alone: bool,
    _dir: TempDir,
}

/// What a page is looked at through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// `light` or `dark`.
    pub(crate) scheme: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// A screen on a desk, by day.
pub(crate) const DESK: Look = Look { scheme: "light", width: 1280, height: 900 };

impl Page {
    /// Opens the page at `url`.
    #[track_caller]
    pub(crate) fn open(url: &str) -> Page {
        Page::open_behind(url, "")
    }

    /// The same, once `script` has run in its place.
    #[track_caller]
    pub(crate) fn open_behind(url: &str, script: &str) -> Page {
        let mut page = Page::blank();
        let targets = page.call("Target.getTargets", json!({}));
        let target = &targets["targetInfos"][0]["targetId"];
        let attach = json!({ "targetId": target, "flatten": true });
        let attached = page.call("Target.attachToTarget", attach);
        page.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Runtime", "Log", "Page", "Performance"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page.call("Emulation.setTimezoneOverride", json!({ "timezoneId": "UTC" }));
        page.look(DESK);
        page.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }));
        page.call("Page.navigate", json!({ "url": url }));
        page
    }

    #[track_caller]
    fn blank() -> Page {
        let program = require_program("chromium", INSTALL);
        let dir = TempDir::new().expect("a temporary directory can be made");
        for name in ["asked", "told"] {
            let fifo = dir.path().join(name);
            mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).expect("a FIFO can be made");
        }
        let mut command = Command::new("sh");
        command.args(["-c", WITH_PIPE]).arg(dir.path()).arg(program).args(FLAGS);
        command.arg(format!("--user-data-dir={}", dir.path().join("profile").display()));
        command.arg("about:blank");
        let proc = Proc::spawn("chromium", &mut command);
        // In the order of the shell, which waits for each other end.
        let asked = File::options().write(true).open(dir.path().join("asked"));
        let told = messages(&dir.path().join("told"));
        let asked = asked.expect("the shell opens it too");
        Page {
            proc,
            asked,
            told,
            session: None,
            calls: 0,
            complaints: Vec::new(),
            may_be_alone: false,
            _dir: dir,
        }
    }

    /// Looks at it otherwise.
    #[track_caller]
    pub(crate) fn look(&mut self, Look { scheme, width, height }: Look) {
        let is_phone = width < 600;
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone,
        });
        // Its view may be still on its way, and has no size until then.
        let method = "Emulation.setDeviceMetricsOverride";
        let sized = poll_for(PATIENCE, || self.try_call(method, size.clone()).ok());
        assert!(sized.is_some(), "the page has a view");
        self.call("Emulation.setScrollbarsHidden", json!({ "hidden": true }));
        let scheme = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [scheme] }));
    }

    /// The value of an expression in the page, or of what it promises.
    #[track_caller]
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
            // The page's policy holds for what is evaluated too.
            "allowUnsafeEvalBlockedByCSP": false,
        });
        let answer = self.call("Runtime.evaluate", asked);
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, expression: &str) {
        let found = poll_for(PATIENCE, || (self.eval(expression) == true).then_some(()));
        if found.is_none() {
            let text = self.eval("document.body.innerText");
            panic!("never true: {expression}\n{}", text.as_str().unwrap_or_default());
        }
    }

    /// Waits until the text of the first element that `selector` finds has `words` in it.
    #[track_caller]
    pub(crate) fn wait_for_text(&mut self, selector: &str, words: &str) {
        let (selector, words) = (json!(selector), json!(words));
        self.wait_until(&format!(
            "document.querySelector({selector})?.innerText.includes({words}) ?? false"
        ));
    }

    /// The text of the first element that `selector` finds.
    #[track_caller]
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let found = self.eval(&format!("document.querySelector({}).textContent", json!(selector)));
        found.as_str().expect("an element has a text").to_owned()
    }

    /// Presses a key and lets it go; one that writes has its character as `text`.
    #[track_caller]
    pub(crate) fn press(&mut self, key: &str, text: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            _ => 0,
        };
        let of =
            |kind| json!({ "type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code });
        self.call("Input.dispatchKeyEvent", of("keyDown"));
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key }));
    }

    /// Writes into what has the focus.
    #[track_caller]
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// A picture of what is to be seen, as PNG.
    #[track_caller]
    pub(crate) fn photo(&mut self) -> Vec<u8> {
        let taken = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let data = taken["data"].as_str().expect("a picture is base64");
        STANDARD.decode(data).expect("a picture is base64")
    }

    /// Seconds that the browser has spent on something: `ScriptDuration`, `LayoutDuration`, `TaskDuration`.
    #[track_caller]
    pub(crate) fn seconds(&mut self, metric: &str) -> f64 {
        let metrics = self.call("Performance.getMetrics", json!({}));
        let metrics = metrics["metrics"].as_array().expect("a list");
        let found = metrics.iter().find(|found| found["name"] == metric);
        found.and_then(|found| found["value"].as_f64()).expect("it is counted")
    }

    /// Takes what the page has complained of.
    #[track_caller]
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        // What came before is told before the answer.
        self.eval("0");
        std::mem::take(&mut self.complaints)
    }

    /// From now on it is no complaint that nobody answers.
    pub(crate) fn leave_alone(&mut self) {
        self.may_be_alone = true;
    }

    /// Calls, and waits for the answer.
    #[track_caller]
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// # Errors
    /// What the browser has against it.
    fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        write!(self.asked, "{message}\0").expect("the browser reads");
        loop {
            let Ok(mut told) = self.told.recv_timeout(PATIENCE) else {
                panic!("no answer to {method}\n{}", self.proc.transcript());
            };
            if told["id"] == self.calls {
                let error = told["error"].take();
                return if error.is_null() { Ok(told["result"].take()) } else { Err(error) };
            }
            let is_of_silence = told["params"]["entry"]["source"] == "network";
            if !(self.may_be_alone && is_of_silence) {
                self.complaints.extend(complaint(&told));
            }
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_eq!(self.complaints(), [""; 0], "the page complains");
        }
    }
}

/// What is told at the other end of the pipe.
fn messages(fifo: &Path) -> Receiver<Value> {
    let file = File::open(fifo).expect("the shell opens it too");
    let (told, messages) = channel();
    thread::spawn(move || {
        for message in BufReader::new(file).split(b'\0').map_while(Result::ok) {
            let message = serde_json::from_slice(&message).expect("a message is JSON");
            if told.send(message).is_err() {
                return;
            }
        }
    });
    messages
}

/// What is wrong with the page, if that is what is told.
fn complaint(told: &Value) -> Option<String> {
    let params = &told["params"];
    let is_loud = |level: &Value| level == "error" || level == "warning";
    let what = match told["method"].as_str()? {
        "Runtime.exceptionThrown" => &params["exceptionDetails"],
        "Runtime.consoleAPICalled" if is_loud(&params["type"]) => &params["args"],
        "Log.entryAdded" if is_loud(&params["entry"]["level"]) => &params["entry"],
        _ => return None,
    };
    Some(what.to_string())
}
