//! Every `kernel` verb on `.tile` files: several kernels in one, places in their own lines, all mistakes at once.

use super::{AXPY, Scratch, line, monotile};
use std::path::Path;

/// A product of a staged weight, as a second kernel for files.
const PRODUCT: &str = "\
kernel @product(%w: weight<bf16, 2>, %x: global<bf16, 2>, %y: global_mut<f32, 2>) stage tile {
  %rows = dim[0] %w : i32
  %sixteen = const 16 : i32
  %items = div %rows, %sixteen : i32
  %i = work %items : i32
  %at = mul %i, %sixteen : i32
  %0 = const 0 : i32
  %none = const 0.0 : f32
  %zero = splat %none : tile<f32, 16x8>
  %wt = stage %w, %at, %0 : smem<bf16, 16x32>
  %xt = load %x, %0, %0 : tile<bf16, 8x32>
  %turned = transpose %xt : tile<bf16, 32x8>
  %acc = mma %zero, %wt, %turned : tile<f32, 16x8>
  store %y, %acc, %at, %0
}
";

/// Three kernels, two of one name.
fn several() -> String {
    format!("// Kernels of a test.\n{AXPY}\n{PRODUCT}\n{}", AXPY.replace("16", "32").replace("const 15", "const 31"))
}

#[test]
fn all_verbs_work_on_each_kernel_of_a_file() {
    let scratch = Scratch::new();
    let file = scratch.file("several.tile", several());
    let list = monotile(&line("kernel list {}", &file)).good();
    let names: Vec<&str> = list.lines().filter_map(|l| l.split(' ').next()).collect();
    assert_eq!(names, ["axpy", "product", "axpy.2"]);
    let rows = monotile(&line("kernel list {} linear --json", &file)).json();
    assert_eq!((&rows[2]["generics"]["N"], &rows[3]["name"]), (&"32".into(), &"linear".into()));
    let checked = monotile(&line("kernel check {}", &file)).good();
    assert_eq!(checked.lines().count(), 3, "{checked}");
    monotile(&line("kernel run {}", &file)).refused(&["(axpy, product, axpy.2)", "several.tile:NAME"]);
    for name in names {
        let kernel = |verb: &str| line(&format!("kernel {verb} {{}}:{name}"), &file);
        let report = monotile(&[kernel("explain"), line("--json", &file)].concat()).json();
        assert!(report["program"]["kernels"][0].is_object(), "{report}");
        monotile(&kernel("check")).good();
        monotile(&kernel("run")).good();
        monotile(&[kernel("bench"), line("--repeats 1", &file)].concat()).good();
        for stage in ["tile", "scheduled", "specialised", "allocated", "mlir"] {
            let text = monotile(&[kernel("emit"), line(&format!("--stage {stage}"), &file)].concat()).good();
            if stage != "mlir" {
                monotile::ir::parse(&text, "emitted.tile").unwrap_or_else(|e| panic!("{stage}: {e}"));
            }
        }
    }
    // The place of a staged load is its line in the file.
    let report = monotile(&line("kernel explain {}:product", &file)).good();
    assert!(report.contains("several.tile:30"), "{report}");
}

#[test]
fn what_is_emitted_can_be_edited_and_its_mistakes_are_in_its_own_lines() {
    let scratch = Scratch::new();
    let emitted = monotile(&["kernel", "emit", "linear", "--stage", "tile"]).good();
    assert!(emitted.starts_with("files \""), "{emitted}");
    let whole = scratch.file("linear.tile", &emitted);
    monotile(&line("kernel check {}", &whole)).good();
    let again = monotile(&line("kernel emit {} --stage tile", &whole)).good();
    assert_eq!(again, emitted, "what is read is printed as it was");
    let (at, op) = emitted.lines().enumerate().find(|(_, l)| l.contains(" = transpose ")).expect("one");
    let wrong = op.replace("transpose", "neg");
    let file = scratch.file("edited.tile", emitted.replace(op, &wrong));
    for verb in ["check", "explain", "run", "bench", "emit --stage ptx"] {
        let ran = monotile(&line(&format!("kernel {verb} {{}}"), &file));
        assert_eq!(ran.code, 2, "{}", ran.out);
        assert!(ran.err.starts_with("error[E71]"), "{}", ran.err);
        assert!(ran.err.contains(&format!("edited.tile:{}:", at + 1)), "{}", ran.err);
        assert!(ran.err.contains(wrong.trim()), "the line itself is shown: {}", ran.err);
    }
}

#[test]
fn mistakes_of_all_kernels_come_at_once() {
    let scratch = Scratch::new();
    let text = several().replace("%items = div %rows", "%items = dvi %rows").replace("%a: f32)", "%a: flat)");
    let ran = monotile(&line("kernel check {}", &scratch.file("text.tile", text)));
    assert_eq!(ran.err.matches("error[E75]").count(), 3, "{}", ran.err);
    assert!(ran.err.contains("did you mean `div`?"), "{}", ran.err);
    let text =
        several().replace("%acc = mma %zero, %wt", "%acc = mma %zero, %zero").replace("add %scaled", "shl %scaled");
    let ran = monotile(&line("kernel check {}", &scratch.file("types.tile", text)));
    assert_eq!(ran.err.matches("error[E71]").count(), 3, "{}", ran.err);
}

#[test]
fn files_that_are_no_kernels_are_refused() {
    let scratch = Scratch::new();
    let refused = |name: &str, bytes: &[u8], parts: &[&str]| {
        monotile(&line("kernel check {}", &scratch.file(name, bytes))).refused(parts);
    };
    refused("latin.tile", b"kernel @k() {\n}\n// \xe9", &["latin.tile", "UTF-8", "byte 19, in line 3"]);
    let artifact = scratch.0.join("a.tile");
    let image = monotile::artifact::Image {
        target: "sm_90a".into(),
        entry: "e".into(),
        threads: 384,
        cluster: 1,
        shared_bytes: 0,
        ptx: String::new(),
        cubin: Vec::new(),
        boxes: Vec::new(),
        packings: Vec::new(),
        registers: 0,
        spills: 0,
        sites: Vec::new(),
    };
    monotile::artifact::Artifact::new(monotile::plan::Plan::new("p"), image).save(&artifact).expect("saved");
    monotile(&line("kernel check {}", &artifact)).refused(&["a.tile", "compiled artifact"]);
    let empty = monotile(&line("kernel check {}", &scratch.file("empty.tile", "")));
    assert!(empty.code == 2 && empty.err.contains("expected a kernel"), "{}", empty.err);
    monotile(&line("kernel check {}", Path::new("no/such.tile"))).refused(&["can't be read"]);
}
