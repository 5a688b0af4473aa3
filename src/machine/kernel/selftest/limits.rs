//! What a test changes of this process, or of the host where that was allowed, and gives back.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::charge::{self, LIMIT, Unprivileged};
use super::survey::meminfo;
use crate::selftest::trace::Event;

const HARDEN: &str = "/proc/sys/net/core/bpf_jit_harden";
/// Why nothing is refused at the limit.
const INTERPRETED: &str =
    "what gets no memory for its code is interpreted here: this kernel is built without CONFIG_BPF_JIT_ALWAYS_ON";
/// How long memory may still count against the limit once it is free.
const BOUNDED: Duration = Duration::from_secs(2);
const FAIL_NTH: &str = "/proc/thread-self/fail-nth";

/// What has been changed. Dropping it gives all of it back.
#[derive(Debug, Default)]
pub struct Changes {
    memory: Vec<u8>,
    descriptors: Option<Rlimit>,
    harden: Option<Restorer>,
    /// What may be loaded, before the limit is restored.
    unprivileged: Option<Unprivileged>,
    jit_limit: Option<Restorer>,
    charged: Option<u64>,
}

impl Changes {
    /// Takes `percent` of the memory that is available, or gives it back.
    pub fn pressure(&mut self, on: bool, percent: u32) -> Event {
        self.memory = Vec::new();
        if on {
            let bytes = meminfo("MemAvailable:") * 1024 / 100 * u64::from(percent.min(95));
            // Written to, or it would not be there.
            self.memory = vec![1; bytes as usize];
        }
        Event::Done
    }

    /// Lowers the soft limit so that `left` descriptors are free below it, or restores it.
    pub fn descriptors(&mut self, left: Option<u16>) -> Event {
        let Some(left) = left else {
            if let Some(limit) = self.descriptors.take() {
                let _ = setrlimit(Resource::Nofile, limit);
            }
            return Event::Done;
        };
        let limit = getrlimit(Resource::Nofile);
        let used = open_descriptors();
        let Some(highest) = (0u64..).filter(|number| !used.contains(number)).nth(usize::from(left)) else {
            return Event::Nothing;
        };
        match setrlimit(Resource::Nofile, Rlimit { current: Some(highest), maximum: limit.maximum }) {
            Ok(()) => {
                self.descriptors.get_or_insert(limit);
                Event::Done
            }
            Err(error) => Event::CannotHere(format!("the descriptor limit cannot be lowered: {error}")),
        }
    }

    /// What counts against bpf_jit_limit. Frees that are not over yet are waited for, but not for ever.
    pub fn charged(&mut self, mut freed: impl FnMut() -> io::Result<()>) -> Event {
        let cannot = |error: &dyn std::fmt::Display| Event::CannotHere(format!("`{LIMIT}` cannot be lowered: {error}"));
        if let Err(error) = self.restore_limit_later() {
            return cannot(&error);
        }
        let began = Instant::now();
        loop {
            let bytes = match charge::charged(&mut freed) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Event::CannotHere(INTERPRETED.to_owned()),
                Err(error) => return cannot(&error),
            };
            if self.charged.is_none_or(|before| bytes <= before) || began.elapsed() > BOUNDED {
                self.charged.get_or_insert(bytes);
                return Event::Charged(bytes);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Leaves `room` bytes below the limit to this thread, which loads without CAP_BPF then; or restores both.
    pub fn jit_limit(&mut self, room: Option<u32>) -> Event {
        let (Some(room), Some(charged)) = (room, self.charged) else {
            (self.unprivileged, self.jit_limit) = (None, None);
            return Event::Done;
        };
        let set = self.restore_limit_later().and_then(|()| charge::set_limit(charged + u64::from(room)));
        match set.and_then(|()| Unprivileged::new()) {
            Ok(unprivileged) => {
                self.unprivileged = Some(unprivileged);
                Event::Done
            }
            Err(error) => Event::CannotHere(format!("`{LIMIT}` cannot be lowered: {error}")),
        }
    }

    fn restore_limit_later(&mut self) -> io::Result<()> {
        if self.jit_limit.is_none() {
            self.jit_limit = Some(Restorer::start(LIMIT)?);
        }
        Ok(())
    }

    /// Sets bpf_jit_harden to `level`, or to what it was.
    pub fn harden(&mut self, level: Option<u8>) -> Event {
        let Some(level) = level else {
            self.harden = None;
            return Event::Done;
        };
        if self.harden.is_none() {
            match Restorer::start(HARDEN) {
                Ok(restorer) => self.harden = Some(restorer),
                Err(error) => {
                    return Event::CannotHere(format!("`{HARDEN}` could not be restored afterwards: {error}"));
                }
            }
        }
        match fs::write(HARDEN, format!("{level}\n")) {
            Ok(()) => Event::Done,
            Err(error) => Event::CannotHere(format!("failed to write `{HARDEN}`: {error}")),
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.descriptors(None);
    }
}

/// A process that writes the old value back when this one lets go of it or is killed.
#[derive(Debug)]
struct Restorer {
    child: Child,
}

impl Restorer {
    fn start(path: &str) -> std::io::Result<Self> {
        let value = fs::read_to_string(path)?;
        let mut command = Command::new("/proc/self/exe");
        command.args(["selftest", "--restore", &format!("{path}={}", value.trim())]);
        // A group of its own: what kills ours must not kill it.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        // It answers nothing; that it took a line shows that it waits.
        if let Some(stdin) = &mut child.stdin {
            stdin.write_all(b"wait\n")?;
        }
        Ok(Self { child })
    }
}

impl Drop for Restorer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// bpf_jit_harden as it is.
pub fn harden_level() -> u8 {
    fs::read_to_string(HARDEN).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Lets the allocation number `nth` of this thread fail from now on; 0: none.
pub fn fail_nth(nth: u32) -> std::io::Result<()> {
    fs::write(FAIL_NTH, nth.to_string())
}

/// Why allocations cannot be made to fail here.
pub fn no_fail_nth() -> Option<String> {
    let missing =
        "this kernel has no fault injection (CONFIG_FAULT_INJECTION, CONFIG_FAILSLAB): no /proc/thread-self/fail-nth";
    fail_nth(0).err().map(|_| missing.to_owned())
}

/// Bytes of the module area: twice the limit that the kernel sets at boot. Somebody may have changed it since: it is not less than with
/// KASLR configured, nor more than without.
pub fn area_bytes() -> u64 {
    charge::limit().unwrap_or(0).saturating_mul(2).clamp(1008 << 20, 1536 << 20)
}

/// Why the module area cannot be filled here.
pub fn no_area_end() -> Option<String> {
    /// The area, the programs' own memory, and room for others.
    const NEEDED_KIB: u64 = 3 << 20;
    let available = meminfo("MemAvailable:");
    (available < NEEDED_KIB)
        .then(|| format!("filling the module area takes {} MiB, {} are available", NEEDED_KIB >> 10, available >> 10))
}

fn open_descriptors() -> Vec<u64> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let number = |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let mut numbers: Vec<u64> = entries.filter_map(number).collect();
    // The directory itself was open while it was read.
    numbers.retain(|number| fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok());
    numbers
}
