//! The text form: printing and parsing is the identity, mistakes are named; the verifier finds corrupted kernels.

#[path = "text/docs.rs"]
mod docs;

use proptest::prelude::*;
use tile_lang::generate::{self, Program};
use tile_lang::ir::{
    BinaryOp, CmpOp, Kernel, Literal, OpData, OpKind, Places, ReduceOp, RingPart, Role, Stage, TernaryOp, Type,
    UnaryOp, ValueId, parse, parse_all, parse_all_at, verify,
};
use tile_lang::{DType, Span};

/// Prints, reads and prints again, with and without places.
fn round_trip(kernel: &Kernel) -> Kernel {
    let text = kernel.to_string();
    let read = parse(&text, "round.tile").unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(read.to_string(), text);
    let short = format!("{kernel:#}");
    let again = parse(&short, "round.tile").unwrap_or_else(|e| panic!("{e}\n{short}"));
    assert_eq!(format!("{again:#}"), short);
    let numbered = parse(&read.to_string(), "round.tile").unwrap();
    assert_eq!(format!("{numbered:?}"), format!("{read:?}"));
    read
}

/// Every op of the tile stage that is not one of a family.
const EVERY_OP: &str = r#"
kernel @every.op<T=16, W=bf16, label="two words">(
  %x: global<bf16, 2>, %w: weight<e2m1, 3>, %y: global_mut<f32, 2>, %z: global_mut<i32, 1>, %n: i32, %s: f32, %b: bool
) stage tile {
  // Launch
  %d = dim[1] %x : i32
  %fits = ge %d, %n : bool
  require["`x.dim(1) >= \"n\"`\n"] %fits
  %i, %j = work %n, %d : i32, i32
  // Constants
  %0 = const 0.1 : f32
  %1 = const -7 : i32
  %2 = const true : bool
  %3 = const nan(0xffc00001) : f32
  %4 = const -inf : f32
  %5 = const 1e-45 : f32
  // Shapes
  %t = splat %s : tile<f32, 16x16>
  %t.1 = splat %0 : tile<f32, 16x16>
  %index = iota[1] : tile<i32, 16x16>
  %row = iota[0] : tile<i32, 16>
  %cols = broadcast[1] %row : tile<i32, 16x16>
  %twice = repeat[2] %row : tile<i32, 32>
  %less = lt %index, %cols : tile<bool, 16x16>
  %pick = select %less, %t, %t.1 : tile<f32, 16x16>
  %narrow = cast %pick : tile<bf16, 16x16>
  %turned = transpose %narrow : tile<bf16, 16x16>
  %top = reduce[max, 1] %pick : tile<f32, 16>
  %all = reduce[sum, 0] %top : f32
  // Memory
  %l = load %x, %i, %j : tile<bf16, 16x16>
  %staged = stage %x, %i, %j : smem<bf16, 32x48>
  %part = slice[16, 32] %staged : smem<bf16, 16x16>
  %flip = transpose %part : smem<bf16, 16x16>
  %held = read %flip : tile<bf16, 16x16>
  %codes = stage %w, %i, %j, %1 : smem<e2m1, 16x32>
  %e = at %z, %i : i32
  set %z, %e, %j
  // Products and control
  %acc, %last = for[4] %k = %1 to %n with (%acc.1 = %t, %m = %top) : tile<f32, 16x16>, tile<f32, 16> {
    %next = mma %acc.1, %l, %flip : tile<f32, 16x16>
    for %6 = %k to %n {
      yield
    }
    %kept = if %b : tile<f32, 16x16> {
      %7 = mma %next, %held, %turned : tile<f32, 16x16>
      yield %7
    } else {
      yield %next
    }
    yield %kept, %m
  }
  store %y, %acc, %i, %j
  store_masked %y, %acc, %less, %i, %j
}
"#;

fn every_op() -> Kernel {
    parse(EVERY_OP, "every.tile").unwrap_or_else(|e| panic!("{e}"))
}

