//! What /proc/kallsyms knows of JITed code: `address type name [bpf]`, without lengths.

use super::{Code, What};
use crate::placement::Addr;

/// Hexadecimal digits of a program's tag.
const TAG_DIGITS: usize = 16;

/// One symbol of JITed code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    pub addr: Addr,
    pub name: String,
}

/// Every symbol of JITed code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    pub symbols: Vec<Symbol>,
    /// Symbols that the kernel shows without their address (kptr_restrict).
    pub hidden: u32,
}

impl Symbols {
    /// Takes the symbols of `[bpf]` from a text of hundreds of thousands.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines().filter(|line| line.ends_with("[bpf]")) {
            match symbol(line) {
                Some(symbol) if symbol.addr.0 == 0 => found.hidden += 1,
                Some(symbol) => found.symbols.push(symbol),
                None => {}
            }
        }
        found
    }
}

fn symbol(line: &str) -> Option<Symbol> {
    let mut words = line.split_whitespace();
    let addr = Addr(u64::from_str_radix(words.next()?, 16).ok()?);
    Some(Symbol { addr, name: words.nth(1)?.to_owned() })
}

impl Symbol {
    /// As a piece of code of which no more is known.
    pub fn code(&self, own: &str) -> Code {
        let what = if self.name.starts_with("bpf_prog_") {
            What::Program
        } else if self.name.starts_with("bpf_trampoline_") {
            What::Trampoline
        } else if self.name.starts_with("bpf_dispatcher_") {
            What::Dispatcher
        } else {
            What::Other
        };
        let name = program_name(&self.name).to_owned();
        let own = !own.is_empty() && what == What::Program && name.starts_with(own);
        Code { addr: self.addr, len: None, what, name, id: None, kind: None, own }
    }
}

/// `name` of `bpf_prog_<tag>_name`; what has no name goes by its tag, all else by what it is called (`bpf_get_prog_name`).
pub fn program_name(symbol: &str) -> &str {
    let Some(rest) = symbol.strip_prefix("bpf_prog_") else { return symbol };
    let is_tag = |tag: &str| tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (rest.get(..TAG_DIGITS), rest.get(TAG_DIGITS..)) {
        (Some(tag), Some(name)) if is_tag(tag) && name.starts_with('_') => &name[1..],
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_jited_code_is_taken() {
        let text = "ffffffff81000000 T _text\nffffffffc0001008 t bpf_prog_0123456789abcdef_count\t[bpf]\n\
                    ffffffffc0200000 t nf_hook\t[nf_tables]\n0000000000000000 t bpf_prog_6deef7357e7b4530\t[bpf]\nbroken [bpf]\n";
        let found = Symbols::parse(text);
        assert_eq!(found.hidden, 1);
        let expected = Symbol { addr: Addr(0xffff_ffff_c000_1008), name: "bpf_prog_0123456789abcdef_count".to_owned() };
        assert_eq!(found.symbols, [expected]);
    }

    #[test]
    fn names_lose_the_tag_and_nothing_else() {
        for (symbol, name) in [
            ("bpf_prog_0123456789abcdef_count", "count"),
            ("bpf_prog_0123456789abcdef", "0123456789abcdef"),
            ("bpf_prog_0123456789abcdef_a_b", "a_b"),
            ("bpf_prog_test", "test"),
            ("bpf_prog_abcdefghijklmnop_x", "abcdefghijklmnop_x"),
            ("bpf_trampoline_6442460352", "bpf_trampoline_6442460352"),
        ] {
            assert_eq!(program_name(symbol), name);
        }
    }

    #[test]
    fn kinds_are_told_by_prefix() {
        let what = |name: &str| Symbol { addr: Addr(1), name: name.to_owned() }.code("itlbench");
        assert_eq!(what("bpf_trampoline_1").what, What::Trampoline);
        assert_eq!(what("bpf_dispatcher_xdp").what, What::Dispatcher);
        assert_eq!(what("bpf__tcp_congestion_ops_init").what, What::Other);
        assert!(what("bpf_prog_0123456789abcdef_itlbench").own && !what("bpf_prog_0123456789abcdef_count").own);
    }
}
