//! `scripts/deps.sh` on boxes that lack something. Each box is a directory of small programs that is the whole PATH:
//! the package manager only notes its arguments, and "installs" by making the box's probes succeed. And `scripts/run.sh`,
//! which decides what is done as root, with a tool that only says how it was called.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A host made of scripts; nothing outside its directory can be called by name.
struct Host {
    dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// One host at a time: a child started while another thread writes a program inherits the open file for a moment, and
/// executing the program then fails with ETXTBSY.
static TURN: Mutex<()> = Mutex::new(());

/// Everything the script may need and this host can lack, in the order in which the script names it.
const THINGS: [&str; 4] = ["clang", "pkg-config", "libelf", "zlib"];

impl Host {
    /// A host that has gcc, cargo and every [`THINGS`], runs as root and has no package manager.
    fn complete() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let host = Self { dir: tempfile::tempdir().unwrap(), _turn: turn };
        fs::create_dir(host.dir.path().join("bin")).unwrap();
        fs::create_dir(host.dir.path().join("has")).unwrap();
        for tool in ["sh", "tr", "sed", "awk", "dirname", "basename", "mktemp", "tee", "tail", "cat", "rm", "mkdir"] {
            let real = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(tool)).into_iter().find(|path| path.exists());
            symlink(real.unwrap(), host.bin(tool)).unwrap();
        }
        let has = host.dir.path().join("has").display().to_string();
        let probe = |thing: &str| format!("[ -e {has}/{thing} ] || exit 1");
        host.program("id", "echo 0");
        host.program("cargo", "echo cargo 1.95.0");
        host.program("clang", &probe("clang"));
        host.program("pkg-config", &probe("pkg-config"));
        // The compiler fails to link what is not there, as the real one does.
        host.program(
            "cc",
            &format!(
                "case \" $* \" in *' -lelf '*) {} ;; *' -lz '*) {} ;; esac\n\
                 case \" $* \" in *' -static '*) {} ;; esac",
                probe("libelf"),
                probe("zlib"),
                probe("static")
            ),
        );
        for thing in THINGS {
            host.give(thing);
        }
        host
    }

    fn without(self, things: &[&str]) -> Self {
        for thing in things {
            fs::remove_file(self.dir.path().join("has").join(thing)).unwrap();
        }
        self
    }

    /// A package manager that logs its arguments and provides `things` when asked to install.
    fn with_manager(self, name: &str, things: &[&str]) -> Self {
        let has = self.dir.path().join("has").display().to_string();
        let log = self.dir.path().join("log").display().to_string();
        let provide: String = things.iter().map(|thing| format!("echo > {has}/{thing}\n")).collect();
        self.program(
            name,
            &format!("echo {name} \"$@\" >> {log}\ncase \" $* \" in *' update '*) exit 0 ;; esac\n{provide}"),
        );
        self
    }

    fn for_user(self) -> Self {
        self.program("id", "echo 1000");
        self
    }

    fn with_sudo(self) -> Self {
        let log = self.dir.path().join("log").display().to_string();
        self.program("sudo", &format!("echo sudo >> {log}\nexec \"$@\""));
        self
    }

    fn bin(&self, name: &str) -> PathBuf {
        self.dir.path().join("bin").join(name)
    }

    fn give(&self, thing: &str) {
        fs::write(self.dir.path().join("has").join(thing), "").unwrap();
    }

    fn program(&self, name: &str, body: &str) {
        fs::write(self.bin(name), format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(self.bin(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A tool that says how it was called, leaves a report and exits with `code`; files seem to be root's.
    fn with_tool(self, code: i32) -> Self {
        let dir = self.dir.path().display().to_string();
        self.program(
            "tool",
            &format!(
                "echo tool \"$@\" >> {dir}/log\nmkdir -p {dir}/reports/new\n\
                 echo > {dir}/reports/new/run.jsonl\necho table\necho {dir}/reports/new\nexit {code}"
            ),
        );
        self.program("stat", "echo 0");
        self.program("chown", &format!("echo chown \"$@\" >> {dir}/log"));
        self
    }

    fn deps(&self, args: &[&str]) -> Answer {
        self.script(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/deps.sh"), args)
    }

    fn run(&self, args: &[&str]) -> Answer {
        let tool = self.bin("tool").display().to_string();
        self.script(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/run.sh"), &[&[tool.as_str()], args].concat())
    }

    fn script(&self, script: &str, args: &[&str]) -> Answer {
        let output = Command::new("/bin/sh")
            .arg(script)
            .args(args)
            .env_clear()
            .env("PATH", self.dir.path().join("bin"))
            .env("TMPDIR", self.dir.path())
            .output()
            .unwrap();
        Answer::new(output, fs::read_to_string(self.dir.path().join("log")).unwrap_or_default())
    }
}

struct Answer {
    code: i32,
    said: String,
    stdout: String,
    /// What was called to install, a line each.
    calls: Vec<String>,
}

impl Answer {
    fn new(output: Output, log: String) -> Self {
        Self {
            code: output.status.code().unwrap(),
            said: String::from_utf8(output.stderr).unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            calls: log.lines().map(str::to_owned).collect(),
        }
    }
}

#[test]
fn a_complete_host_is_left_alone_in_silence() {
    let answer = Host::complete().with_manager("apt-get", &[]).deps(&[]);
    assert_eq!((answer.code, answer.said.as_str(), answer.stdout.as_str()), (0, "", ""));
    assert!(answer.calls.is_empty(), "{:?}", answer.calls);
}

#[test]
fn each_package_manager_is_asked_for_its_own_names() {
    let cases: [(&str, &[&str]); 4] = [
        (
            "apt-get",
            &["apt-get update", "apt-get install -y --no-install-recommends clang pkg-config libelf-dev zlib1g-dev"],
        ),
        ("dnf", &["dnf install -y clang pkgconf-pkg-config elfutils-libelf-devel zlib-devel"]),
        ("pacman", &["pacman -S --needed --noconfirm clang pkgconf libelf zlib"]),
        ("zypper", &["zypper --non-interactive install clang pkg-config libelf-devel zlib-devel"]),
    ];
    for (manager, calls) in cases {
        let answer = Host::complete().without(&THINGS).with_manager(manager, &THINGS).deps(&[]);
        assert_eq!(answer.code, 0, "{}", answer.said);
        assert_eq!(answer.calls, calls);
        let announced = format!("deps: running: {}\n", calls.last().unwrap());
        assert!(answer.said.starts_with("deps: missing: clang pkg-config libelf zlib\n"), "{}", answer.said);
        assert!(answer.said.contains(&announced), "{}", answer.said);
    }
}

#[test]
fn only_what_is_missing_is_installed() {
    let cases = [("clang", "clang"), ("pkg-config", "pkg-config"), ("libelf", "libelf-dev"), ("zlib", "zlib1g-dev")];
    for (thing, package) in cases {
        let answer = Host::complete().without(&[thing]).with_manager("apt-get", &[thing]).deps(&[]);
        assert_eq!(answer.code, 0, "{}", answer.said);
        assert_eq!(answer.calls[1], format!("apt-get install -y --no-install-recommends {package}"));
        assert!(answer.said.ends_with(&format!("deps: installed: {package}\n")), "{}", answer.said);
    }
}

#[test]
fn sudo_is_used_by_users_and_never_by_root() {
    let user = Host::complete().without(&["clang"]).with_manager("dnf", &["clang"]).with_sudo().for_user().deps(&[]);
    assert_eq!(user.calls, ["sudo", "dnf install -y clang"]);
    assert!(user.said.contains("deps: running: sudo dnf install -y clang\n"), "{}", user.said);

    let root = Host::complete().without(&["clang"]).with_manager("dnf", &["clang"]).with_sudo().deps(&[]);
    assert_eq!(root.calls, ["dnf install -y clang"]);
}

#[test]
fn a_user_without_sudo_is_told_the_command() {
    let answer = Host::complete().without(&["zlib"]).with_manager("dnf", &["zlib"]).for_user().deps(&[]);
    assert_eq!(answer.code, 1);
    assert_eq!(answer.said, "deps: not root and no sudo; run as root: dnf install -y zlib-devel\n");
    assert!(answer.calls.is_empty(), "{:?}", answer.calls);
}

#[test]
fn an_unknown_distribution_is_told_what_to_install() {
    let answer = Host::complete().without(&["clang", "libelf"]).deps(&[]);
    assert_eq!(answer.code, 1);
    assert!(answer.said.starts_with("deps: failed to find a known package manager"), "{}", answer.said);
    assert!(answer.said.contains("install by hand: clang libelf "), "{}", answer.said);
}

#[test]
fn an_installation_that_does_not_help_is_an_error() {
    let answer = Host::complete().without(&["clang", "zlib"]).with_manager("dnf", &["zlib"]).deps(&[]);
    assert_eq!(answer.code, 1);
    assert!(answer.said.ends_with("deps: still missing after the installation: clang\n"), "{}", answer.said);
}

#[test]
fn a_failed_installation_names_the_command() {
    let host = Host::complete().without(&["clang"]);
    host.program("dnf", "echo no network >&2; exit 1");
    let answer = host.deps(&[]);
    assert_eq!(answer.code, 1);
    assert!(answer.said.contains("no network\n"), "{}", answer.said);
    assert!(answer.said.ends_with("deps: failed to install; run by hand: dnf install -y clang\n"), "{}", answer.said);
}

#[test]
fn stale_package_lists_do_not_stop_the_installation() {
    let host = Host::complete().without(&["clang"]).with_manager("apt-get", &["clang"]);
    let manager =
        fs::read_to_string(host.bin("apt-get")).unwrap().replace("*' update '*) exit 0", "*' update '*) exit 1");
    fs::write(host.bin("apt-get"), manager).unwrap();
    let answer = host.deps(&[]);
    assert_eq!(answer.code, 0, "{}", answer.said);
    assert!(answer.said.contains("failed to update the package lists"), "{}", answer.said);
}

#[test]
fn the_release_needs_static_archives_too() {
    let dynamic = Host::complete().with_manager("apt-get", &["static"]).deps(&[]);
    assert!(dynamic.calls.is_empty(), "{:?}", dynamic.calls);

    let answer = Host::complete().with_manager("apt-get", &["static"]).deps(&["--static"]);
    assert_eq!(answer.code, 0, "{}", answer.said);
    assert!(answer.calls[1].contains("libelf-dev"), "{:?}", answer.calls);

    let arch = Host::complete().with_manager("pacman", &["static"]).deps(&["--static"]);
    assert_eq!(arch.code, 1);
    assert!(arch.said.contains("pacman has no package with the static archives"), "{}", arch.said);
}

#[test]
fn an_old_or_absent_cargo_is_named_before_anything_is_installed() {
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let cases = [
        ("echo cargo 1.63.0", format!("deps: cargo 1.63 is too old, Rust {wanted} or later is needed")),
        ("exit 127", format!("deps: failed to find cargo; get Rust {wanted} or later")),
    ];
    for (cargo, expected) in cases {
        let host = Host::complete().without(&["clang"]).with_manager("apt-get", &["clang"]);
        host.program("cargo", cargo);
        let answer = host.deps(&[]);
        assert_eq!(answer.code, 1);
        assert!(answer.said.starts_with(&expected), "{}", answer.said);
        assert!(answer.calls.is_empty(), "{:?}", answer.calls);
    }
}

#[test]
fn root_runs_the_tool_directly() {
    let answer = Host::complete().with_tool(4).with_sudo().run(&["chain", "--programs", "64,512"]);
    assert_eq!(answer.calls, ["tool run chain --programs 64,512"]);
    assert_eq!(answer.code, 4);
}

#[test]
fn a_report_made_as_root_is_handed_to_the_user() {
    let host = Host::complete().with_tool(0).with_sudo().for_user();
    let answer = host.run(&["chain"]);
    let reports = host.dir.path().join("reports").display().to_string();
    assert_eq!(answer.code, 0);
    assert_eq!(
        answer.calls,
        [
            "sudo",
            "tool run chain",
            "sudo",
            &format!("chown -R 1000:1000 {reports}/new"),
            "sudo",
            &format!("chown 1000:1000 {reports}"),
        ]
    );
    assert_eq!(answer.stdout, format!("table\n{reports}/new\n"));
    let left = fs::read_dir(host.dir.path()).unwrap().count();
    assert_eq!(left, 4, "bin, has, log and reports, and no temporary file");
}

#[test]
fn the_exit_code_of_an_interrupted_run_survives_sudo() {
    let answer = Host::complete().with_tool(130).with_sudo().for_user().run(&[]);
    assert_eq!(answer.code, 130);
}

#[test]
fn the_simulated_machine_asks_for_no_root() {
    for args in [["--machine", "sim"].as_slice(), &["--machine=sim"]] {
        let answer = Host::complete().with_tool(0).for_user().run(args);
        assert_eq!(answer.code, 0, "{}", answer.said);
        assert_eq!(answer.calls, [format!("tool run {}", args.join(" "))]);
    }
}

#[test]
fn a_user_without_sudo_is_told_how_to_run() {
    let answer = Host::complete().with_tool(0).for_user().run(&["chain"]);
    assert_eq!(answer.code, 3);
    assert!(answer.said.starts_with("run: not root and no sudo; as root, run: "), "{}", answer.said);
    assert!(answer.calls.is_empty(), "{:?}", answer.calls);
}