const ROLES: &str = r#"
kernel @roles(%x: global<bf16, 2>, %w: weight<e4m3, 2>, %y: global_mut<f32, 2>, %n: i32) stage specialised {
  producer {
    %i = work %n : i32
    ring_fill[bf16 16x64 of 2 at 0, e4m3 64x32 of 2 at 2048] %x, %i, %i, %w, %i, %i
  }
  consumer {
    %i.1 = work %n : i32
    %a, %b = ring_wait[bf16 16x64 of 2 at 0, e4m3 64x32 of 2 at 2048] : smem<bf16, 16x64>, smem<e4m3, 64x32>
    %r = read %b : tile<e4m3, 64x32>
    %c = cast %r : tile<bf16, 64x32>
    %0 = const 0.0 : f32
    %zero = splat %0 : tile<f32, 16x32>
    %acc = mma %zero, %a, %c : tile<f32, 16x32>
    ring_release %a, %b
    store %y, %acc, %i.1, %i.1
  }
}
"#;

#[test]
fn every_op_is_read_and_written() {
    let kernel = every_op();
    verify(&kernel).unwrap_or_else(|e| panic!("{e}"));
    assert!(kernel.ops.iter().all(|op| op.span.is_known()));
    round_trip(&kernel);
    insta::assert_snapshot!("every_op", format!("{kernel:#}"));
    let roles = parse(ROLES, "roles.tile").unwrap();
    verify(&roles).unwrap_or_else(|e| panic!("{e}"));
    round_trip(&roles);
    assert_eq!(format!("{roles:#}"), ROLES.trim_start());
    // What explicit roles ask of the program.
    let asking = ROLES
        .replace("stage specialised {", "stage specialised slots 4 {")
        .replace("producer {", "producer \"load\" warps 1 registers 56 {")
        .replace("consumer {", "consumer \"math\" warps 8 registers 224 {");
    let roles = parse(&asking, "roles.tile").unwrap();
    assert_eq!((roles.resources.slots, roles.resources.roles[1].registers), (4, 224));
    assert_eq!(roles.resources.roles[0].span.line, 3);
    assert_eq!(round_trip(&roles).resources, roles.resources);
    assert_eq!(format!("{roles:#}"), asking.trim_start());
}

/// `%y = op %x…` on operands of these types.
fn one_op(kind: OpKind, operands: &[Type], result: Type) -> Kernel {
    let mut k = Kernel::new("one");
    k.files.push("one.rs".into());
    for (i, t) in operands.iter().enumerate() {
        let value = k.add_value(t.clone());
        k.params.push(tile_lang::ir::Param { name: format!("x{i}"), value });
    }
    let operands = k.params.iter().map(|p| p.value).collect();
    let results = vec![k.add_value(result)];
    let span = Span { file: 0, line: 3, col: 9, len: 2 };
    let id = k.add_op(OpData { kind, operands, results, blocks: vec![], span, name: None });
    k.blocks[0].ops.push(id);
    k
}

#[test]
fn every_op_of_a_family_is_read_and_written() {
    use tile_lang::DType::Bool;
    use tile_lang::ir::Class;
    let check = |kind: OpKind, operands: &[Type], result: Type| {
        let k = one_op(kind, operands, result);
        verify(&k).unwrap_or_else(|e| panic!("{e}"));
        let read = round_trip(&k);
        assert_eq!(read.ops, k.ops);
    };
    let s = Type::Scalar;
    for op in UnaryOp::ALL {
        for d in op.class().types() {
            check(OpKind::Unary(*op), &[s(*d)], s(op.result(*d).unwrap()));
        }
    }
    for op in BinaryOp::ALL {
        for d in op.class().types() {
            check(OpKind::Binary(*op), &[s(*d), s(*d)], s(*d));
        }
    }
    for op in TernaryOp::ALL {
        for d in op.class().types() {
            check(OpKind::Ternary(*op), &[s(*d), s(*d), s(*d)], s(*d));
        }
    }
    for op in CmpOp::ALL {
        // Parameters are no bytes.
        for d in Class::Elem.types().iter().filter(|d| d.bits() > 8 || **d == Bool) {
            check(OpKind::Cmp(*op), &[s(*d), s(*d)], s(Bool));
        }
    }
    for op in ReduceOp::ALL {
        for d in op.class().types() {
            // The operand of a reduction is a tile, which no parameter is.
            let mut k = one_op(OpKind::Splat, &[s(*d)], Type::Tile(*d, vec![4, 8]));
            let result = k.add_value(Type::Tile(op.result(*d).unwrap(), vec![4]));
            let operands = k.ops[0].results.clone();
            let kind = OpKind::Reduce(*op, 1);
            let id = k.add_op(OpData {
                kind,
                operands,
                results: vec![result],
                blocks: vec![],
                span: Span::NONE,
                name: None,
            });
            k.blocks[0].ops.push(id);
            verify(&k).unwrap_or_else(|e| panic!("{e}"));
            round_trip(&k);
        }
    }
}

