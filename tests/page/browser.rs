//! Chromium, driven by chromedriver over WebDriver.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use karuta_tests::eventually;
use serde_json::{Value, json};

/// A browser with one tab. Dropping it closes both programs.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    /// What the console has said so far: the driver says each line once.
    said: RefCell<Vec<String>>,
}

/// Keys that have no letter, as WebDriver names them.
pub const ENTER: char = '\u{e007}';
pub const TAB: char = '\u{e004}';

impl Browser {
    /// Opens a browser; `None` if it is not installed.
    pub fn open() -> Option<Self> {
        if !(crate::is_there("chromedriver") && crate::is_there("chromium")) {
            return None;
        }
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("its output is piped")).lines();
        let port = lines.find_map(|line| {
            let line = line.expect("a line");
            line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("chromedriver listens")));
        let mut browser =
            Self { driver, address, session: String::new(), said: RefCell::default() };
        let options = json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     "--hide-scrollbars", "--lang=en-US"],
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
            "acceptInsecureCerts": true,
        } } });
        let made = browser.ask("POST", "/session", &wanted);
        let session = made["sessionId"].as_str().expect("a session");
        browser.session = format!("/session/{session}");
        browser.size(1280, 1.0);
        Some(browser)
    }

    /// Shows a page, and waits until it is loaded.
    pub fn show(&self, url: &str) {
        self.command("url", json!({ "url": url }));
    }

    /// Runs a script, and returns what it returns. A policy against scripts does not hold for it.
    pub fn run(&self, script: &str) -> Value {
        self.command("execute/sync", json!({ "script": script, "args": [] }))
    }

    /// Runs a script that returns a promise, and returns what that becomes.
    pub fn run_to_end(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; (async () => {{ {script} }})().then(done, e => done(`${{e}}`));"
        );
        self.command("execute/async", json!({ "script": script, "args": [] }))
    }

    /// Returns the text of an element as it is shown.
    pub fn text(&self, selector: &str) -> String {
        let element = self.element(selector);
        let text = self.ask("GET", &format!("{}/element/{element}/text", self.session), &json!({}));
        text.as_str().expect("a text").to_owned()
    }

    /// Waits until an element's text contains another.
    #[track_caller]
    pub fn says(&self, selector: &str, text: &str) {
        let script = format!("return document.querySelector({})?.innerText", Value::from(selector));
        eventually(&format!("{selector}: {text}"), || {
            self.run(&script).as_str().is_some_and(|shown| shown.contains(text))
        });
    }

    /// Presses keys one after the other, wherever the focus is.
    pub fn keys(&self, keys: &str) {
        let presses = keys.chars().flat_map(|key| {
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
        });
        let presses: Vec<_> = presses.collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": presses });
        self.command("actions", json!({ "actions": [keyboard] }));
    }

    /// Presses Tab until an element has the focus.
    #[track_caller]
    pub fn tab_to(&self, selector: &str) {
        let script = format!("return document.activeElement.matches({})", Value::from(selector));
        for _ in 0..200 {
            if self.run(&script) == true {
                return;
            }
            self.keys(&TAB.to_string());
        }
        panic!("Tab never leads to {selector}");
    }

    /// Sets the width of the page in its own pixels, and how many of the screen make one.
    pub fn size(&self, width: u32, scale: f64) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": scale,
                              "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Prefers `light` or `dark`, and no motion.
    pub fn prefer(&self, theme: &str) {
        let features = json!([
            { "name": "prefers-color-scheme", "value": theme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Switches the scripts of pages on or off.
    pub fn scripts(&self, on: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": !on }));
    }

    /// Fails if the page is wider than its window.
    #[track_caller]
    pub fn assert_narrow(&self, what: &str) {
        let wide = self.run(
            "const root = document.documentElement; \
             if (root.scrollWidth <= root.clientWidth) return []; \
             const all = [...document.querySelectorAll('body *')]; \
             const wide = all.filter(one => !one.closest('.scroll > *') \
                 && one.getBoundingClientRect().right > root.clientWidth); \
             return ['the page'].concat(wide.map(one => one.outerHTML.slice(0, 100)))",
        );
        assert_eq!(wide, json!([]), "{what}: too wide");
    }

    /// Makes the window as high as the page, so that a picture may be of any part of it.
    pub fn stretch(&self, width: u32, scale: f64) {
        let height = self.run("return document.documentElement.scrollHeight");
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": false }),
        );
    }

    /// Returns a picture of an element, as PNG in base64.
    pub fn picture(&self, selector: &str) -> String {
        let script = format!(
            "const r = document.querySelector({}).getBoundingClientRect(); \
             return [r.x + scrollX, r.y + scrollY, r.width, r.height]",
            Value::from(selector)
        );
        let place = self.run(&script);
        let clip = json!({ "x": place[0], "y": place[1], "width": place[2], "height": place[3],
                           "scale": 1 });
        let made =
            self.devtools("Page.captureScreenshot", json!({ "format": "png", "clip": clip }));
        made["data"].as_str().expect("a picture").to_owned()
    }

    /// Fails if the console has an error or a warning, such as a violation of the policy.
    #[track_caller]
    pub fn assert_quiet(&self) {
        let entries = self.command("se/log", json!({ "type": "browser" }));
        let lines = entries
            .as_array()
            .expect("a list")
            .iter()
            .filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        let mut said = self.said.borrow_mut();
        said.extend(lines.map(|entry| entry["message"].to_string()));
        assert!(said.is_empty(), "{said:#?}");
    }

    fn devtools(&self, name: &str, parameters: Value) -> Value {
        self.command("goog/cdp/execute", json!({ "cmd": name, "params": parameters }))
    }

    fn element(&self, selector: &str) -> String {
        let found = self.command("element", json!({ "using": "css selector", "value": selector }));
        let found =
            found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        found.expect("an element").to_owned()
    }

    fn command(&self, name: &str, parameters: Value) -> Value {
        self.ask("POST", &format!("{}/{name}", self.session), &parameters)
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, parameters: &Value) -> Value {
        let body = if method == "POST" { parameters.to_string() } else { String::new() };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let (status, body) = exchange(self.address, request.as_bytes());
        let mut answer: Value = serde_json::from_slice(&body).expect("WebDriver answers with JSON");
        assert_eq!(status, 200, "{path}: {}", answer["value"]["message"]);
        answer["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.ask("DELETE", &self.session, &json!({}));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Sends a request, and returns the status and the body of the answer. The driver does not close the
/// connection.
fn exchange(address: SocketAddr, request: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("chromedriver accepts");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
    stream.write_all(request).expect("the request is sent");
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let (mut status, mut length) = (0, 0);
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).expect("a head");
        let lower = line.to_ascii_lowercase();
        if let Some(rest) = lower.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().expect("a status");
        } else if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the whole body");
    (status, body)
}
