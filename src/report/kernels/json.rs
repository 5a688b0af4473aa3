//! The matrix as one JSON object.

use serde::Serialize;

use super::{Matrix, Row};
use crate::runfile::manifest::Guest;

#[derive(Serialize)]
struct Whole<'a> {
    tool_version: &'a str,
    kernels: Vec<Kernel<'a>>,
    failures: &'a [String],
    caveats: Vec<String>,
}

#[derive(Serialize)]
struct Kernel<'a> {
    name: &'a str,
    release: Option<&'a str>,
    version: Option<&'a str>,
    /// Of each boot.
    guests: Vec<&'a Guest>,
    cases: &'a [Row],
}

/// Everything that the matrix holds.
pub fn json(matrix: &Matrix<'_>) -> serde_json::Result<String> {
    let whole = Whole {
        tool_version: env!("CARGO_PKG_VERSION"),
        kernels: matrix.kernels.iter().map(Kernel::of).collect(),
        failures: &matrix.failures,
        caveats: matrix.caveats().iter().map(ToString::to_string).collect(),
    };
    Ok(serde_json::to_string_pretty(&whole)? + "\n")
}

impl<'a> Kernel<'a> {
    fn of(kernel: &'a super::Kernel<'_>) -> Self {
        let super::Kernel { name, runs, rows } = kernel;
        let host = &runs[0].manifest.host;
        Self {
            name,
            release: host.kernel_release.as_deref(),
            version: host.kernel_version.as_deref(),
            guests: runs.iter().filter_map(|run| run.manifest.guest.as_ref()).collect(),
            cases: rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::kernels::fixture;

    #[test]
    fn json_holds_every_case_of_every_kernel() {
        let runs = fixture::runs();
        let text = json(&Matrix::of(&runs, fixture::failures())).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let cases: Vec<usize> = value["kernels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kernel| kernel["cases"].as_array().unwrap().len())
            .collect();
        assert_eq!(cases, [2, 4, 4]);
        assert_eq!(value["kernels"][0]["cases"][1]["arm"], "native");
        assert_eq!(value["kernels"][2]["guests"][0]["append"], "nokaslr");
        assert_eq!(value["failures"].as_array().unwrap().len(), 1);
        insta::assert_snapshot!("json_of_three_kernels", text);
    }
}
