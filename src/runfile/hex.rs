//! Addresses as run files have them: readers in other languages hold numbers as doubles.

use serde::{Deserialize, Serialize};

/// An address as `0x...`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct HexAddr(pub u64);

impl From<HexAddr> for String {
    fn from(addr: HexAddr) -> Self {
        format!("{:#x}", addr.0)
    }
}

impl TryFrom<String> for HexAddr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let addr = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        addr.map(Self).ok_or_else(|| format!("`{text}` is not a hexadecimal address"))
    }
}