#[test]
fn places_point_into_the_text_where_it_has_no_table_of_files() {
    let k = every_op();
    let dim = &k.ops[0];
    assert_eq!((dim.span.line, dim.span.col, dim.span.len), (6, 3, 20));
    assert_eq!(k.files, ["every.tile"]);
    let text = "files \"a.rs\", \"b \\\"c\\\".rs\"\nkernel @f() stage tile {\n  %0 = const 1 : i32 @1:20:5:9\n  %1 = const 2 : i32\n}\n";
    let k = parse(text, "x.tile").unwrap();
    assert_eq!(k.files, ["a.rs", "b \"c\".rs"]);
    assert_eq!(k.ops[0].span, Span { file: 1, line: 20, col: 5, len: 9 });
    assert_eq!(k.ops[1].span, Span::NONE);
    assert_eq!(k.to_string(), text);
}

#[test]
fn mistakes_are_named_with_their_place() {
    let wrap = |body: &str| format!("kernel @k(%x: global<f32, 1>, %n: i32) stage tile {{\n  {body}\n}}\n");
    let error = |text: &str| parse(text, "k.tile").unwrap_err().to_string();
    let mut all = String::new();
    for body in [
        "%a = const 1.0 f32",
        "%a = neg %q : f32",
        "%a = const 1.0 : f32 %a = const 2.0 : f32",
        "%a = neg %n : float",
        "%a = frob %n : i32",
        "%a = reduce[median, 0] %n : i32",
        "%a = const 99999999999 : i32",
        "%a, %b = neg %n : i32",
        "store %x, %n,",
        "if %n { yield } otherwise { yield }",
        "%a = for %i = %n to %n with (%c = %n) : i32 {",
        "%a = neg %n : i32 @1:2:3",
    ] {
        all += &format!("{body}\n{}\n\n", error(&wrap(body)));
    }
    for text in ["", "kernel k() {}", "kernel @k() stage late {}", "kernel @a() {} kernel @b() {}"] {
        all += &format!("{text}\n{}\n\n", error(text));
    }
    insta::assert_snapshot!("mistakes", all);
    let deep = "{".repeat(100_000);
    assert!(error(&format!("kernel @k() {deep}")).contains("deep"));
}

