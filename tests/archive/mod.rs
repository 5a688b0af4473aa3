//! For the tests of `scripts/kernels.sh`: archives of packages that hold a line each, signed by keys of their own, and the script's
//! calls with one of them as the mirror.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The script with everything set that could lead it to the network. A variable without a text is not set.
pub fn script(cache: &Path, args: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new("bash");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kernels.sh")).args(args);
    // A mirror that refuses at once: a test that asked the network would fail.
    command.env("XDG_CACHE_HOME", cache).env("MIRROR", "http://127.0.0.1:1/debian").env_remove("SECURITY_MIRROR");
    command.envs(environment.iter().copied());
    command
}

pub fn fetch(cache: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    script(cache, args, environment).output().unwrap()
}

pub fn has_apt() -> bool {
    let has = Command::new("apt-get").arg("--version").output().is_ok_and(|output| output.status.success())
        && Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists();
    if !has {
        println!("SKIP no apt with the keys of the Debian archive on this host");
    }
    has
}

pub fn has_gpg() -> bool {
    let has = Command::new("gpg").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has {
        println!("SKIP no gpg on this host to sign an archive with");
    }
    has
}

/// A program that is a script.
pub fn program(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// PATH with a program of the test's own before all others.
pub fn path_with(dir: &Path, name: &str, script: &str) -> String {
    program(&dir.join(name), script);
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

/// Runs a program to its good end and gives its standard output.
fn done(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub struct Archive {
    dir: tempfile::TempDir,
}

impl Archive {
    /// With a release candidate in `experimental`.
    pub fn new() -> Self {
        let archive = Self { dir: tempfile::tempdir().unwrap() };
        let keys = archive.path("keys");
        fs::create_dir(&keys).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
        archive.key("archive");
        archive.kernel("experimental", "7.3~rc7-1~exp1");
        archive
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn debian(&self) -> PathBuf {
        self.path("debian")
    }

    pub fn uri(&self) -> String {
        format!("file://{}", self.debian().display())
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        done(Command::new("gpg").arg("--homedir").arg(self.path("keys")).args(["--batch", "--quiet"]).args(args))
    }

    pub fn key(&self, name: &str) {
        self.gpg(&["--passphrase", "", "--quick-gen-key", &format!("{name}@example.org"), "ed25519", "sign", "never"]);
        let key = self.gpg(&["--export", &format!("{name}@example.org")]);
        fs::write(self.path(&format!("{name}.gpg")), key).unwrap();
    }

    /// A suite with one kernel.
    pub fn kernel(&self, suite: &str, version: &str) {
        let abi = version.split(['~', '-']).next().unwrap();
        let of = |part: &str| format!("linux-{part}-{abi}-cloud-amd64 (= {version})");
        let package = |name: &str, depends: &str, file: &str| {
            let root = self.path(name);
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
            self.package(&root, name, version, depends)
        };
        let module = |file: &str| format!("usr/lib/modules/{abi}-cloud-amd64/{file}");
        let image = format!("linux-image-{abi}-cloud-amd64");
        let packages = [
            package("linux-image-cloud-amd64", &of("image"), "usr/share/doc/meta"),
            package(&image, &format!("{}, {}", of("binary"), of("base")), "usr/share/doc/image"),
            package(&format!("linux-binary-{abi}-cloud-amd64"), "dpkg", &module("vmlinuz")),
            package(&format!("linux-base-{abi}-cloud-amd64"), "dpkg", &module("config")),
        ];
        self.suite(suite, &packages.concat());
    }

    /// A suite with a qemu that says which loader it was started by, and a link to this host's loader, as some releases have it.
    pub fn qemu(&self, suite: &str, version: &str, libc: &str) {
        let root = self.path("qemu-system-x86");
        program(&root.join("usr/bin/qemu-system-x86_64"), "");
        loader(&root.join("lib/x86_64-linux-gnu"), libc);
        fs::create_dir_all(root.join("lib64")).unwrap();
        let _ = symlink("/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", root.join("lib64/ld-linux-x86-64.so.2"));
        self.suite(suite, &self.package(&root, "qemu-system-x86", version, ""));
    }

    /// Builds a package and gives its entry in the list.
    fn package(&self, root: &Path, name: &str, version: &str, depends: &str) -> String {
        let depends = if depends.is_empty() { String::new() } else { format!("Depends: {depends}\n") };
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: none <none@example.org>\n\
             {depends}Description: a line\n"
        );
        fs::create_dir_all(root.join("DEBIAN")).unwrap();
        fs::write(root.join("DEBIAN/control"), &control).unwrap();
        fs::create_dir_all(self.debian().join("pool")).unwrap();
        let deb = self.debian().join(format!("pool/{name}.deb"));
        done(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(root).arg(&deb));
        let (size, sum) = measure(&deb);
        format!("{control}Filename: pool/{name}.deb\nSize: {size}\nSHA256: {sum}\n\n")
    }

    pub fn suite(&self, suite: &str, packages: &str) {
        let list = self.debian().join(format!("dists/{suite}/main/binary-amd64/Packages"));
        fs::create_dir_all(list.parent().unwrap()).unwrap();
        fs::write(list, packages).unwrap();
        self.sign(suite, "archive", "");
    }

    /// Signs a suite anew, with more lines in its header.
    pub fn sign(&self, suite: &str, key: &str, more: &str) {
        let dir = self.debian().join("dists").join(suite);
        let (size, sum) = measure(&dir.join("main/binary-amd64/Packages"));
        let date = String::from_utf8(done(Command::new("date").arg("-Ru").env("LC_ALL", "C"))).unwrap();
        let release = format!(
            "Suite: {suite}\nCodename: {suite}\nDate: {date}{more}Architectures: amd64\nComponents: main\n\
             SHA256:\n {sum} {size} main/binary-amd64/Packages\n"
        );
        fs::write(dir.join("Release"), release).unwrap();
        let _ = fs::remove_file(dir.join("InRelease"));
        let file = |name: &str| dir.join(name).display().to_string();
        let signer = format!("{key}@example.org");
        self.gpg(&["--local-user", &signer, "--output", &file("InRelease"), "--clearsign", &file("Release")]);
        fs::remove_file(dir.join("Release")).unwrap();
    }

    pub fn fetch(&self, cache: &Path, args: &[&str]) -> Output {
        self.fetch_with(cache, args, &[])
    }

    pub fn fetch_with(&self, cache: &Path, args: &[&str], more: &[(&str, &str)]) -> Output {
        let (mirror, keys) = (self.uri(), self.path("archive.gpg"));
        let environment = [("MIRROR", mirror.as_str()), ("KEYRING", keys.to_str().unwrap())];
        fetch(cache, args, &[&environment, more].concat())
    }

    /// The environment of a host whose apt is set up with these lines and sources, and nothing else.
    pub fn host(&self, conf: &str, sources: &str) -> String {
        let state = self.path("host");
        fs::create_dir_all(state.join("lists")).unwrap();
        fs::write(state.join("sources.list"), sources).unwrap();
        let dir = state.display();
        let text = format!(
            "Dir::Etc::Parts \"/dev/null\";\nDir::Etc::Main \"/dev/null\";\nDir::State \"{dir}\";\nDir::Cache \"{dir}\";\n\
             Dir::Etc::SourceList \"{dir}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n{conf}\n"
        );
        fs::write(state.join("apt.conf"), text).unwrap();
        format!("{dir}/apt.conf")
    }

    /// What that host's apt knows of a source whose lists it has read.
    pub fn read_by_host(&self, uri: &str, suite: &str, origin: &str) {
        let name = uri.split_once("//").unwrap().1.replace('/', "_");
        let lists = self.path("host/lists");
        fs::write(lists.join(format!("{name}_dists_{suite}_Release")), format!("Origin: {origin}\nSuite: {suite}\n"))
            .unwrap();
        fs::write(lists.join(format!("{name}_dists_{suite}_main_binary-amd64_Packages")), "").unwrap();
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.path("keys")).args(["--kill", "all"]).status();
    }
}

/// A loader that says its version, and what else it was asked.
pub fn loader(dir: &Path, libc: &str) {
    let version = format!("ld.so (Debian GLIBC {libc}-9+deb12u10) stable release version {libc}.");
    let script = format!("if [ \"$1\" = --version ]; then echo '{version}'; else echo 'loader {libc}' \"$@\"; fi");
    program(&dir.join("ld-linux-x86-64.so.2"), &script);
}

fn measure(file: &Path) -> (usize, String) {
    let sum = String::from_utf8(done(Command::new("sha256sum").arg(file))).unwrap();
    (fs::read(file).unwrap().len(), sum.split_whitespace().next().unwrap().to_owned())
}
