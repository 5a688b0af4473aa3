//! In: all JITed code of a host. Out: a table, a map in letters, JSON. Apart from the other reports because it stands on no run.

mod json;
mod map;
mod text;

use crate::placement::Observed;
use crate::survey::vmalloc::Packs;
use crate::survey::{Area, Elsewhere, Reach, Survey};

pub use json::json;
pub use text::text;

/// Everything an output shows.
#[derive(Debug)]
pub struct Sheet<'a> {
    pub survey: &'a Survey,
    pub areas: &'a [Area],
    pub packs: Option<&'a Packs>,
    pub reach: Option<&'a Reach>,
    /// Absent if nobody looked.
    pub mapping: Option<&'a Observed>,
    /// Prefix of the names that count as own.
    pub own: &'a str,
    /// Whether trampolines, dispatchers and the names of subprograms are in it.
    pub kallsyms_read: bool,
    /// The same code in the other worlds that were asked for.
    pub elsewhere: &'a [Elsewhere],
    /// What the reader must know about what is missing.
    pub notes: &'a [String],
    /// Most rows of the table; JSON has them all.
    pub most_rows: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WhatIf;
    use crate::model::geometry::cores;
    use crate::survey::area::areas;
    use crate::survey::fixture::survey;

    fn with_sheet(most_rows: usize, look: impl FnOnce(&Sheet<'_>)) {
        let survey = survey();
        let areas = areas(&survey, None);
        let core = cores().iter().find(|core| core.name == "zen3").expect("in the table");
        let reach = Reach::of(core, survey.totals().pages_4k, None);
        let images = survey.images();
        let elsewhere = WhatIf::ALL.map(|world| Elsewhere::of(world, &images, Some(core)));
        let notes = vec!["classic filters are not seen".to_owned()];
        look(&Sheet {
            survey: &survey,
            areas: &areas,
            packs: None,
            reach: Some(&reach),
            mapping: None,
            own: "itlbench",
            kallsyms_read: true,
            elsewhere: &elsewhere,
            notes: &notes,
            most_rows,
        });
    }

    #[test]
    fn a_host_as_text() {
        with_sheet(50, |sheet| insta::assert_snapshot!(text(sheet)));
    }

    #[test]
    fn no_line_is_wider_than_100_columns_and_what_is_left_out_is_counted() {
        with_sheet(3, |sheet| {
            let text = text(sheet);
            assert!(text.lines().all(|line| line.chars().count() <= 100 && line == line.trim_end()), "{text}");
            assert!(text.contains("7 more"), "{text}");
        });
    }

    #[test]
    fn an_empty_host_says_so() {
        let survey = Survey::default();
        let sheet = Sheet {
            survey: &survey,
            areas: &[],
            packs: None,
            reach: None,
            mapping: None,
            own: "itlbench",
            kallsyms_read: true,
            elsewhere: &[],
            notes: &[],
            most_rows: 9,
        };
        assert!(text(&sheet).starts_with("no JITed BPF code\n"), "{}", text(&sheet));
    }

    #[test]
    fn json_holds_every_piece_of_code_and_every_page() {
        with_sheet(1, |sheet| {
            let value: serde_json::Value = serde_json::from_str(&json(sheet).expect("json")).expect("valid");
            assert_eq!(value["code"].as_array().expect("list").len(), 10);
            let own = &value["code"][6];
            assert_eq!((own["addr"].as_str(), own["own"].as_bool()), (Some("0xffffffffc0000f48"), Some(true)));
            assert_eq!(own["pages"].as_array().expect("pages").len(), 2);
            assert_eq!((own["shares_with"].as_u64(), own["shares_with_foreign"].as_u64()), (Some(6), Some(6)));
            assert_eq!(value["totals"]["pages_4k"], 5);
            assert_eq!(value["areas"][0]["cells"][0], serde_json::json!([184, 3600]));
            assert_eq!(value["mapping"], serde_json::Value::Null);
            assert_eq!(value["kallsyms_read"], true);
            let worlds = value["what_if"].as_array().expect("worlds");
            let names: Vec<&str> = worlds.iter().filter_map(|world| world["world"].as_str()).collect();
            assert_eq!(names, ["2m", "dense", "spread"]);
            assert_eq!((worlds[0]["needed"].as_u64(), worlds[0]["page_bytes"].as_u64()), (Some(2), Some(2 << 20)));
            assert!(worlds[2]["modelled"]["l1_percent"].as_f64().expect("a share") > 0.0, "{}", worlds[2]);
        });
    }
}
