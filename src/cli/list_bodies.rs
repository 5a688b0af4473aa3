//! `itlbench list bodies`: what each measured body does, and how long this kernel makes it.

use std::path::Path;

use super::machines;
use crate::host::Facts;
use crate::workload::{Body, TriggerKind};

/// Lengths in bytes of the functions of one program; or why it could not be loaded.
type Tried = Result<Vec<u32>, String>;

/// One trigger of each family of programs: reached by direct tail calls, by indirect ones, and on hooks.
const FAMILIES: [TriggerKind; 3] = [TriggerKind::Chain, TriggerKind::Walk, TriggerKind::Syscall];

/// A table in Markdown, one of every body loaded in each way.
pub fn text() -> String {
    let singles = Body::all().into_iter().filter(|body| body.parts().len() == 1);
    let rows: Vec<(Body, [Tried; 3])> =
        singles.map(|body| (body, FAMILIES.map(|trigger| machines::jited_lengths(trigger, body)))).collect();
    format!("{}\n{}\n{}", table(&rows), kernel(&Facts::read(Path::new("/"))), mixes())
}

fn table(rows: &[(Body, [Tried; 3])]) -> String {
    let mut text = "| body | does | `chain` | `walk` | hooks |\n|---|---|---:|---:|---:|\n".to_owned();
    for (body, tried) in rows {
        let cells: Vec<String> = tried.iter().map(cell).collect();
        text += &format!("| `{body}` | {} | {} |\n", body.meaning(), cells.join(" | "));
    }
    let refused = rows.iter().flat_map(|(_, tried)| tried).find_map(|tried| tried.as_ref().err());
    match refused {
        Some(reason) => text + &format!("\n- = not known: {reason}\n"),
        None => text,
    }
}

fn cell(tried: &Tried) -> String {
    match tried.as_deref() {
        Ok([length]) => length.to_string(),
        Ok(lengths) => format!("{} in {}", lengths.iter().sum::<u32>(), lengths.len()),
        Err(_) => "-".to_owned(),
    }
}

fn kernel(facts: &Facts) -> String {
    let harden = facts.sysctl("net.core.bpf_jit_harden").unwrap_or("unknown");
    format!(
        "JITed bytes as Linux {} on {} reports them, net.core.bpf_jit_harden {harden}; on hooks without what the type of a program adds.\n",
        facts.kernel_release.as_deref().unwrap_or("(unknown)"),
        std::env::consts::ARCH,
    )
}

fn mixes() -> String {
    let mixes = Body::all().into_iter().filter(|body| body.parts().len() > 1);
    let line = |body: Body| {
        let parts: Vec<String> = body.parts().iter().map(ToString::to_string).collect();
        format!("`{body}`, dealt by position: {}\n", parts.join(", "))
    };
    mixes.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_listed_and_what_could_not_be_loaded_says_why() {
        let rows = [
            (Body::B128, [Ok(vec![121]), Ok(vec![163]), Ok(vec![100, 25])]),
            (Body::Dns, [Ok(vec![222]), Err("failed to load it; run as root".to_owned()), Ok(vec![220])]),
        ];
        let text = table(&rows);
        assert!(
            text.contains("| `128` | Straight-line code, as short as it can be | 121 | 163 | 125 in 2 |\n"),
            "{text}"
        );
        assert!(text.contains("| 222 | - | 220 |\n\n- = not known: failed to load it; run as root\n"), "{text}");
    }

    #[test]
    fn a_mix_is_listed_by_its_parts() {
        assert!(
            mixes().contains("`fleet`, dealt by position: 128, 1024, 256, 4096, 128, 2048, 256, 4096\n"),
            "{}",
            mixes()
        );
    }
}