#[test]
fn one_reading_finds_all_mistakes() {
    let text = r#"
kernel @first<N=4>(%x: global<f32, 1>, %n: i32, %b: bool) stage tile {
  %a = const 1.0 :
  %c = neg %a : f32
  %d = ned %c : f32
  %e, %f = for %i = %n too %n with (%g = %a, %h = %n) : f32, i32 {
    %j = add %g %a : f32
    yield %j, %h
  }
  if %b {
    yield
  } otherwise {
    %k = neg %missing : f32
    yield
  }
  %l = load %x, %n,
  %m = exp %e : flat
}
kernel second() stage tile {
  %y = const 1 ; i32
}
kernel @third(%v: i32) stage tiel {
  %w = neg %z : i32
"#;
    let errors = parse_all(text, "many.tile").unwrap_err();
    insta::assert_snapshot!("all_mistakes", errors.to_string());
}

#[test]
fn what_is_too_long_is_refused() {
    let long = format!("kernel @k() {{}}{}", " ".repeat(17 << 20));
    assert!(parse(&long, "k.tile").unwrap_err().to_string().contains("17825806 bytes long"), "limit of bytes");
    let word = parse(&"x".repeat(1 << 20), "k.tile").unwrap_err().to_string();
    assert!(word.len() < 400, "{} characters", word.len());
}

#[test]
fn places_of_the_text_can_be_asked_for() {
    let text = "files \"a.rs\"\nkernel @f() stage tile {\n  %0 = const 1 : i32 @0:20:5:9\n}\n";
    let read = parse_all_at(text, "x.tile", Places::Text).unwrap().remove(0);
    assert_eq!(read.files, ["x.tile"]);
    assert_eq!((read.ops[0].span.line, read.ops[0].span.col), (3, 3));
}

/// Corrupts the kernel with every op and expects the verifier to say this.
fn rejects(change: impl FnOnce(&mut Kernel), expected: &str) {
    let mut k = every_op();
    change(&mut k);
    let e = verify(&k).expect_err(expected).to_string();
    assert!(e.contains(expected), "expected `{expected}`, got\n{e}");
    // A kernel that is not well-formed can still be looked at.
    assert!(!k.to_string().is_empty());
}

/// The first op of a mnemonic that makes something, or that writes.
fn op<'k>(k: &'k mut Kernel, mnemonic: &str) -> &'k mut OpData {
    let found = |op: &&mut OpData| op.kind.mnemonic() == mnemonic && (mnemonic != "for" || !op.results.is_empty());
    k.ops.iter_mut().find(found).unwrap()
}

#[test]
fn the_verifier_finds_what_is_corrupted() {
    rejects(|k| op(k, "lt").operands[0] = ValueId(9999), "does not exist");
    rejects(|k| op(k, "lt").operands[0] = op(k, "mma").results[0], "is not made before it");
    rejects(|k| k.blocks[0].ops.swap(4, 11), "is not made before it");
    rejects(
        |k| {
            let inner = op(k, "if").results[0];
            op(k, "store").operands[1] = inner;
        },
        "is not made before it",
    );
    rejects(|k| op(k, "lt").results[0] = ValueId(0), "is made elsewhere too");
    rejects(|k| k.blocks[0].ops.push(tile_lang::ir::OpId(0)), "is listed twice");
    rejects(|k| k.blocks[0].ops.push(tile_lang::ir::OpId(9999)), "does not exist");
    rejects(
        |k| {
            let body = op(k, "for").blocks[0];
            k.blocks[body.index()].ops.pop();
        },
        "does not end in a `yield`",
    );
    rejects(
        |k| {
            let body = op(k, "if").blocks[0];
            k.blocks[body.index()].ops.pop();
        },
        "does not end in a `yield`",
    );
    rejects(
        |k| {
            let id = k.add_op(OpData {
                kind: OpKind::Yield,
                operands: vec![],
                results: vec![],
                blocks: vec![],
                span: Span::NONE,
                name: None,
            });
            k.blocks[0].ops.push(id);
        },
        "a `yield` stands only at the end",
    );
    rejects(
        |k| {
            let body = op(k, "if").blocks[0];
            op(k, "if").blocks[1] = body;
        },
        "is used twice",
    );
    rejects(|k| op(k, "if").blocks.truncate(1), "has 2 blocks, not 1");
    rejects(
        |k| {
            let body = op(k, "for").blocks[0];
            k.blocks[body.index()].args.pop();
        },
        "takes (i32, tile<f32, 16x16>), needs",
    );
    rejects(|k| k.bodies.clear(), "needs a body");
    rejects(|k| k.bodies[0].1 = tile_lang::ir::BlockId(77), "does not exist");
    rejects(|k| k.params[0].value = ValueId(9999), "does not exist");
}

fn set_type(k: &mut Kernel, mnemonic: &str, ty: Type) {
    let v = op(k, mnemonic).results[0];
    k.values[v.index()].ty = ty;
}

