//! Compiles `bpf/*.bpf.c` with clang and generates the libbpf skeletons.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "kernel")]
    skeletons();
}

#[cfg(feature = "kernel")]
fn skeletons() {
    use std::path::PathBuf;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo:rerun-if-changed=bpf/mini.h");
    for name in ["bodies"] {
        let source = format!("bpf/{name}.bpf.c");
        println!("cargo:rerun-if-changed={source}");
        if let Err(error) = libbpf_cargo::SkeletonBuilder::new()
            .source(&source)
            .clang_args(["-Wall", "-Werror", "-Ibpf"])
            .build_and_generate(out.join(format!("{name}.skel.rs")))
        {
            panic!("failed to compile `{source}` (is clang installed? run `make deps`): {error:?}");
        }
    }
}
