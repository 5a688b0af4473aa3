//! The HTML report in headless Chromium: both colour schemes, a phone, paper, sorted by clicks, and not one message on the
//! console. Skips without Chromium. `KEEP_SCREENSHOTS=DIR` keeps the pictures for people to look at.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

/// What the browser may take for an answer or an event.
const LONGEST: Duration = Duration::from_secs(60);
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser driven over its debugging pipe: JSON messages that end in NUL, on descriptors 3 and 4.
struct Browser {
    child: Child,
    to: File,
    from: Receiver<Vec<u8>>,
    last: u64,
    session: String,
    /// What the page wrote on its console, and what the browser complained of.
    complaints: Vec<String>,
    _home: tempfile::TempDir,
}

impl Browser {
    /// `None` without Chromium.
    fn start() -> Option<Self> {
        let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
        let name = NAMES.into_iter().find(works)?;
        let home = tempfile::tempdir().unwrap();
        let pipe = |name: &str| home.path().join(name);
        let status = Command::new("mkfifo").args([pipe("to"), pipe("from")]).status().unwrap();
        assert!(status.success());
        let script = "exec \"$0\" --headless --no-sandbox --disable-gpu --hide-scrollbars --disable-background-networking \
                      --no-first-run --remote-debugging-pipe --user-data-dir=\"$1/profile\" 3<\"$1/to\" 4>\"$1/from\"";
        let child = Command::new("sh")
            .args(["-c", script, name])
            .arg(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = File::options().write(true).open(pipe("to")).unwrap();
        let from = messages(File::open(pipe("from")).unwrap());
        let (session, complaints) = (String::new(), Vec::new());
        let mut browser = Self { child, to, from, last: 0, session, complaints, _home: home };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = browser.call("Target.attachToTarget", attach)["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            browser.call(domain, json!({}));
        }
        Some(browser)
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.receive();
            if answer["id"] == json!(self.last) {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// The next message; complaints among the events are noted.
    fn receive(&mut self) -> Value {
        let mut bytes = self.from.recv_timeout(LONGEST).expect("a message of the browser");
        assert_eq!(bytes.pop(), Some(0), "the browser ended");
        let message: Value = serde_json::from_slice(&bytes).unwrap();
        let (method, params) = (message["method"].as_str().unwrap_or_default(), &message["params"]);
        match method {
            "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded" => {
                self.complaints.push(params.to_string());
            }
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                if !url.starts_with("file:") && !url.starts_with("data:") && url != "about:blank" {
                    self.complaints.push(format!("asked for {url}"));
                }
            }
            _ => {}
        }
        message
    }

    fn open(&mut self, page: &Path, width: u32, scheme: &str, medium: &str) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"media": medium, "features": features}));
        self.call("Page.navigate", json!({"url": format!("file://{}", page.display())}));
        while self.receive()["method"] != json!("Page.loadEventFired") {}
    }

    fn ask(&mut self, expression: &str) -> Value {
        let answer = self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}));
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    fn screenshot(&mut self) -> Vec<u8> {
        let options = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.call("Page.captureScreenshot", options);
        base64::engine::general_purpose::STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()
    }
}

