//! `#[tile::model]`: statements announce themselves.

use std::cell::RefCell;
use tile_lang::tile;

/// Records what it is told.
#[derive(Default)]
struct Graph {
    places: RefCell<Vec<(u32, String)>>,
    calls: RefCell<Vec<String>>,
}

impl Graph {
    fn at(&self, file: &str, line: u32, col: u32, name: &str) {
        assert!(file.ends_with("model.rs") && col > 0);
        self.places.borrow_mut().push((line, name.into()));
    }

    fn op(&self, name: &str) -> i32 {
        let place = self.places.borrow().last().map(|(l, n)| format!("{l}:{n}")).unwrap_or_default();
        self.calls.borrow_mut().push(format!("{name}@{place}"));
        1
    }
}

#[tile::model]
fn tiny(g: &Graph, layers: usize) -> i32 {
    let mut x = g.op("embed");
    for layer in 0..layers {
        let (q, k) = (g.op("q"), g.op("k"));
        if layer == 1 {
            x = g.op("last") + q + k;
        }
        let y = match layer {
            0 => {
                let h = g.op("mlp");
                h + 1
            }
            _ => 2,
        };
        x += y;
    }
    g.op("head") + x
}

#[test]
fn statements_announce_their_place_and_name() {
    let g = Graph::default();
    assert_eq!(tiny(&g, 2), 6);
    let first = tiny::LINE;
    let want = [
        (1, "x", "embed"),
        (3, "q, k", "q"),
        (3, "q, k", "k"),
        (9, "h", "mlp"),
        (3, "q, k", "q"),
        (3, "q, k", "k"),
        (5, "x", "last"),
        (16, "", "head"),
    ];
    let want: Vec<String> = want.iter().map(|(l, n, op)| format!("{op}@{}:{n}", first + l)).collect();
    assert_eq!(*g.calls.borrow(), want);
    assert_eq!(tiny::NAME, "tiny");
    assert!(tiny::FILE.ends_with("model.rs"));
}
