//! What the page on the text form shows.

use super::round_trip;
use tile_lang::ir::{AtomicOp, BinaryOp, CmpOp, OpKind, ReduceOp, TernaryOp, UnaryOp, parse, verify};

const PAGE: &str = include_str!("../../../docs/text-form.md");

#[test]
fn examples_of_the_page_are_kernels() {
    let blocks: Vec<&str> = PAGE.split("```tile\n").skip(1).filter_map(|b| b.split("```").next()).collect();
    assert_eq!(blocks.len(), 3);
    for text in blocks {
        let kernel = parse(text, "text-form.md").unwrap_or_else(|e| panic!("{e}"));
        verify(&kernel).unwrap_or_else(|e| panic!("{e}"));
        round_trip(&kernel);
        // But for comments and broken lines the page has the form that is printed.
        let printed = format!("{kernel:#}");
        let plain: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        let joined = plain.join("\n").replace("(\n  ", "(").replace("\n) stage", ") stage");
        assert_eq!(printed.trim_end(), joined.trim_end());
    }
}

#[test]
fn the_page_lists_all_ops_of_the_families() {
    let unary: Vec<&str> = UnaryOp::ALL.iter().map(|op| op.name()).collect();
    let binary: Vec<&str> = BinaryOp::ALL.iter().map(|op| op.name()).collect();
    let ternary: Vec<&str> = TernaryOp::ALL.iter().map(|op| op.name()).collect();
    let cmp: Vec<&str> = CmpOp::ALL.iter().map(|op| op.name()).collect();
    for family in [unary, binary, ternary, cmp] {
        assert!(PAGE.contains(&format!("`{}`", family.join(" "))), "{family:?}");
    }
    let words: Vec<&str> = PAGE.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    for (name, _) in OpKind::STRUCTURAL {
        assert!(words.contains(name), "the page lacks `{name}`");
    }
    let atomics: Vec<&str> = AtomicOp::ALL.iter().map(|op| op.name()).collect();
    assert!(PAGE.contains(&format!("`atomic[{}]`", atomics.join(" | "))));
    let reductions: Vec<&str> = ReduceOp::ALL.iter().map(|op| op.name()).collect();
    assert!(PAGE.contains(&format!("`reduce[{}, axis]`", reductions.join(" | "))));
}