/// What comes from the browser, read by a thread of its own: a pipe has no time limit. The last one is without its NUL.
fn messages(pipe: File) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    let mut from = BufReader::new(pipe);
    std::thread::spawn(move || {
        loop {
            let mut bytes = Vec::new();
            let ended = !matches!(from.read_until(0, &mut bytes), Ok(length) if length > 0);
            if sender.send(bytes).is_err() || ended {
                return;
            }
        }
    });
    receiver
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn itlbench(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_itlbench")).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A run on the simulated machine; its directory.
fn simulated(out: &Path, seed: &str) -> PathBuf {
    let sizes = ["--programs", "64,512", "--trials", "6", "--samples", "8"];
    let out = out.join(seed);
    let args = [&["run", "--machine", "sim", "--seed", seed][..], &sizes, &["--out", out.to_str().unwrap()]].concat();
    fs::canonicalize(itlbench(&args).lines().last().unwrap()).unwrap()
}

/// The report of a run on the simulated machine.
fn report(out: &Path) -> PathBuf {
    simulated(out, "7").join("report.html")
}

/// The report of a comparison of two simulated boots a side.
fn comparison(out: &Path) -> PathBuf {
    let runs = |seeds: std::ops::Range<u32>| {
        let run = |seed: u32| simulated(out, &seed.to_string()).to_str().unwrap().to_owned();
        seeds.map(run).collect::<Vec<String>>()
    };
    let page = out.join("compared");
    let (base, new) = (runs(1..3), runs(11..13));
    let to = ["--to".to_owned()].into_iter().chain(new);
    let last = ["--out".to_owned(), page.to_str().unwrap().to_owned()];
    let args: Vec<String> = ["compare".to_owned()].into_iter().chain(base).chain(to).chain(last).collect();
    itlbench(&args.iter().map(String::as_str).collect::<Vec<_>>());
    page.join("report.html")
}

/// Share of the picture's pixels that are darker than middle grey.
fn dark_share(png: &[u8]) -> f64 {
    let mut reader = png::Decoder::new(png).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let step = info.color_type.samples();
    let all = info.buffer_size() / step;
    let dark = pixels[..info.buffer_size()]
        .chunks(step)
        .filter(|pixel| pixel[..3].iter().map(|c| u32::from(*c)).sum::<u32>() < 384);
    dark.count() as f64 / all as f64
}

fn keep(name: &str, png: &[u8]) {
    if let Some(dir) = std::env::var_os("KEEP_SCREENSHOTS") {
        fs::create_dir_all(&dir).unwrap();
        fs::write(Path::new(&dir).join(name).with_extension("png"), png).unwrap();
    }
}

#[test]
fn the_page_holds_in_light_in_dark_on_a_phone_and_on_paper() {
    assert_holds("run", report);
}

#[test]
fn the_page_of_a_comparison_holds_as_well() {
    assert_holds("comparison", comparison);
}

fn assert_holds(what: &str, made: fn(&Path) -> PathBuf) {
    let Some(mut browser) = Browser::start() else {
        println!("SKIP page in a browser: no Chromium");
        return;
    };
    let out = tempfile::tempdir().unwrap();
    let page = made(out.path());
    for (name, width, scheme, medium, night) in [
        ("light", 1280, "light", "screen", false),
        ("dark", 1280, "dark", "screen", true),
        ("phone-light", 390, "light", "screen", false),
        ("phone-dark", 390, "dark", "screen", true),
        ("paper", 794, "dark", "print", false),
    ] {
        browser.open(&page, width, scheme, medium);
        let picture = browser.screenshot();
        keep(&format!("{what}-{name}"), &picture);
        let dark = dark_share(&picture);
        assert_eq!(dark > 0.8, night, "{what}, {name}: {dark:.2} of the pixels are dark");
        if medium == "screen" {
            let overhang = browser.ask("document.documentElement.scrollWidth - document.documentElement.clientWidth");
            assert_eq!(overhang, json!(0), "{what}, {name}: the page itself scrolls sideways");
        }
        assert!(browser.complaints.is_empty(), "{what}, {name}: {:?}", browser.complaints);
    }
}

#[test]
fn every_table_sorts_by_every_column_and_back() {
    let Some(mut browser) = Browser::start() else {
        println!("SKIP sorting in a browser: no Chromium");
        return;
    };
    let out = tempfile::tempdir().unwrap();
    browser.open(&report(out.path()), 1280, "light", "screen");
    let tables = browser.ask("document.querySelectorAll('table').length");
    let unsortable = "Array.from(document.querySelectorAll('th')).filter(th => !th.querySelector('button')).length";
    assert!(tables.as_u64().unwrap() >= 3, "{tables}");
    assert_eq!(browser.ask(unsortable), json!(0));
    let column = |at: u32| {
        format!(
            "Array.from(document.querySelectorAll('table')[0].tBodies[0].rows).map(row => row.cells[{at}].textContent)"
        )
    };
    let before = browser.ask(&column(1));
    assert_eq!(before, json!(["64", "64", "512", "512"]));
    let click = "document.querySelectorAll('table')[0].querySelectorAll('button')[1].click()";
    browser.ask(click);
    assert_eq!(browser.ask(&column(1)), json!(["64", "64", "512", "512"]));
    browser.ask(click);
    assert_eq!(browser.ask(&column(1)), json!(["512", "512", "64", "64"]));
    assert_eq!(browser.ask("document.querySelector('th[aria-sort]').getAttribute('aria-sort')"), json!("descending"));
    browser.ask(click);
    assert_eq!(
        (browser.ask(&column(1)), browser.ask("document.querySelectorAll('[aria-sort]').length")),
        (before, json!(0))
    );
    browser.ask("document.querySelectorAll('table')[0].querySelectorAll('button')[2].click()");
    assert_eq!(browser.ask(&column(2)), json!(["off", "off", "on", "on"]));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}
