//! The page of figures beside the vendors' kernels is made from the results.

use std::path::Path;
use tile_tests::performance::Figures;

#[test]
fn the_page_of_figures_is_made_from_the_results() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let figures = Figures::read(&root.join("results")).unwrap();
    for (file, text) in [("performance.md", figures.page()), ("performance.svg", figures.plot())] {
        let path = root.join("../docs").join(file);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "docs/{file} is not made from tests/results; say UPDATE_DOCS=1");
    }
    assert!(figures.page().lines().filter(|l| l.contains("| **")).count() >= 9, "{}", figures.page());
}
