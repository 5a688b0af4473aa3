//! Compiles `bpf/*.bpf.c` with clang and embeds the objects.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "kernel")]
    bpf_objects();
}

#[cfg(feature = "kernel")]
fn bpf_objects() {
    use std::path::PathBuf;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for header in ["frame", "mini"] {
        println!("cargo:rerun-if-changed=bpf/{header}.h");
    }
    for name in ["bench", "bodies", "hits", "models", "pagewalk", "peek", "selftest", "toptable"] {
        let source = format!("bpf/{name}.bpf.c");
        println!("cargo:rerun-if-changed={source}");
        if let Err(error) = libbpf_cargo::SkeletonBuilder::new()
            .source(&source)
            .obj(out.join(format!("{name}.bpf.o")))
            .clang_args(["-Wall", "-Werror", "-Ibpf"])
            .build()
        {
            panic!("failed to compile `{source}` (is clang installed? run `make deps`): {error:?}");
        }
    }
}
