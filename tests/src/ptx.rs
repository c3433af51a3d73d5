//! What a kernel's PTX is made of.

use std::collections::BTreeMap;
use tile_lang::ptx::stripped;

/// How often each instruction occurs: its name up to the second dot where the first part is a family (`ld`, `mma`, …).
pub fn histogram(ptx: &str) -> BTreeMap<String, usize> {
    const FAMILIES: [&str; 13] =
        ["ld", "st", "cp", "mbarrier", "mma", "cvt", "red", "atom", "bar", "barrier", "fence", "setmaxnreg", "shfl"];
    let mut out = BTreeMap::new();
    for line in stripped(ptx).lines().map(str::trim) {
        let code = line.trim_start_matches(['{', ' ', '\t']);
        let code =
            if code.starts_with('@') { code.split_once(' ').map_or("", |(_, rest)| rest.trim_start()) } else { code };
        let name = code.split([' ', '\t', ';']).next().unwrap_or_default();
        if !line.ends_with(';') || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            continue;
        }
        let mut parts = name.split('.');
        let first = parts.next().unwrap_or_default();
        let key = match parts.next() {
            Some(second) if FAMILIES.contains(&first) => format!("{first}.{second}"),
            _ => first.to_owned(),
        };
        *out.entry(key).or_insert(0) += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_counted_by_family() {
        let ptx = "\t@%p1 bra $L;\n\tld.shared.v4.b32 {%r1}, [%r2];\n\tld.shared.b32 %r1, [%r2];\n\tadd.s32 %r1, %r2, 1;\n$L:\n\t.reg .b32 %r<4>;\n";
        let counted: Vec<_> = histogram(ptx).into_iter().collect();
        assert_eq!(counted, [("add".into(), 1), ("bra".into(), 1), ("ld.shared".into(), 2)]);
    }
}
