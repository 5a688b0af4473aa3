//! What is left where programs lay once they are unloaded: the kernel may poison freed code, unmap it, or leave it.

use serde::{Deserialize, Serialize};

/// Images by what was found in their place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    pub images: u32,
    /// Every chunk begins with INT3 (0xcc), which the kernel fills freed code with since 5.19 (`bpf_arch_text_invalidate`).
    pub poisoned: u32,
    /// A page of it is not mapped any more.
    pub unmapped: u32,
    /// Something else: code that is still there, or that of a program which was loaded into its place meanwhile.
    pub other: u32,
}

impl Freed {
    /// In words: `0xcc`, `gone` where it is not mapped any more, `left`, or the shares where images differ.
    pub fn phrase(&self) -> String {
        let parts = [(self.poisoned, "0xcc"), (self.unmapped, "gone"), (self.other, "left")];
        let found: Vec<(u32, &str)> = parts.into_iter().filter(|(images, _)| *images > 0).collect();
        match found.as_slice() {
            [] => "-".to_owned(),
            [(_, all)] => (*all).to_owned(),
            mixed => mixed.iter().map(|(images, what)| format!("{what} {images}")).collect::<Vec<_>>().join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_images_share_is_said_once_and_a_mixture_with_its_numbers() {
        let freed = |poisoned, unmapped, other| Freed { images: 64, poisoned, unmapped, other }.phrase();
        assert_eq!(freed(64, 0, 0), "0xcc");
        assert_eq!(freed(0, 64, 0), "gone");
        assert_eq!(freed(60, 0, 4), "0xcc 60, left 4");
        assert_eq!(Freed::default().phrase(), "-");
    }
}
