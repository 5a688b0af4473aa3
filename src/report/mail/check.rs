//! The rules a mail must keep.

use super::COLUMNS;

/// Checks that `text` may be pasted in a mail: at most 72 columns, 7-bit, no tabs or other control characters, no trailing blanks, a
/// line end at the end. The error names the line.
pub fn check_mail(text: &str) -> Result<(), String> {
    if !text.ends_with('\n') {
        return Err("the last line has no line end".to_owned());
    }
    for (at, line) in text.split('\n').enumerate() {
        if let Some(fault) = fault(line) {
            return Err(format!("line {}: {fault}: `{line}`", at + 1));
        }
    }
    Ok(())
}

fn fault(line: &str) -> Option<String> {
    let columns = line.chars().count();
    if let Some(foreign) = line.chars().find(|c| !c.is_ascii_graphic() && *c != ' ') {
        Some(format!("holds {foreign:?}"))
    } else if columns > COLUMNS {
        Some(format!("{columns} columns"))
    } else if line.ends_with(' ') {
        Some("trailing blank".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_checked() {
        let long = "x".repeat(73) + "\n";
        for (text, fault) in [
            ("a\nb", "no line end"),
            ("a\nb \n", "line 2: trailing blank"),
            ("a\tb\n", "line 1: holds '\\t'"),
            ("a\r\n", "line 1: holds '\\r'"),
            ("1 \u{b1} 2\n", "line 1: holds '\u{b1}'"),
            (long.as_str(), "line 1: 73 columns"),
        ] {
            let error = check_mail(text).unwrap_err();
            assert!(error.contains(fault), "{error}");
        }
        assert_eq!(check_mail(&("x".repeat(72) + "\n")), Ok(()));
    }
}
