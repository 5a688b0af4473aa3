//! Files that contradict themselves, each edited in one place.

use super::small::{read, small_text};

#[test]
fn lies_are_refused_with_the_line_and_the_reason() {
    let text = small_text();
    let lines: Vec<&str> = text.lines().collect();
    let with = |edit: &dyn Fn(&mut Vec<String>)| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        edit(&mut lines);
        let text = lines.iter().flat_map(|line| [line, "\n"]).collect::<String>();
        read(&text).expect_err("refused").to_string()
    };
    let swap = |line: usize, from: &'static str, to: &'static str| {
        with(&move |lines| {
            assert!(lines[line].contains(from), "{}", lines[line]);
            lines[line] = lines[line].replacen(from, to, 1);
        })
    };
    for (error, expected) in [
        (swap(2, "[1,33,9", "[1,33,8"), "line 8: the checksum does not match"),
        (swap(7, "\"trials\":3", "\"trials\":4"), "line 8: the end record counts 3 placements, 4 trials and 3 planned"),
        (swap(7, "false", "true"), "line 8: the checksum does not match"),
        (swap(2, "[5,5,18446744073709551615]", "[5,5,1,2]"), "line 3: a reading has 2 counts for 1 events"),
        (
            swap(2, r#""histograms"#, r#""meters":{"baseline":[],"samples":[[7]]},"histograms"#),
            "line 3: a window has 1 values for 0 meters",
        ),
        (swap(2, "[[5,5,18446744073709551615]]", "[]"), "line 3: a window has 0 readings for 1 groups"),
        (swap(2, "[[5,5,18446744073709551615]]", "[[5]]"), "line 3: a reading lacks its two times"),
        (swap(2, "[[5,5,18446744073709551615]]", "[[5,5,-1]]"), "line 3: invalid value: integer `-1`"),
        (swap(2, "[[5,5,18446744073709551615]]", "[[5,5,NaN]]"), "line 3: the line is broken"),
        (swap(1, "0xffff", "ffff"), "line 2: `ffffffffffffefff` is not a hexadecimal address"),
        (swap(1, "\"case\":0", "\"case\":1"), "line 3: the trial does not follow its own placement"),
        (swap(4, "\"record\":\"trial\"", "\"record\":\"trail\""), "line 5: unknown record `trail`"),
        (swap(4, "{", ""), "line 5: invalid type: string \"record\""),
        (swap(4, ",", ",,"), "line 5: the line is broken"),
        (swap(0, "[\"addr\",\"len\"]", "[\"len\",\"addr\"]"), "line 1: the columns are not those of schema 1"),
        (with(&|lines| lines.insert(3, String::new())), "line 4: the line is broken"),
        (with(&|lines| lines.insert(3, lines[0].clone())), "line 4: a second `run` record"),
        (with(&|lines| lines.push(lines[1].clone())), "line 9: the file goes on behind its end record"),
        (with(&|lines| drop(lines.remove(2))), "line 3: a placement follows a placement"),
        (with(&|lines| drop(lines.remove(6))), "line 7: the last placement has no trial"),
        (with(&|lines| lines.insert(3, lines[2].clone())), "line 4: the trial does not follow its own placement"),
        (
            with(&|lines| {
                lines.insert(3, lines[1].clone());
                lines.insert(4, lines[2].clone());
            }),
            "line 5: trial 0 of case `chain n=8 pack=on` is there twice",
        ),
        (
            with(&|lines| {
                lines[1] = lines[1].replace("\"case\":0", "\"case\":2");
                lines[2] = lines[2].replace("\"case\":0", "\"case\":2");
            }),
            "line 3: case number 2 of 2 is unknown",
        ),
        (swap(0, "\"planned_trials\":3", "\"planned_trials\":2"), "line 7: there are more trials than the 2 planned"),
    ] {
        assert!(error.contains(expected), "{error}\n  does not say\n{expected}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
