//! Asks a qemu whether a plugin works in it, before anything is booted; no process is left when this returns.

use std::io::{self, Read};
use std::path::Path;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::leash;
use super::qemu::{Qemu, probe, said};
use super::running::Running;
use crate::model::fetched;

/// A qemu without a machine loads a plugin in a fraction of a second.
const LIMIT: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(5);
/// Of what it says no more is read.
const MOST_BYTES: u64 = 1 << 16;
/// The plugin's own words begin so.
const PLUGIN_SAYS: &str = "itlbench plugin: ";

/// What a process said and how it ended; `None` if it had to be ended.
#[derive(Debug)]
struct Answer {
    stdout: String,
    stderr: String,
    status: Option<ExitStatus>,
}

impl Qemu {
    /// Whether `plugin` would model the iTLB of `model` in this qemu; the error says why not, in their own words.
    pub fn takes(&self, plugin: &Path, model: &str) -> Result<(), String> {
        if !self.plugins {
            return Err(format!("`{}` was built without plugins", self.path.display()));
        }
        let answer =
            ask(&self.path, plugin, model, LIMIT).map_err(|error| format!("`{}`: {error}", self.path.display()))?;
        answer.judge().map_err(|why| format!("the plugin does not work in qemu {}: {why}", self.version))
    }
}

impl Answer {
    fn judge(&self) -> Result<(), String> {
        let Some(status) = self.status else {
            return Err(format!("it did not answer within {} s", LIMIT.as_secs()));
        };
        match fetched::is_ready(&self.stdout) {
            Ok(true) if status.success() => Ok(()),
            Ok(_) => Err(self.refusal().unwrap_or_else(|| format!("it says nothing ({status})"))),
            Err(other) => Err(other.to_string()),
        }
    }

    /// The plugin knows best why; after it whoever speaks of plugins.
    fn refusal(&self) -> Option<String> {
        let lines: Vec<String> = self.stderr.lines().chain(self.stdout.lines()).filter_map(said).collect();
        let own = lines.iter().find(|line| line.starts_with(PLUGIN_SAYS));
        let found = own.or_else(|| lines.iter().find(|line| line.contains("plugin"))).or(lines.first())?;
        Some(found.strip_prefix(PLUGIN_SAYS).unwrap_or(found).to_owned())
    }
}

fn ask(qemu: &Path, plugin: &Path, model: &str, limit: Duration) -> io::Result<Answer> {
    Running::start(&mut leash::command(qemu, &probe(plugin, model))).map(|running| hear(running, limit))
}

fn hear(mut running: Running, limit: Duration) -> Answer {
    let (stdout, stderr) = running.pipes();
    let (stdout, stderr) = (listen(stdout), listen(stderr));
    let began = Instant::now();
    while !running.has_ended() && began.elapsed() < limit {
        thread::sleep(TICK);
    }
    let status = running.end();
    let text = |bytes: Receiver<Vec<u8>>| {
        let bytes = bytes.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Answer { stdout: text(stdout), stderr: text(stderr), status }
}

fn listen(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, heard) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What cannot be read was not said.
        let _ = pipe.map(|pipe| pipe.take(MOST_BYTES).read_to_end(&mut bytes));
        let _ = sender.send(bytes);
    });
    heard
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    fn judged(stdout: &str, stderr: &str, code: i32) -> Result<(), String> {
        let status = Some(ExitStatus::from_raw(code << 8));
        Answer { stdout: stdout.to_owned(), stderr: stderr.to_owned(), status }.judge()
    }

    #[test]
    fn a_refusal_is_quoted_from_whoever_knows_best() {
        assert_eq!(judged(&fetched::ready(4), "a warning\n", 0), Ok(()));
        let load = "qemu-system-x86_64: Could not load plugin p.so: qemu_plugin_install returned error code -1";
        assert_eq!(judged("", &format!("{PLUGIN_SAYS}no model\n{load}\n"), 1).unwrap_err(), "no model");
        assert_eq!(judged("", &format!("qemu: no tty\n{load}\n"), 1).unwrap_err(), load);
        assert_eq!(judged("", "  broken\tpipe \n", 1).unwrap_err(), "broken pipe");
        assert_eq!(judged("", "", 1).unwrap_err(), "it says nothing (exit status: 1)");
        assert!(judged("", "", 0).is_err(), "a plugin that does not know the question");
        assert!(judged(&fetched::ready(4), "", 1).is_err(), "it fell behind its answer");
        let other = judged("itlbench plugin: ready, format 99, plugin API 4\n", "", 0).unwrap_err();
        assert!(other.starts_with("the plugin wrote format 99"), "{other}");
    }

    /// Processes of a group that are alive.
    fn members(group: u32) -> usize {
        let is_member = |entry: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            let mut rest = stat.rsplit_once(") ")?.1.split(' ');
            let (state, of) = (rest.next()?, rest.nth(1)?);
            (state != "Z" && of == group.to_string()).then_some(())
        };
        std::fs::read_dir("/proc").unwrap().filter_map(is_member).count()
    }

    #[test]
    fn what_does_not_answer_is_ended_with_its_children() {
        let hear = |script: &str| {
            let mut command = Command::new("sh");
            let running = Running::start(command.args(["-c", script])).unwrap();
            let (group, answer) = (running.id(), hear(running, Duration::from_secs(2)));
            let began = Instant::now();
            while members(group) > 0 && began.elapsed() < Duration::from_secs(10) {
                thread::sleep(TICK);
            }
            assert_eq!(members(group), 0, "{script}");
            answer
        };
        let answer = hear("echo began; sleep 600 & wait");
        assert_eq!((answer.status, answer.stdout.as_str()), (None, "began\n"));
        assert_eq!(answer.judge().unwrap_err(), "it did not answer within 20 s");
        let answer = hear("sleep 600 & echo no >&2; exit 3");
        assert_eq!((answer.status.and_then(|status| status.code()), answer.stderr.as_str()), (Some(3), "no\n"));
    }
}
