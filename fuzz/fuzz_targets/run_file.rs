//! Any bytes as a run file, as they are and with the checksum that they ought to have: an error of one line, or a run of which every
//! text can be made.
#![no_main]

use itlbench::compare::{Comparison, Digest, Force};
use itlbench::report::{Summary, comparison, export, mail, table};
use itlbench::runfile::Run;

libfuzzer_sys::fuzz_target!(|file: &[u8]| {
    read(file);
    if let Some(sealed) = sealed(file) {
        read(&sealed);
    }
});

fn read(file: &[u8]) {
    let run = match Run::from_reader("fuzz", file) {
        Ok(run) => run,
        Err(error) => return assert_eq!(error.to_string().lines().count(), 1, "{error}"),
    };
    let summary = Summary::of(&run);
    let text = [table::table(&summary), mail::mail(&summary)].concat();
    mail::check_mail(&mail::mail(&summary)).expect("fit for a list");
    assert!(!text.contains("NaN"), "{text}");
    export::csv(&run, &mut std::io::sink()).expect("the sink takes everything");
    export::json(&run, &mut std::io::sink()).expect("the sink takes everything");
    let mut other = Digest::of("other", &run);
    other.manifest.seed ^= 1;
    if let Ok(compared) = Comparison::of(vec![Digest::of("fuzz", &run)], vec![vec![other]], Force::Yes) {
        let _ = comparison::table::table(&comparison::View::of(&compared));
    }
}

/// The file as its writer would have ended it; `None` if it ends otherwise.
fn sealed(file: &[u8]) -> Option<Vec<u8>> {
    let digits = file.len().checked_sub("01234567\"}\n".len())?;
    file[..digits].ends_with(b",\"checksum\":\"").then(|| {
        let sum = format!("{:08x}", crc32fast::hash(&file[..digits]));
        [&file[..digits], sum.as_bytes(), b"\"}\n"].concat()
    })
}
