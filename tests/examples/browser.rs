//! A browser without a window, driven by its DevTools protocol over a pipe: JSON, each message
//! ended by a NUL.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// What Chromium is called, the smallest package first.
const PROGRAMS: [&str; 4] =
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
/// The browser gives up on a command after this long.
const PATIENCE_S: u64 = 60;

/// A browser with one page. Killed when dropped.
pub(crate) struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: BufReader<ChildStdout>,
    profile: PathBuf,
    last_id: u64,
    session: Option<String>,
}

impl Browser {
    /// `None` where there is no Chromium: said loudly, and a failure in CI.
    pub(crate) fn start() -> Option<Self> {
        let path = std::env::var("PATH").unwrap_or_default();
        let is_there =
            |name: &&str| path.split(':').any(|dir| PathBuf::from(dir).join(name).is_file());
        let Some(program) = PROGRAMS.into_iter().find(is_there) else {
            let why = "NOT TESTED: no Chromium is installed; `cargo xtask setup` does that";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("{why}");
            return None;
        };
        let profile = std::env::temp_dir().join(format!("zero-io-browser-{}", std::process::id()));
        // It reads commands from descriptor 3 and answers on 4. A page of a test's own server needs
        // no sandbox, which would not start for root.
        let command = format!(
            "exec timeout -k 1 {PATIENCE_S} {program} --headless --no-sandbox --disable-gpu \
             --no-first-run --disable-background-networking --disable-component-update \
             --disable-sync --hide-scrollbars --window-size=1000,900 \
             --remote-debugging-pipe --user-data-dir={} 3<&0 4>&1 >/dev/null 2>&1 </dev/null",
            profile.display()
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let commands = child.stdin.take().unwrap();
        let messages = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, commands, messages, profile, last_id: 0, session: None })
    }

    /// Opens a page; what follows is about it.
    pub(crate) fn open(&mut self, url: &str) {
        let target = self.ask("Target.createTarget", json!({ "url": url }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.ask("Target.attachToTarget", attach);
        self.session = Some(session["sessionId"].as_str().unwrap().to_owned());
    }

    /// The value of an expression in the page, awaited if it is a promise.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let how = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let said = self.ask("Runtime.evaluate", how);
        assert!(said["exceptionDetails"].is_null(), "{expression}: {said}");
        said["result"]["value"].clone()
    }

    /// A picture of the page: a PNG in base64.
    pub(crate) fn screenshot(&mut self) -> String {
        let taken = self.ask("Page.captureScreenshot", json!({ "format": "png" }));
        taken["data"].as_str().unwrap().to_owned()
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let mut message = Vec::new();
            self.messages.read_until(0, &mut message).unwrap();
            assert!(message.pop() == Some(0), "the browser ended before it answered {method}");
            let message: Value = serde_json::from_slice(&message).unwrap();
            if message["id"] == self.last_id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // `timeout` hands the signal on to the browser, which takes its helpers along.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
