//! Any bytes as a run file: an error of one line, or a run of which every text can be made.
#![no_main]

use itlbench::report::{Summary, mail, table};
use itlbench::runfile::Run;

libfuzzer_sys::fuzz_target!(|file: &[u8]| {
    match Run::from_reader("fuzz", file) {
        Ok(run) => {
            let summary = Summary::of(&run);
            let _ = (table::table(&summary), mail::mail(&summary));
        }
        Err(error) => assert_eq!(error.to_string().lines().count(), 1),
    }
});
