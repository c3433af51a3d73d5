//! What kernels say about themselves: assertions, tiles that are shown, marks.

use super::{ints, staged};
use tile_lang::DType;
use tile_lang::debug;
use tile_lang::interp::{self, Array, Options};
use tile_lang::ir::parse;

mod kernels {
    use tile_lang::dsl::*;
    use tile_lang::tile;

    #[tile::kernel(crate = tile_lang)]
    pub fn looked_at(x: &Global<bf16, 2>, count: &Global<i32, 1>, y: &mut Global<f32, 2>) {
        let [i] = work([cdiv(x.dim(0), 4)]);
        mark!("load");
        let n = count.at([i]);
        device_assert!(n >= 0 && n < 100);
        let t = x.load::<Tile<bf16, 4, 8>>([i, 0]);
        let rows = t.cast::<f32>().row_sum();
        device_assert!(t.lt(4.0.cast::<bf16>()), "item {} has {} in {}%", i, t, n);
        mark!("sum");
        if i == 1 {
            dbg_tile!(rows);
            dbg_tile!("all of it", t);
        }
        dbg_tile!("n", n);
        y.store([i, 0], t.cast::<f32>() - rows.cols::<8>());
    }
}

fn contents(large: bool) -> Vec<f32> {
    (0..64).map(|i| if large && i == 45 { 9.5 } else { (i % 7) as f32 / 2.0 }).collect()
}

fn run(x: &[f32], counts: &[i32]) -> (Result<(), String>, Vec<String>) {
    let kernel = staged(kernels::looked_at::instance());
    let x = Array::from_f32(DType::Bf16, [8, 8], x).unwrap();
    let y = std::sync::Arc::new(Array::zeros(DType::F32, [8, 8]));
    let args = [std::sync::Arc::new(x).into(), ints(&[2], counts), y.into()];
    let (result, mut said) = debug::capture(|| interp::launch(&kernel, &args, Options::default()));
    // Items run in parallel; places come first in the text.
    said.sort();
    (result.map_err(|e| e.to_string()), said)
}

#[test]
fn a_kernel_that_holds_shows_what_it_was_asked_to() {
    let (result, said) = run(&contents(false), &[3, 5]);
    result.unwrap();
    let texts: Vec<String> = said.iter().map(|t| t.split(": ").skip(1).collect::<Vec<_>>().join(": ")).collect();
    let wanted = [
        "item [1]: rows: 4 f32\n  12.5 13 13.5 10.5",
        "item [1]: all of it: 4x8 f32\n  2 2.5 3 0 0.5 1 1.5 2\n  2.5 3 0 0.5 1 1.5 2 2.5\n  3 0 0.5 1 1.5 2 2.5 3\n  0 0.5 1 1.5 2 2.5 3 0",
        "item [0]: n: i32 = 3",
        "item [1]: n: i32 = 5",
    ];
    assert_eq!(texts, wanted);
}

#[test]
fn an_assertion_that_fails_names_place_item_element_and_values() {
    let (result, _) = run(&contents(true), &[3, 5]);
    let text = result.unwrap_err();
    assert!(text.starts_with("error[E65]: assertion failed: item 1 has 9.5 in 5%"), "{text}");
    for part in ["debug.rs:21:9", "work item [1]", "the first element of the condition that is false: [1, 5]"] {
        assert!(text.contains(part), "{text}");
    }
    // Without a message of its own the condition is the message.
    let (result, _) = run(&contents(false), &[3, 100]);
    assert!(result.unwrap_err().contains("assertion failed: n >= 0 && n < 100"));
}

#[test]
fn a_kernel_is_shipped_without_any_of_it() {
    let kernel = staged(kernels::looked_at::instance());
    let count = |k: &tile_lang::ir::Kernel| {
        let mut n = 0;
        k.walk(|_, op| n += usize::from(op.kind.is_debug()));
        n
    };
    assert_eq!(count(&kernel), 7);
    let shipped = debug::without(&kernel);
    tile_lang::ir::verify(&shipped).unwrap();
    assert_eq!(count(&shipped), 0);
    assert_eq!(debug::Site::all([&kernel]).len(), 7);
}

#[test]
fn the_text_form_keeps_it() {
    let kernel = staged(kernels::looked_at::instance());
    let text = kernel.to_string();
    assert_eq!(parse(&text, "k.tile").unwrap().to_string(), text);
    let wrong = text.replace("item {} has {} in {}%", "item {} has {}");
    assert!(parse(&wrong, "k.tile").and_then(|k| tile_lang::ir::verify(&k)).is_err());
}

#[test]
fn what_does_not_fit_is_reported_at_the_macro() {
    use tile_lang::build::Cx;
    let at = tile_lang::Span { file: 0, line: 3, col: 1, len: 4 };
    let errors = |f: &dyn Fn(&mut Cx)| {
        let mut cx = Cx::new("k", "k.rs");
        f(&mut cx);
        cx.finish().unwrap_err().0.iter().map(|d| d.code).collect::<Vec<_>>()
    };
    let spec = |d: DType, n: usize| tile_lang::build::TypeSpec {
        space: tile_lang::build::Space::Tile,
        dtype: Some(d),
        shape: vec![n],
    };
    let tile = |cx: &mut Cx, d: DType, n: usize| cx.constructor(at, &spec(d, n), "zero", vec![]);
    let number = |cx: &mut Cx| cx.lift(at, 1);
    assert_eq!(
        errors(&|cx| {
            let x = number(cx);
            cx.device_assert(at, x, "no", &[])
        }),
        ["E04"]
    );
    assert_eq!(
        errors(&|cx| {
            let c = cx.lift(at, true);
            cx.device_assert(at, c, "{} {}", &[])
        }),
        ["E50"]
    );
    assert_eq!(
        errors(&|cx| {
            let (a, b) = (tile(cx, DType::F32, 8), tile(cx, DType::I32, 16));
            let c = cx.compare(at, tile_lang::ir::CmpOp::Lt, a, 1.0);
            cx.device_assert(at, c, "{}", &[b]);
        }),
        ["E03"]
    );
}
