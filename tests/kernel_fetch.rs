//! `scripts/kernels.sh` without a network: what it refuses, and what it takes from its cache.
#![allow(clippy::unwrap_used)]

mod archive;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use archive::{Archive, fetch, has_apt, has_gpg, loader, path_with, script};

/// Exit code and the one line of complaint.
fn refusal(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text.lines().last().unwrap_or_default().to_owned())
}

fn put(dir: &Path, file: &str, version: &str) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(file), "image").unwrap();
    fs::write(dir.join("version"), format!("{version}\n")).unwrap();
}

/// A qemu with a C library of its own.
fn put_qemu(root: &Path, version: &str, libc: &str) {
    put(&root.join("qemu"), "qemu-system-x86_64", version);
    loader(&root.join("qemu/root/usr/lib/x86_64-linux-gnu"), libc);
}

/// A cache of which no program runs on this host for want of a newer C library.
fn cache_with_qemu() -> (tempfile::TempDir, PathBuf) {
    let cache = tempfile::tempdir().unwrap();
    let root = cache.path().canonicalize().unwrap().join("itlbench");
    put_qemu(&root, "1:10.0.2", "2.99");
    (cache, root)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn names(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn what_is_in_the_cache_is_taken_without_asking_the_network() {
    let (cache, root) = cache_with_qemu();
    put(&root.join("kernels/6.12"), "vmlinuz", "6.12.1-1");
    put(&root.join("kernels/7.2"), "vmlinuz", "7.2.13-1");
    symlink("7.2", root.join("kernels/newest")).unwrap();
    let output = fetch(cache.path(), &["6.12", "newest", "qemu"], &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let root = root.display();
    let expected = format!(
        "6.12\t{root}/kernels/6.12/vmlinuz\t6.12.1-1\nnewest\t{root}/kernels/7.2/vmlinuz\t7.2.13-1\n\
         qemu\t{root}/qemu/qemu-system-x86_64\t1:10.0.2\n"
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

/// What the matrix hands to `itlbench`, without the cache's own path.
fn matrix(cache: &Path, root: &Path) -> String {
    let mut command = Command::new("bash");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/matrix.sh")).args(["echo", "the.so", "--boots", "2"]);
    let output = command.env("XDG_CACHE_HOME", cache).env("MIRROR", "file:///nonexistent").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap().replace(root.to_str().unwrap(), "")
}

#[test]
fn the_matrix_names_every_kernel_and_the_newest_twice() {
    let (cache, root) = cache_with_qemu();
    for (name, version) in
        [("5.10", "5.10.1-1"), ("6.1", "6.1.1-1"), ("6.12", "6.12.1-1"), ("7.2", "7.2.1-1"), ("7.3-rc7", "7.3~rc7-1")]
    {
        put(&root.join("kernels").join(name), "vmlinuz", version);
    }
    for (link, to) in [("newest", "7.2"), ("newest-rc", "7.3-rc7")] {
        symlink(to, root.join("kernels").join(link)).unwrap();
    }
    assert_eq!(
        matrix(cache.path(), &root),
        "kernels --plugin the.so --qemu /qemu/qemu-system-x86_64 --append 7.3-4k:nohugevmalloc --boots 2 \
         5.10=/kernels/5.10/vmlinuz 6.1=/kernels/6.1/vmlinuz 6.12=/kernels/6.12/vmlinuz 7.2=/kernels/7.2/vmlinuz \
         7.3-rc7=/kernels/7.3-rc7/vmlinuz 7.3-4k=/kernels/7.3-rc7/vmlinuz\n"
    );
}

#[test]
fn the_matrix_boots_what_can_be_had() {
    if !has_apt() {
        return;
    }
    let (cache, root) = cache_with_qemu();
    put(&root.join("kernels/6.12"), "vmlinuz", "6.12.1-1");
    let boots = "kernels --plugin the.so --qemu /qemu/qemu-system-x86_64 --boots 2 6.12=/kernels/6.12/vmlinuz\n";
    assert_eq!(matrix(cache.path(), &root), boots, "and no small pages for a kernel that is not the newest");
}

#[test]
fn what_is_not_known_is_a_usage_error() {
    let cache = tempfile::tempdir().unwrap();
    let (code, line) = refusal(&fetch(cache.path(), &["5.11"], &[]));
    assert_eq!(code, Some(2));
    assert_eq!(line, "kernels: unknown argument `5.11`; known are --refresh 5.10 6.1 6.12 newest newest-rc qemu");
}

#[test]
fn without_the_keys_of_the_archive_nothing_is_fetched() {
    if !has_apt() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let (code, line) = refusal(&fetch(cache.path(), &["6.12"], &[("KEYRING", "/nonexistent")]));
    assert_eq!(code, Some(3));
    assert!(line.contains("debian-archive-keyring"), "{line}");
}

#[test]
fn a_mirror_that_does_not_answer_is_named_and_nothing_is_left() {
    if !has_apt() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let (code, line) = refusal(&fetch(cache.path(), &["newest-rc"], &[]));
    assert_eq!(code, Some(1));
    assert!(line.starts_with("kernels: failed to read the lists of experimental: Could not connect"), "{line}");
    let left: Vec<_> = fs::read_dir(cache.path().join("itlbench")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(fs::read_dir(cache.path().join("itlbench/kernels")).unwrap().count(), 0);
}

#[test]
fn a_kernel_is_fetched_verified_and_kept() {
    if !has_apt() || !has_gpg() {
        return;
    }
    let (archive, cache) = (Archive::new(), tempfile::tempdir().unwrap());
    let output = archive.fetch(cache.path(), &["newest-rc"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kernel = cache.path().join("itlbench/kernels/7.3-rc7");
    for (file, text) in [
        ("vmlinuz", "linux-binary-7.3-cloud-amd64"),
        ("config", "linux-base-7.3-cloud-amd64"),
        ("version", "7.3~rc7-1~exp1\n"),
    ] {
        assert_eq!(fs::read_to_string(kernel.join(file)).unwrap(), text);
    }
    assert_eq!(fs::read_link(cache.path().join("itlbench/kernels/newest-rc")).unwrap(), Path::new("7.3-rc7"));
    // The archive goes; the cache stays, also when a refresh fails.
    fs::remove_dir_all(archive.debian()).unwrap();
    let again = archive.fetch(cache.path(), &["newest-rc"]);
    assert_eq!((again.stdout, again.stderr), (output.stdout, Vec::new()));
    assert_eq!(archive.fetch(cache.path(), &["--refresh", "newest-rc"]).status.code(), Some(1));
    assert!(kernel.join("vmlinuz").exists());
}

#[test]
fn what_does_not_have_the_signed_hash_is_refused() {
    if !has_apt() || !has_gpg() {
        return;
    }
    let (archive, cache) = (Archive::new(), tempfile::tempdir().unwrap());
    let deb = archive.debian().join("pool/linux-binary-7.3-cloud-amd64.deb");
    let mut bytes = fs::read(&deb).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&deb, bytes).unwrap();
    let (code, line) = refusal(&archive.fetch(cache.path(), &["newest-rc"]));
    assert_eq!(code, Some(1));
    assert!(line.starts_with("kernels: failed to fetch linux-binary-7.3-cloud-amd64: "), "{line}");
    assert_eq!(fs::read_dir(cache.path().join("itlbench/kernels")).unwrap().count(), 0);
}

#[test]
fn what_another_key_signed_is_refused() {
    if !has_apt() || !has_gpg() {
        return;
    }
    let (archive, cache) = (Archive::new(), tempfile::tempdir().unwrap());
    archive.key("stranger");
    archive.sign("experimental", "stranger", "");
    let (code, line) = refusal(&archive.fetch(cache.path(), &["newest-rc"]));
    assert_eq!(code, Some(1));
    assert!(line.starts_with("kernels: failed to read the lists of experimental: "), "{line}");
    assert_eq!(fs::read_dir(cache.path().join("itlbench/kernels")).unwrap().count(), 0);
}

#[test]
fn lists_past_their_date_are_refused_unless_this_host_takes_them_which_is_said() {
    if !has_apt() || !has_gpg() {
        return;
    }
    let archive = Archive::new();
    let fetch_where = |conf: &str| {
        let (cache, host) = (tempfile::tempdir().unwrap(), archive.host(conf, ""));
        archive.fetch_with(cache.path(), &["newest-rc"], &[("APT_CONFIG", &host)])
    };
    let output = fetch_where("");
    assert!(output.status.success() && !stderr(&output).contains("past their date"), "{output:?}");
    archive.sign("experimental", "archive", "Valid-Until: Thu, 01 Jan 2026 00:00:00 +0000\n");
    let (code, line) = refusal(&fetch_where(""));
    assert!(code == Some(1) && line.contains("is expired"), "{line}");
    for option in ["Acquire::Check-Valid-Until", "Acquire::Check-Date"] {
        let output = fetch_where(&format!("{option} \"no\";"));
        let said = stderr(&output);
        let wanted =
            format!("kernels: this host's apt accepts lists past their date ({option}), so the versions may be old\n");
        assert!(output.status.success() && said.matches(&wanted).count() == 1, "{said}");
    }
}

#[test]
fn a_suite_that_has_gone_takes_no_other_with_it() {
    if !has_apt() || !has_gpg() {
        return;
    }
    let (archive, (cache, root)) = (Archive::new(), cache_with_qemu());
    archive.kernel("sid", "7.2.13-1");
    put(&root.join("kernels/6.12"), "vmlinuz", "6.12.1-1");
    let output = archive.fetch(cache.path(), &[]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(names(&output), ["6.12", "newest", "newest-rc", "qemu"]);
    for (name, suites) in [("5.10", "bullseye-security"), ("6.1", "bookworm bookworm-security")] {
        let wanted = format!("kernels: going on without {name}: failed to read the lists of {suites}: ");
        assert!(said.lines().any(|line| line.starts_with(&wanted)), "{said}");
    }
    let output = archive.fetch(cache.path(), &["--refresh"]);
    let said = stderr(&output);
    assert!(output.status.success() && said.contains("kernels: keeping 6.12 6.12.1-1: failed to read"), "{said}");
    assert_eq!(names(&output), ["6.12", "newest", "newest-rc", "qemu"]);
    let (code, line) = refusal(&archive.fetch(cache.path(), &["newest", "5.10"]));
    assert!(code == Some(1) && line.starts_with("kernels: failed to read the lists of bullseye-security"), "{line}");
}

#[test]
fn nothing_goes_on_without_any_kernel_or_without_qemu() {
    if !has_apt() || !has_gpg() {
        return;
    }
    let (archive, empty) = (Archive::new(), tempfile::tempdir().unwrap());
    let output = archive.fetch(empty.path(), &[]);
    assert_eq!(refusal(&output), (Some(1), "kernels: there is no qemu".to_owned()));
    assert_eq!(names(&output), ["newest-rc"], "what could be had is there for the next call");
    let (cache, root) = cache_with_qemu();
    let gone = [("MIRROR", "file:///nonexistent")];
    assert_eq!(refusal(&fetch(cache.path(), &[], &gone)), (Some(1), "kernels: there is no kernel".to_owned()));
    // What this host lacks, it lacks for every one of them.
    let keyless = [("KEYRING", "/nonexistent")];
    let output = fetch(cache.path(), &[], &keyless);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(stderr(&output).matches("debian-archive-keyring").count(), 1, "{}", stderr(&output));
    put(&root.join("kernels/6.12"), "vmlinuz", "6.12.1-1");
    assert_eq!(names(&fetch(cache.path(), &[], &keyless)), ["6.12", "qemu"]);
}

#[test]
fn an_interrupt_ends_the_call_and_not_one_kernel() {
    if !has_apt() {
        return;
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}/debian", silent.local_addr().unwrap());
    let (cache, root) = cache_with_qemu();
    put(&root.join("kernels/6.12"), "vmlinuz", "6.12.1-1");
    let mut command = script(cache.path(), &[], &[("MIRROR", &mirror), ("no_proxy", "127.0.0.1")]);
    let child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let asked = silent.accept().unwrap();
    let group = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(asked);
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(output.stdout.is_empty() && !stderr(&output).contains("going on"), "{}", stderr(&output));
    let left: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".fetch")), "{left:?}");
}

#[test]
fn a_release_candidate_that_was_withdrawn_is_not_the_newest_for_ever() {
    if !has_apt() || !has_gpg() {
        return;
    }
    let (archive, (cache, root)) = (Archive::new(), cache_with_qemu());
    assert!(archive.fetch(cache.path(), &["newest-rc"]).status.success());
    archive.kernel("experimental", "7.3.1-1~exp1");
    let output = archive.fetch(cache.path(), &["--refresh"]);
    let said = stderr(&output);
    assert!(said.contains("no release candidate at present; 7.3-rc7 stays in the cache, but no longer"), "{said}");
    assert!(!names(&output).contains(&"newest-rc".to_owned()));
    assert!(root.join("kernels/7.3-rc7/vmlinuz").exists() && !root.join("kernels/newest-rc").is_symlink());
    // A suite without the package has none either.
    archive.suite("experimental", "");
    let (code, line) = refusal(&archive.fetch(cache.path(), &["newest-rc"]));
    assert_eq!((code, line.as_str()), (Some(1), "kernels: the archive has no release candidate at present"));
}

#[test]
fn the_mirror_is_the_one_of_debian_whoever_else_has_such_a_suite() {
    if !has_apt() || !has_gpg() {
        return;
    }
    let archive = Archive::new();
    let (ours, keys) = (archive.uri(), archive.path("archive.gpg"));
    let sources = |ours: &str| {
        format!(
            "deb cdrom:[Debian_12]/ bookworm main\ndeb http://127.0.0.1:1/docker bookworm stable\n\
             deb http://127.0.0.1:1/chrome stable main\ndeb {ours} bookworm main\n"
        )
    };
    let fetch_from = |host: &str| {
        let cache = tempfile::tempdir().unwrap();
        let environment = [("MIRROR", ""), ("KEYRING", keys.to_str().unwrap()), ("APT_CONFIG", host)];
        stderr(&fetch(cache.path(), &["newest-rc"], &environment))
    };
    let host = archive.host("", &sources(&ours));
    archive.read_by_host("http://127.0.0.1:1/chrome", "stable", "Google LLC");
    // Whose the lists are of which none was read, nobody knows.
    let said = fetch_from(&host);
    assert!(said.contains("fetching linux-base-7.3-cloud-amd64"), "{said}");
    archive.read_by_host(&ours, "bookworm", "Debian");
    let said = fetch_from(&host);
    assert!(said.contains("fetching linux-base-7.3-cloud-amd64"), "{said}");
    // A list of mirrors, as Debian's cloud images have it.
    let list = archive.path("mirrors.list");
    fs::write(&list, format!("{ours}\n")).unwrap();
    let said = fetch_from(&archive.host("", &sources(&format!("mirror+file:{}", list.display()))));
    assert!(said.contains("fetching linux-base-7.3-cloud-amd64"), "{said}");
}

#[test]
fn a_release_that_this_host_prefers_does_not_matter_and_what_apt_says_is_quoted() {
    if !has_apt() || !has_gpg() {
        return;
    }
    let archive = Archive::new();
    let host = archive.host("APT::Default-Release \"bookworm\";", "");
    let fetch = |args: &[&str], more: &[(&str, &str)]| {
        let cache = tempfile::tempdir().unwrap();
        archive.fetch_with(cache.path(), args, more)
    };
    let output = fetch(&["newest-rc"], &[("APT_CONFIG", &host)]);
    assert!(output.status.success(), "{}", stderr(&output));
    let path = path_with(&archive.path("bin"), "apt-cache", "echo 'E: the cache is full' >&2; exit 100");
    let (code, line) = refusal(&fetch(&["newest-rc"], &[("PATH", &path)]));
    let quoted = "kernels: failed to look up linux-image-cloud-amd64: the cache is full";
    assert_eq!((code, line.as_str()), (Some(1), quoted));
    archive.suite("sid", "");
    let (code, line) = refusal(&fetch(&["newest"], &[]));
    let lacks = "kernels: the archive has no linux-image-cloud-amd64 in sid";
    assert_eq!((code, line.as_str()), (Some(1), lacks));
}

#[test]
fn a_mirror_that_lags_takes_nothing_back() {
    if !has_apt() || !has_gpg() {
        return;
    }
    let (archive, (cache, root)) = (Archive::new(), cache_with_qemu());
    archive.kernel("sid", "7.2.13-1");
    assert!(archive.fetch(cache.path(), &["newest"]).status.success());
    archive.kernel("sid", "7.2.9-1");
    let output = archive.fetch(cache.path(), &["--refresh", "newest"]);
    let kept = (Some(0), "kernels: keeping newest 7.2.13-1: the archive has the older 7.2.9-1".to_owned());
    assert_eq!(refusal(&output), kept);
    archive.kernel("sid", "7.1.20-1");
    assert!(archive.fetch(cache.path(), &["--refresh", "newest"]).status.success());
    assert_eq!(fs::read_link(root.join("kernels/newest")).unwrap(), Path::new("7.2"));
    archive.kernel("sid", "7.2.14-1");
    assert!(archive.fetch(cache.path(), &["--refresh", "newest"]).status.success());
    assert_eq!(fs::read_to_string(root.join("kernels/7.2/version")).unwrap(), "7.2.14-1\n");
}

#[test]
fn a_qemu_is_as_new_as_the_c_library_that_plugins_are_built_with() {
    if !has_apt() || !has_gpg() {
        return;
    }
    let (archive, cache) = (Archive::new(), tempfile::tempdir().unwrap());
    let fetch_on = |libc: &str, args: &[&str]| {
        let path = path_with(&archive.path("bin"), "getconf", &format!("echo glibc {libc}"));
        archive.fetch_with(cache.path(), args, &[("PATH", &path)])
    };
    archive.suite("bookworm", "");
    archive.qemu("bookworm-backports", "1:10.0.2+bpo12", "2.36");
    let output = fetch_on("2.36", &["qemu"]);
    assert!(output.status.success(), "{}", stderr(&output));
    // Its own loader, not this host's.
    let qemu = cache.path().join("itlbench/qemu/qemu-system-x86_64");
    let said = Command::new(&qemu).arg("-help").output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&said).starts_with("loader 2.36 --library-path "), "{said:?}");
    for older in ["2.36", "2.31"] {
        assert!(fetch_on(older, &["qemu"]).stderr.is_empty(), "{older}");
    }
    // The host is upgraded.
    let (code, line) = refusal(&fetch_on("2.41", &["qemu"]));
    assert!(code == Some(1) && line.starts_with("kernels: failed to read the lists of trixie: "), "{line}");
    archive.qemu("trixie", "1:10.0.2", "2.41");
    assert!(fetch_on("2.41", &["qemu"]).status.success());
    assert!(fetch_on("2.36", &["qemu"]).stderr.is_empty(), "newer than needed");
    archive.qemu("trixie", "1:10.0.1", "2.41");
    let (code, line) = refusal(&fetch_on("2.41", &["--refresh", "qemu"]));
    assert_eq!((code, line.as_str()), (Some(0), "kernels: keeping qemu 1:10.0.2: the archive has the older 1:10.0.1"));
    loader(&cache.path().join("itlbench/qemu/root/lib/x86_64-linux-gnu"), "2.42");
    assert!(fetch_on("2.43", &["qemu"]).stderr.is_empty(), "older, but no suite has a newer one");
}

#[test]
fn the_check_skips_guests_only_where_nothing_can_be_fetched() {
    let (cache, root) = cache_with_qemu();
    let run = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/run")).unwrap();
    let (_, rest) = run.split_once("\nfetch_kernels() {\n").unwrap();
    let step = format!("fetch_kernels() {{\n{}\n}}\nfetch_kernels", rest.split_once("\n}\n").unwrap().0);
    let check = |ends_with: i32| {
        archive::program(&cache.path().join("scripts/kernels.sh"), &format!("exit {ends_with}"));
        let mut command = Command::new("bash");
        let output =
            command.args(["-c", &step]).current_dir(cache.path()).env("XDG_CACHE_HOME", cache.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let ended = "scripts/kernels.sh ended with 1, see above (124: it took more than 300 s)\n";
    put(&root.join("kernels/6.12"), "vmlinuz", "6.12.1-1");
    assert_eq!(check(1), (Some(1), format!("{ended}SKIP the vm tier: it lacks 5.10 newest\n")));
    assert_eq!(check(0), (Some(0), "the vm tier fails for lack of 5.10 newest, see above\n".to_owned()));
    put(&root.join("kernels/5.10"), "vmlinuz", "5.10.1-1");
    put(&root.join("kernels/newest-rc"), "vmlinuz", "7.3~rc7-1");
    assert_eq!(check(1), (Some(0), format!("{ended}the vm tier takes what is in the cache\n")));
    assert_eq!(check(0), (Some(0), String::new()));
}
