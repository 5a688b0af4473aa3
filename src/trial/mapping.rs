//! Whether the code was mapped after the windows as before them.

use crate::caveat::Caveat;
use crate::placement::Observed;

/// Windows were measured over two mappings if the kernel has split or merged pages meanwhile.
pub(super) fn changed(before: &Observed, after: &Observed) -> Option<Caveat> {
    match (before, after) {
        (Observed::Seen(before), Observed::Seen(after)) if before.phrase() != after.phrase() => {
            Some(Caveat::MappingChanged { before: before.phrase(), after: after.phrase() })
        }
        (Observed::Seen(before), Observed::Unknown { reason }) => {
            Some(Caveat::MappingChanged { before: before.phrase(), after: format!("unknown ({reason})") })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::placement::Mapping;
    use crate::placement::mapping::{Leaf, PageSize, Source};

    fn seen(small: u32, large: u32) -> Observed {
        let leaf = |size| Leaf { size, writable: false, executable: true, global: false, frame: None };
        let sizes = (0..small).map(|_| PageSize::Small).chain((0..large).map(|_| PageSize::Large));
        let leaves: BTreeMap<u64, Leaf> = sizes.enumerate().map(|(at, size)| (at as u64, leaf(size))).collect();
        let pages: Vec<u64> = leaves.keys().copied().collect();
        Observed::Seen(Mapping::of(Source::BpfWalk, &pages, &leaves))
    }

    #[test]
    fn a_mapping_that_changes_under_the_windows_is_a_caveat() {
        assert_eq!(changed(&seen(4, 0), &seen(4, 0)), None);
        let merged = changed(&seen(4, 0), &seen(0, 4)).expect("pages were merged");
        assert_eq!(
            merged.to_string(),
            "the code was mapped by 4 KiB RO+X before the windows and by 2 MiB RO+X after them"
        );
        let gone = Observed::Unknown { reason: "no source".to_owned() };
        assert!(changed(&seen(4, 0), &gone).is_some_and(|caveat| caveat.to_string().contains("unknown (no source)")));
        assert_eq!(changed(&gone, &gone), None, "never known is said elsewhere");
    }
}
