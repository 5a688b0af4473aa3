//! The last lines of a guest's console: what an error quotes.

use std::collections::VecDeque;

/// Lines kept.
const LINES: usize = 200;
/// Bytes of one line; a console may well send none that ends.
const LINE_BYTES: usize = 400;

/// Lines of it that an error quotes.
const QUOTED: usize = 3;
/// Words of a line that tells why a guest ended: first of those by which a kernel or KVM says it, then the emulator's own.
const TELLING: [&[&str]; 2] = [
    &[
        "Initramfs unpacking failed",
        "Kernel panic",
        "double fault",
        "Oops:",
        "BUG:",
        "panicked at",
        "Out of memory",
        "KVM internal error",
        "KVM: entry failed",
    ],
    &["qemu"],
];

/// The tail of what a console printed.
#[derive(Clone, Debug, Default)]
pub struct Console {
    lines: VecDeque<String>,
    open: Vec<u8>,
}

impl Console {
    /// Takes what was printed.
    pub fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => self.close(),
                _ if self.open.len() >= LINE_BYTES => {}
                _ => self.open.push(byte),
            }
        }
    }

    fn close(&mut self) {
        let line = cleaned(&std::mem::take(&mut self.open));
        if line.is_empty() {
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// All that is kept, one line behind the other.
    pub fn text(&self) -> String {
        let open = cleaned(&self.open);
        self.lines
            .iter()
            .chain((!open.is_empty()).then_some(&open))
            .fold(String::new(), |text, line| text + line + "\n")
    }

    /// What says most about an end: what tells of an error, else the last lines.
    pub fn gist(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        self.telling().unwrap_or_else(|| lines[lines.len().saturating_sub(QUOTED)..].join(" | "))
    }

    /// The first line that tells of an error of the guest, else one of the emulator; and those behind it.
    pub fn telling(&self) -> Option<String> {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        // What an emulator warns of is no end.
        let tells =
            |line: &&str, all: &[&str]| all.iter().any(|words| line.contains(words)) && !line.contains("warning:");
        let from = TELLING.iter().find_map(|all| lines.iter().position(|line| tells(line, all)))?;
        Some(lines[from..].iter().take(QUOTED).copied().collect::<Vec<_>>().join(" | "))
    }

    /// What to do about it, where the console tells.
    pub fn remedy(&self) -> Option<&'static str> {
        let text = self.text();
        let found = REMEDIES.iter().find(|(words, _)| words.iter().any(|words| text.contains(words)));
        found.map(|(_, remedy)| *remedy)
    }
}

/// What a kernel says that lacks something, and what that is; the first that fits.
const REMEDIES: [(&[&str], &str); 3] = [
    (&["Out of memory", "deadlocked on memory", "Initramfs unpacking failed: write error"], "give it more --memory"),
    (
        &["Unable to mount root fs", "Cannot open root device"],
        "its init comes in an initramfs: build the kernel with CONFIG_BLK_DEV_INITRD",
    ),
    (
        &["Failed to execute /init", "Requested init /init failed", "No working init found"],
        "its init is a program of 64 bits: build the kernel with CONFIG_BINFMT_ELF and CONFIG_64BIT",
    ),
];

/// Without carriage returns, control sequences of terminals and other control characters.
fn cleaned(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut clean = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            if letters.next_if_eq(&'[').is_some() {
                while letters.next().is_some_and(|end| !('@'..='~').contains(&end)) {}
            } else {
                letters.next();
            }
        } else if !letter.is_control() {
            clean.push(letter);
        }
    }
    clean.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(text: &str) -> Console {
        let mut console = Console::default();
        console.take(text.as_bytes());
        console
    }

    #[test]
    fn the_gist_begins_with_the_panic_and_is_one_line() {
        let text = "\u{1b}[2J\u{1b}cSeaBIOS (version 1)\r\n[ 0.1] a\r\n[ 0.2] Kernel panic - not syncing: no init\r\n[ 0.3] CPU: 0\r\n\
                    [ 0.3] trace\r\n[ 0.4] more\r\n";
        let gist = console(text).gist();
        assert_eq!(gist, "[ 0.2] Kernel panic - not syncing: no init | [ 0.3] CPU: 0 | [ 0.3] trace");
        assert_eq!(console("a\nb\nc\nd\ne").gist(), "c | d | e");
        assert_eq!(console("").gist(), "");
        assert_eq!((console("").telling(), console("a\nb").telling()), (None, None));
    }

    #[test]
    fn what_the_emulator_warns_of_does_not_hide_why_the_guest_ended() {
        let warned = "qemu-system-x86_64: warning: TCG doesn't support requested feature\nqemu-system-x86_64: a word\n";
        let panic = "[ 0.2] BUG: unable to handle page fault\n[ 0.3] Kernel panic - not syncing: Fatal exception\n";
        assert_eq!(console(&(warned.to_owned() + panic)).gist(), panic.trim_end().replace('\n', " | "));
        assert_eq!(console(warned).gist(), "qemu-system-x86_64: a word");
        let only_a_warning = warned.lines().next().unwrap();
        assert_eq!(console(only_a_warning).telling(), None);
    }

    #[test]
    fn what_a_kernel_lacks_is_named_where_its_console_tells() {
        let remedy = |text: &str| console(text).remedy();
        for (text, words) in [
            (
                "[ 1.5] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
                "CONFIG_BLK_DEV_INITRD",
            ),
            (
                "[ 1.1] Failed to execute /init (error -8)\n[ 1.2] Kernel panic - not syncing: No working init found.",
                "CONFIG_BINFMT_ELF",
            ),
            ("[ 2.0] Kernel panic - not syncing: System is deadlocked on memory", "--memory"),
        ] {
            assert!(remedy(text).is_some_and(|remedy| remedy.contains(words)), "{text}: {:?}", remedy(text));
        }
        assert_eq!(remedy("[ 0.9] Kernel panic - not syncing: Attempted to kill init!"), None);
    }

    #[test]
    fn a_console_without_end_takes_no_more_than_its_tail() {
        let mut console = Console::default();
        for _ in 0..5000 {
            console.take(&[b'x'; 1000]);
            console.take(b"\n");
        }
        assert_eq!(console.text().len(), LINES * (LINE_BYTES + 1));
        assert_eq!(super::cleaned(b"\x1b[?7l\x1b[0;31mred\x1b[0m\r\x07"), "red");
    }
}
