mod arbitrary;
mod lies;
mod reading;
mod small;
mod writing;

use proptest::prelude::*;

use self::small::{read, small, small_text, write};
use super::Run;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read_back((run, interrupted) in arbitrary::run()) {
        let directory = tempfile::tempdir().expect("temporary directory");
        write(&directory.path().join("run.jsonl"), &run, interrupted);
        prop_assert_eq!(Run::read(directory.path()).expect("reads"), run);
    }
}

#[test]
fn the_small_run_reads_back_whole() {
    assert_eq!(read(&small_text()).expect("reads"), small());
}