#[test]
fn the_verifier_finds_wrong_types() {
    use tile_lang::DType::{Bf16, E8m0, F32, I32};
    let tile = |d, s: &[usize]| Type::Tile(d, s.to_vec());
    rejects(|k| set_type(k, "lt", tile(F32, &[16, 16])), "`lt` gives (tile<bool, 16x16>)");
    rejects(|k| set_type(k, "iota", tile(I32, &[16, 24])), "can't make a value of type tile<i32, 16x24>");
    rejects(|k| set_type(k, "cast", tile(E8m0, &[16, 16])), "`transpose` gives (tile<e8m0, 16x16>)");
    rejects(|k| set_type(k, "cast", tile(Bf16, &[16, 32])), "`cast` gives");
    rejects(|k| set_type(k, "broadcast", tile(I32, &[32, 16])), "`broadcast` gives");
    rejects(|k| set_type(k, "repeat", tile(I32, &[64])), "`repeat` gives");
    rejects(|k| set_type(k, "reduce", tile(F32, &[8])), "`reduce` gives");
    rejects(|k| set_type(k, "load", tile(F32, &[16, 16])), "`load` gives");
    rejects(|k| set_type(k, "stage", Type::Smem(Bf16, vec![1, 4])), "copies 8 bytes");
    rejects(|k| set_type(k, "slice", Type::Smem(Bf16, vec![32, 16])), "is not inside");
    rejects(|k| set_type(k, "mma", tile(F32, &[16, 8])), "`mma` gives");
    rejects(|k| set_type(k, "const", Type::Scalar(I32)), "`const` gives (f32)");
    rejects(|k| set_type(k, "for", tile(F32, &[8, 8])), "yields (");
    rejects(|k| set_type(k, "select", Type::Error), "has no type");
    rejects(|k| op(k, "dim").kind = OpKind::Dim(2), "`dim` does not take");
    rejects(|k| op(k, "slice").kind = OpKind::Slice(vec![usize::MAX, 0]), "is not inside");
    rejects(|k| op(k, "splat").kind = OpKind::Read, "`read` does not take");
    rejects(|k| op(k, "lt").kind = OpKind::Binary(BinaryOp::Shl), "`shl` gives");
    rejects(|k| op(k, "ge").kind = OpKind::Const(Literal::Bool(true)), "`const` does not take");
    rejects(|k| op(k, "set").operands.truncate(2), "`set` does not take");
    rejects(|k| op(k, "store").operands[0] = k.params[0].value, "`store` does not take");
    rejects(|k| op(k, "load").operands[0] = k.params[1].value, "`load` does not take");
    rejects(|k| op(k, "lt").operands[0] = k.params[0].value, "`lt` does not take");
    rejects(|k| k.values[0].ty = tile(F32, &[4]), "parameter `x` can't be");
}

#[test]
fn the_verifier_finds_what_a_stage_or_the_launch_forbids() {
    rejects(|k| k.stage = Stage::Specialised, "`stage` is not legal at stage specialised");
    rejects(
        |k| {
            let part = RingPart { dtype: DType::Bf16, shape: vec![32, 48], rank: 2, offset: 0 };
            let stage = op(k, "stage");
            stage.kind = OpKind::RingWait(vec![part]);
            stage.operands.clear();
        },
        "`ring_wait` is not legal at stage tile",
    );
    rejects(|k| k.bodies[0].0 = Role::Producer, "roles are split at stage tile");
    rejects(|k| k.bodies.push(k.bodies[0]), "one body for all warps or one for each role");
    rejects(|k| op(k, "work").operands[0] = op(k, "work").results[0], "is not made before it");
    let mut roles = parse(ROLES, "roles.tile").unwrap();
    roles.bodies.iter_mut().for_each(|b| {
        b.0 = if b.0 == Role::Producer { Role::Consumer } else { Role::Producer };
    });
    assert!(verify(&roles).unwrap_err().to_string().contains("does not belong into the body of role consumer"));
    let check = |body: &str, expected: &str| {
        let text = format!("kernel @k(%x: global<i32, 1>, %n: i32) stage tile {{\n{body}\n}}");
        let e = verify(&parse(&text, "k.tile").unwrap()).unwrap_err().to_string();
        assert!(e.contains(expected), "expected `{expected}`, got\n{e}");
    };
    check("%a = work %n : i32 %b = work %n : i32", "asks for its work once");
    check("%a = at %x, %n : i32 %b = work %a : i32", "`work` depends on `at`, which is not known at launch");
    check("for %i = %n to %n { %a = work %n : i32 yield }", "`work` stands inside a loop");
    check("for %i = %n to %n { %c = lt %i, %n : bool require[\"c\"] %c yield }", "depends on a loop variable");
}

