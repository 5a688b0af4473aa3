//! `scripts/kernels.sh` without a network: what it refuses, and what it takes from its cache.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn fetch(cache: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new("bash");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kernels.sh")).args(args);
    // A mirror that refuses at once: a test that asked the network would fail.
    command.env("XDG_CACHE_HOME", cache).env("MIRROR", "http://127.0.0.1:1/debian").env_remove("SECURITY_MIRROR");
    command.envs(environment.iter().copied()).output().unwrap()
}

/// Exit code and the one line of complaint.
fn refusal(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text.lines().last().unwrap_or_default().to_owned())
}

fn has_apt() -> bool {
    let has = Command::new("apt-get").arg("--version").output().is_ok_and(|output| output.status.success())
        && Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists();
    if !has {
        println!("SKIP no apt with the keys of the Debian archive on this host");
    }
    has
}

fn put(dir: &Path, file: &str, version: &str) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(file), "image").unwrap();
    fs::write(dir.join("version"), format!("{version}\n")).unwrap();
}

#[test]
fn what_is_in_the_cache_is_taken_without_asking_the_network() {
    let cache = tempfile::tempdir().unwrap();
    let root = cache.path().join("itlbench");
    put(&root.join("kernels/6.12"), "vmlinuz", "6.12.1-1");
    put(&root.join("kernels/7.2"), "vmlinuz", "7.2.13-1");
    put(&root.join("qemu"), "qemu-system-x86_64", "1:10.0.2");
    std::os::unix::fs::symlink("7.2", root.join("kernels/newest")).unwrap();
    let output = fetch(cache.path(), &["6.12", "newest", "qemu"], &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let root = root.canonicalize().unwrap();
    let root = root.display();
    let expected = format!(
        "6.12\t{root}/kernels/6.12/vmlinuz\t6.12.1-1\nnewest\t{root}/kernels/7.2/vmlinuz\t7.2.13-1\n\
         qemu\t{root}/qemu/qemu-system-x86_64\t1:10.0.2\n"
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn the_matrix_names_every_kernel_and_the_newest_twice() {
    let cache = tempfile::tempdir().unwrap();
    let root = cache.path().join("itlbench");
    for (name, version) in
        [("5.10", "5.10.1-1"), ("6.1", "6.1.1-1"), ("6.12", "6.12.1-1"), ("7.2", "7.2.1-1"), ("7.3-rc7", "7.3~rc7-1")]
    {
        put(&root.join("kernels").join(name), "vmlinuz", version);
    }
    put(&root.join("qemu"), "qemu-system-x86_64", "1:10.0.2");
    for (link, to) in [("newest", "7.2"), ("newest-rc", "7.3-rc7")] {
        std::os::unix::fs::symlink(to, root.join("kernels").join(link)).unwrap();
    }
    let mut command = Command::new("bash");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/matrix.sh")).args(["echo", "the.so", "--boots", "2"]);
    let output =
        command.env("XDG_CACHE_HOME", cache.path()).env("MIRROR", "http://127.0.0.1:1/debian").output().unwrap();
    let root = root.canonicalize().unwrap();
    let image = |name: &str, dir: &str| format!("{name}={}/kernels/{dir}/vmlinuz", root.display());
    let images = [
        image("5.10", "5.10"),
        image("6.1", "6.1"),
        image("6.12", "6.12"),
        image("7.2", "7.2"),
        image("7.3-rc7", "7.3-rc7"),
        image("7.3-4k", "7.3-rc7"),
    ];
    let expected = format!(
        "kernels --plugin the.so --qemu {}/qemu/qemu-system-x86_64 --append 7.3-4k:nohugevmalloc --boots 2 {}\n",
        root.display(),
        images.join(" ")
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
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

/// Runs a program to its good end and gives its standard output.
fn done(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// An archive of one suite with a release candidate of packages that hold a line each, signed by a key of its own.
struct Archive {
    dir: tempfile::TempDir,
}

const VERSION: &str = "7.3~rc7-1~exp1";

impl Archive {
    fn new() -> Self {
        let archive = Self { dir: tempfile::tempdir().unwrap() };
        let keys = archive.dir.path().join("keys");
        fs::create_dir(&keys).unwrap();
        fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        archive.key("archive");
        let of = |part: &str| format!("linux-{part}-7.3-cloud-amd64 (= {VERSION})");
        let module = |file: &str| format!("usr/lib/modules/7.3-cloud-amd64/{file}");
        let packages = [
            archive.package("linux-image-cloud-amd64", &of("image"), "usr/share/doc/meta"),
            archive.package(
                "linux-image-7.3-cloud-amd64",
                &format!("{}, {}", of("binary"), of("base")),
                "usr/share/doc/image",
            ),
            archive.package("linux-binary-7.3-cloud-amd64", "dpkg", &module("vmlinuz")),
            archive.package("linux-base-7.3-cloud-amd64", "dpkg", &module("config")),
        ];
        let suite = archive.debian().join("dists/experimental");
        fs::create_dir_all(suite.join("main/binary-amd64")).unwrap();
        fs::write(suite.join("main/binary-amd64/Packages"), packages.concat()).unwrap();
        archive.sign("archive");
        archive
    }

    fn debian(&self) -> std::path::PathBuf {
        self.dir.path().join("debian")
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        done(
            Command::new("gpg")
                .arg("--homedir")
                .arg(self.dir.path().join("keys"))
                .args(["--batch", "--quiet"])
                .args(args),
        )
    }

    fn key(&self, name: &str) {
        self.gpg(&["--passphrase", "", "--quick-gen-key", &format!("{name}@example.org"), "ed25519", "sign", "never"]);
        let key = self.gpg(&["--export", &format!("{name}@example.org")]);
        fs::write(self.dir.path().join(format!("{name}.gpg")), key).unwrap();
    }

    /// Builds a package and gives its entry in the list.
    fn package(&self, name: &str, depends: &str, file: &str) -> String {
        let root = self.dir.path().join(name);
        let control = format!(
            "Package: {name}\nVersion: {VERSION}\nArchitecture: amd64\nMaintainer: none <none@example.org>\n\
             Depends: {depends}\nDescription: a line\n"
        );
        for (path, text) in [("DEBIAN/control", control.as_str()), (file, name)] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let pool = self.debian().join("pool");
        fs::create_dir_all(&pool).unwrap();
        let deb = pool.join(format!("{name}.deb"));
        done(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&root).arg(&deb));
        format!("{control}Filename: pool/{name}.deb\n{}\n", size_and_sum(&deb))
    }

    fn sign(&self, key: &str) {
        let suite = self.debian().join("dists/experimental");
        let list = suite.join("main/binary-amd64/Packages");
        let (size, sum) = measure(&list);
        let date = String::from_utf8(done(Command::new("date").arg("-Ru").env("LC_ALL", "C"))).unwrap();
        let release = format!(
            "Suite: experimental\nCodename: experimental\nDate: {date}Architectures: amd64\nComponents: main\n\
             SHA256:\n {sum} {size} main/binary-amd64/Packages\n"
        );
        fs::write(suite.join("Release"), release).unwrap();
        let _ = fs::remove_file(suite.join("InRelease"));
        let file = |name: &str| suite.join(name).display().to_string();
        self.gpg(&[
            "--local-user",
            &format!("{key}@example.org"),
            "--output",
            &file("InRelease"),
            "--clearsign",
            &file("Release"),
        ]);
        fs::remove_file(suite.join("Release")).unwrap();
    }

    fn fetch(&self, cache: &Path, args: &[&str]) -> Output {
        let mirror = format!("file://{}", self.debian().display());
        let keys = self.dir.path().join("archive.gpg");
        fetch(cache, args, &[("MIRROR", &mirror), ("KEYRING", keys.to_str().unwrap())])
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        let _ =
            Command::new("gpgconf").arg("--homedir").arg(self.dir.path().join("keys")).args(["--kill", "all"]).status();
    }
}

fn measure(file: &Path) -> (usize, String) {
    let sum = String::from_utf8(done(Command::new("sha256sum").arg(file))).unwrap();
    (fs::read(file).unwrap().len(), sum.split_whitespace().next().unwrap().to_owned())
}

fn size_and_sum(file: &Path) -> String {
    let (size, sum) = measure(file);
    format!("Size: {size}\nSHA256: {sum}\n")
}

fn has_gpg() -> bool {
    let has = Command::new("gpg").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has {
        println!("SKIP no gpg on this host to sign an archive with");
    }
    has
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
    archive.sign("stranger");
    let (code, line) = refusal(&archive.fetch(cache.path(), &["newest-rc"]));
    assert_eq!(code, Some(1));
    assert!(line.starts_with("kernels: failed to read the lists of experimental: "), "{line}");
    assert_eq!(fs::read_dir(cache.path().join("itlbench/kernels")).unwrap().count(), 0);
}
