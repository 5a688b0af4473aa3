//! A document as one HTML file: no network, charts inline, readable in light, in dark, on paper and on a phone.
//!
//! Every word goes through the template's escaping; only the SVG, which the charts escape themselves, is let through. The one
//! script makes tables sortable; the policy in the page's head names it by its hash, so that nothing else can run, and a
//! viewer that runs no script at all shows the same tables.

use askama::Template;

use super::document::{Document, Part};
use super::sheet::{Align, Cell, Tone};

/// Why the report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to fill the HTML report: {0}")]
pub struct HtmlError(#[from] askama::Error);

/// SHA-256 of what stands between the script tags, in base64.
const SCRIPT_HASH: &str = "HMgT9eWzwa19IHWQb7D4+Xp/JyNyEbhDyy/jN2VqmsM=";

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    document: &'a Document<'a>,
    script_hash: &'static str,
}

impl Page<'_> {
    fn part<'p>(&self, part: &'p Part<'p>) -> PartView<'p> {
        PartView { part }
    }
}

#[derive(Template)]
#[template(path = "part.html")]
struct PartView<'a> {
    part: &'a Part<'a>,
}

impl PartView<'_> {
    fn inner<'p>(&self, part: &'p Part<'p>) -> PartView<'p> {
        PartView { part }
    }
}

/// `document` as a page.
pub fn html(document: &Document) -> Result<String, HtmlError> {
    Ok(Page { document, script_hash: SCRIPT_HASH }.render()?)
}

/// Class of what says more or less.
fn tone_class(tone: &Tone) -> &'static str {
    match tone {
        Tone::Plain => "",
        Tone::Higher => "higher",
        Tone::Lower => "lower",
    }
}

fn align_class(align: &Align) -> &'static str {
    match align {
        Align::Left => "words",
        Align::Right => "figures",
    }
}

/// What the script sorts a figure by.
fn key(cell: &Cell) -> String {
    cell.key.map(|key| key.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caveat::Caveat;
    use crate::report::chart::{self, fixture};
    use crate::report::{Summary, document};
    use crate::runfile::Run;

    fn page_of(run: &Run, mail: &str) -> String {
        let summary = Summary::of(run);
        let drawings = chart::draw(&summary).expect("charts");
        html(&document::of_run(&summary, &drawings, mail)).expect("html")
    }

    fn page(trials: u32) -> String {
        page_of(&fixture::run(trials), "pack off <b>costs</b> more\n")
    }

    #[test]
    fn page_of_a_host_without_a_pmu_but_for_its_charts() {
        let run = crate::report::fixture::timed_run();
        insta::assert_snapshot!(html(&document::of_run(&Summary::of(&run), &[], "the mail\n")).expect("html"));
    }

    #[test]
    fn page_of_two_kernels_but_for_its_charts() {
        let comparison = crate::report::comparison::fixture::two_kernels();
        let view = crate::report::comparison::View::of(&comparison);
        insta::assert_snapshot!(html(&document::of_comparison(&view, &[], "the mail\n")).expect("html"));
    }

    #[test]
    fn the_page_answers_with_ratio_interval_n_and_verdict() {
        let page = page(10);
        for words in [
            "chain, 2048 programs, cycles/exec",
            "<strong class=\"higher\">2.882x</strong>",
            "95 % interval 2.843 to 2.952; n = 10 + 10. Verdict: slower.",
            "SIMULATED",
            "itlbench run chain --out &#39;my reports&#39;",
            "L1-icache-load-misses (type 3 config 0x10001): ENOENT: this CPU has no such event",
            "2048 of 2048",
        ] {
            assert!(page.contains(words), "{words}");
        }
    }

    #[test]
    fn the_page_needs_no_network() {
        let page = page(3).replace("http://www.w3.org/2000/svg", "");
        for forbidden in ["http://", "https://", "@import", "url(", "src="] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert_eq!(page.matches("<link").count(), 1, "the empty icon, so that nobody asks for favicon.ico");
    }

    /// The policy in the head must name the script as it stands there, or no browser runs it.
    #[test]
    fn the_hash_in_the_policy_is_the_scripts() {
        use base64::Engine as _;
        use std::io::Write as _;
        let page = page(3);
        let (_, rest) = page.split_once("<script>").expect("a script");
        let (script, after) = rest.split_once("</script>").expect("its end");
        assert!(!after.contains("<script"), "one script only");
        let mut child = std::process::Command::new("sha256sum")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("coreutils");
        child.stdin.take().expect("piped").write_all(script.as_bytes()).expect("written");
        let hex = String::from_utf8(child.wait_with_output().expect("ended").stdout).expect("text");
        let bytes: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect();
        assert_eq!(base64::engine::general_purpose::STANDARD.encode(bytes), SCRIPT_HASH);
    }

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let mut run = fixture::run(3);
        let evil = "<script>alert(1)</script>\"&";
        run.manifest.host.cpu_model = Some(evil.into());
        run.manifest.argv.push(evil.into());
        run.manifest.workloads[0].question = evil.into();
        run.manifest.workloads[0].name = evil.into();
        run.manifest.caveats.push(Caveat::NoHardwareCounters { reason: evil.into() });
        for trial in &mut run.trials {
            trial.case.workload = evil.into();
        }
        let page = page_of(&run, evil);
        assert_eq!(page.matches("<figure>").count(), 6);
        assert_eq!(page.matches("<script>").count(), 1, "only our own");
        assert!(page.contains("&#60;script&#62;alert(1)"));
    }

    #[test]
    fn the_same_run_gives_the_same_page() {
        assert_eq!(page(4), page(4));
    }

    #[test]
    fn an_empty_run_says_so() {
        let mut run = fixture::run(1);
        run.trials.clear();
        let page = page_of(&run, "");
        assert!(page.contains("the run holds no effect") && page.contains("0 of 6 trials"));
        assert!(!page.contains("NaN"));
    }
}