/// The kernel with every tile of the main shape stored where its last store writes, right before that.
fn keeping(kernel: &Kernel) -> Kernel {
    let mut k = kernel.clone();
    let body = k.body(Role::All).unwrap();
    let mut ops = k.block(body).ops.clone();
    let last = ops.pop().unwrap();
    let OpData { kind: OpKind::Store, operands, .. } = k.op(last).clone() else { panic!("it ends in a store") };
    let shape = k.ty(operands[1]).shape().to_vec();
    let integers = Type::Tile(DType::I32, shape.clone());
    let values: Vec<ValueId> = ops.iter().flat_map(|op| k.op(*op).results.clone()).collect();
    for v in values {
        let new =
            |kind, operands, results| OpData { kind, operands, results, blocks: vec![], span: Span::NONE, name: None };
        let bits = match k.ty(v) {
            ty if *ty == integers => v,
            Type::Tile(DType::F32, s) if *s == shape => {
                let bits = k.add_value(integers.clone());
                ops.push(k.add_op(new(OpKind::Unary(UnaryOp::ToBits), vec![v], vec![bits])));
                bits
            }
            _ => continue,
        };
        let stored = [&[operands[0], bits], &operands[2..]].concat();
        ops.push(k.add_op(new(OpKind::Store, stored, vec![])));
    }
    assert!(ops.len() > k.block(body).ops.len(), "nothing was kept");
    ops.push(last);
    k.blocks[body.index()].ops = ops;
    k
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Generated programs with their schedules survive the round trip, and mean the same after it.
    #[test]
    fn generated_programs_survive(seed in any::<u64>()) {
        let kernel = Program::random(seed).kernel();
        verify(&kernel).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
        let read = round_trip(&kernel);
        prop_assert_eq!(generate::run(&kernel).unwrap(), generate::run(&read).unwrap());
    }

    /// Values that are kept to the end don't change what is computed: no buffer is reused too early.
    #[test]
    fn reusing_buffers_changes_nothing(seed in any::<u64>()) {
        let kernel = Program { pins: Vec::new(), ..Program::random(seed) }.kernel();
        let kept = keeping(&kernel);
        verify(&kept).unwrap_or_else(|e| panic!("{e}\n{kept}"));
        prop_assert_eq!(generate::run(&kernel).unwrap(), generate::run(&kept).unwrap());
    }

    /// Every f32 survives as a literal.
    #[test]
    fn literals_keep_their_bits(bits in any::<u32>()) {
        let k = one_op(OpKind::Const(Literal::F32(f32::from_bits(bits))), &[], Type::Scalar(DType::F32));
        let read = round_trip(&k);
        let OpKind::Const(Literal::F32(x)) = read.ops[0].kind else { panic!("not a constant") };
        prop_assert_eq!(x.to_bits(), bits);
    }

    /// No text makes the parser or the verifier panic.
    #[test]
    fn any_text_gives_an_answer(cut in 0usize..2400, junk in "[%@{}\\[\\]:=,a-z0-9 .\"<>-]{0,12}", skip in 0usize..40) {
        let at = |i: usize| i.min(EVERY_OP.len());
        let changed = format!("{}{junk}{}", &EVERY_OP[..at(cut)], &EVERY_OP[at(cut + skip)..]);
        if let Ok(kernel) = parse(&changed, "junk.tile") {
            let _ = verify(&kernel);
        }
    }
}
