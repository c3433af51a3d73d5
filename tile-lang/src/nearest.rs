//! The known name that a misspelt one was probably meant to be.

/// The candidate that differs from `word` by the fewest edits, if they are few for its length: none for up to
/// two characters, one for up to four, two for up to eight, three for longer words. Of equals the first.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let length = word.chars().count();
    let most = match length {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    let close = candidates.into_iter().filter(|c| c.chars().count().abs_diff(length) <= most);
    close.map(|c| (edits(word, c), c)).filter(|(n, _)| *n <= most).min_by_key(|(n, _)| *n).map(|(_, c)| c)
}

/// The candidates that are near a name with dots in it, best first, at most three: near as a whole or in their last part.
pub fn nearest_paths<'c>(path: &str, candidates: impl IntoIterator<Item = &'c str>) -> Vec<&'c str> {
    let last = |text: &'c str| text.rsplit('.').next().unwrap_or_default();
    let own = path.rsplit('.').next().unwrap_or_default();
    let scored = candidates.into_iter().map(|c| (edits(path, c).min(edits(own, last(c)) + 1), c));
    let mut near: Vec<(usize, &str)> = scored.filter(|(n, c)| *n <= c.chars().count().div_ceil(3)).collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, c)| c).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, n) in [("", "", 0), ("mma", "mma", 0), ("laod", "load", 1), ("splat", "plat", 1), ("", "abc", 3)] {
            assert_eq!(edits(a, b), n, "{a} {b}");
            assert_eq!(edits(b, a), n, "{b} {a}");
        }
    }

    #[test]
    fn paths_are_near_by_their_last_part() {
        let names = ["k.codes", "k.blocks", "y.store", "acc"];
        assert_eq!(nearest_paths("k.code", names), ["k.codes"]);
        assert_eq!(nearest_paths("codes", names), ["k.codes"]);
        assert_eq!(nearest_paths("j.blokcs", names), ["k.blocks"]);
        assert_eq!(nearest_paths("ac", names), ["acc"]);
        assert_eq!(nearest_paths("something_else", names), [""; 0]);
    }

    #[test]
    fn only_what_is_near_is_offered() {
        let names = ["load", "store", "store_masked", "transpose"];
        assert_eq!(nearest("lod", names), Some("load"));
        assert_eq!(nearest("stroe", names), Some("store"));
        assert_eq!(nearest("tranpsose", names), Some("transpose"));
        assert_eq!(nearest("x", names), None);
        assert_eq!(nearest("median", names), None);
        assert_eq!(nearest(&"x".repeat(100_000), names), None);
    }
}
