//! Products, norms, MLPs and experts of the kernel library against the reference, on the interpreter.

mod kernels_common;

use kernels_common::*;
use tile_lang::DType::{Bf16, F32, I32};
use tile_lang::build::Generic;
use tile_lang::interp::{ArgValue, Precision};
use tile_models::checkpoint::{GatedMlp, Matrix};
use tile_models::kernels::library::samples;
use tile_models::kernels::{embed, experts, head, linear, mlp, norm, router, state};
use tile_models::reference::{self, moe, ops};

fn product(x: &[f32], w: &Matrix<'_>) -> Vec<f32> {
    ops::linear(x, w, reference::Precision::F32)
}

#[test]
fn every_kernel_stages_and_verifies() {
    let mut failed = Vec::new();
    for sample in samples() {
        match sample.def.instance(&sample.generics) {
            Ok(kernel) => {
                if let Err(e) = tile_lang::ir::verify(&kernel) {
                    failed.push(format!("{}: {e}", sample.def.name));
                }
            }
            Err(e) => failed.push(format!("{}: {e}", sample.def.name)),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Rows, outputs, inputs, columns of a tile.
const SHAPES: [[usize; 4]; 4] = [[8, 16, 128, 128], [8, 37, 96, 128], [16, 5, 640, 256], [8, 100, 1184, 512]];

const PRECISIONS: [(Precision, f32); 2] = [(Precision::F32, 2e-5), (Precision::Native, 2e-2)];

#[test]
fn products_in_every_format() {
    let mut random = Random(1);
    for kind in Kind::ALL {
        for [t, n, k, bk] in SHAPES {
            for norm in [0, 1] {
                let w = kind.matrix(&mut random, n, k);
                let (x, gain, y) = (random.numbers(t * k), random.numbers(k), random.numbers(t * n));
                let h = if norm == 1 { ops::rms_norm(&x, &gain, 1e-5) } else { x.clone() };
                let want = product(&h, &w);
                let def = kind.of([linear::linear::DEF, linear::linear_fp8::DEF, linear::linear_mxfp4::DEF]);
                let types: Vec<Generic> = vec![F32.into(), F32.into(), norm.into(), t.into(), 16.into()];
                let generics = [kind.element(), types, kind.blocks(bk)].concat();
                let add =
                    kind.of([linear::linear_add::DEF, linear::linear_add_fp8::DEF, linear::linear_add_mxfp4::DEF]);
                let add_generics = [kind.element(), vec![F32.into(), t.into(), 16.into()], kind.blocks(bk)].concat();
                for (precision, tolerance) in PRECISIONS {
                    let what = format!("{kind:?} {t}x{n}x{k} norm {norm} {precision:?}");
                    let out = zeros(F32, &[t, n]);
                    let mut args = weights(kind, std::slice::from_ref(&w), false);
                    args.extend([reals(F32, &[t, k], &x).into(), reals(F32, &[k], &gain).into(), out.clone().into()]);
                    args.push(1e-5.into());
                    run(def, &generics, &args, precision);
                    close(&out.to_f32(), &want, tolerance, &what);
                    if norm == 0 {
                        let sum = reals(F32, &[t, n], &y);
                        let mut args = weights(kind, std::slice::from_ref(&w), false);
                        args.extend([reals(F32, &[t, k], &x).into(), sum.clone().into()]);
                        run(add, &add_generics, &args, precision);
                        let want: Vec<f32> = want.iter().zip(&y).map(|(a, b)| a + b).collect();
                        close(&sum.to_f32(), &want, tolerance, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn gated_mlps_in_every_format() {
    let mut random = Random(2);
    for kind in Kind::ALL {
        for [t, n, k, bk] in SHAPES {
            let (gate, up) = (kind.matrix(&mut random, n, k), kind.matrix(&mut random, n, k));
            let (x, gain) = (random.numbers(t * k), random.numbers(k));
            let h = ops::rms_norm(&x, &gain, 1e-6);
            let (g, u) = (product(&h, &gate), product(&h, &up));
            let want: Vec<f32> = g.iter().zip(&u).map(|(g, u)| ops::silu(*g) * u).collect();
            let def = kind.of([mlp::swiglu::DEF, mlp::swiglu_fp8::DEF, mlp::swiglu_mxfp4::DEF]);
            let types: Vec<Generic> = vec![F32.into(), 1.into(), t.into(), 16.into()];
            let generics = [kind.element(), types, kind.blocks(bk)].concat();
            for (precision, tolerance) in PRECISIONS {
                let out = zeros(Bf16, &[t, n]);
                let mut args = weights(kind, std::slice::from_ref(&gate), false);
                args.extend(weights(kind, std::slice::from_ref(&up), false));
                args.extend([reals(F32, &[t, k], &x).into(), reals(F32, &[k], &gain).into(), out.clone().into()]);
                args.push(1e-6.into());
                run(def, &generics, &args, precision);
                close(&out.to_f32(), &want, tolerance, &format!("{kind:?} {t}x{n}x{k} {precision:?}"));
            }
        }
    }
}

#[test]
fn heads_run_only_where_a_choice_is_needed() {
    let mut random = Random(3);
    for kind in [Kind::Bf16, Kind::Fp8] {
        for choices in [0, 1] {
            let (t, n, k) = (8, 37, 200);
            let w = kind.matrix(&mut random, n, k);
            let (x, gain) = (random.numbers(t * k), random.numbers(k));
            let want = product(&ops::rms_norm(&x, &gain, 1e-5), &w);
            let mut words = [0; state::STATE_WORDS];
            words[state::CHOICES as usize] = choices;
            let out = marked(F32, &[t, n]);
            let mut args = weights(kind, &[w], false);
            args.extend([reals(F32, &[t, k], &x).into(), reals(F32, &[k], &gain).into()]);
            args.extend([integers(&[words.len()], &words).into(), out.clone().into(), ArgValue::from(1e-5)]);
            let def = kind.of([head::head::DEF, head::head_fp8::DEF, head::head::DEF]);
            let types: Vec<Generic> = vec![F32.into(), 1.into(), t.into(), 16.into()];
            run(def, &[kind.element(), types, kind.blocks(128)].concat(), &args, Precision::F32);
            if choices == 0 {
                assert!(out.to_f32().iter().all(|x| *x == MARK));
            } else {
                close(&out.to_f32(), &want, 2e-5, "head");
            }
        }
    }
}

#[test]
fn embeddings_and_norms() {
    let mut random = Random(4);
    for (t, v, k) in [(8, 11, 40), (16, 3, 300)] {
        let table = random.bf16s(v * k);
        let tokens: Vec<i32> = (0..t).map(|_| random.below(v) as i32).collect();
        let x = zeros(F32, &[t, k]);
        let args = [reals(Bf16, &[v, k], &table).into(), integers(&[t], &tokens).into(), x.clone().into()];
        run(embed::embed::DEF, &[Bf16.into(), 64.into()], &args, Precision::Native);
        let want: Vec<f32> = tokens.iter().flat_map(|i| table[*i as usize * k..][..k].to_vec()).collect();
        assert_eq!(x.to_f32(), want);

        let gain = random.numbers(k);
        let y = zeros(F32, &[t, k]);
        let args = [x.clone().into(), reals(F32, &[k], &gain).into(), y.clone().into(), ArgValue::from(1e-5)];
        run(norm::rms_norm::DEF, &[F32.into(), F32.into(), 64.into()], &args, Precision::Native);
        close(&y.to_f32(), &ops::rms_norm(&want, &gain, 1e-5), 1e-5, "norm");
    }
}

/// Valid rows, rows, experts, chosen ones, width, parts of the columns.
const ROUTES: [[usize; 6]; 6] = [
    [8, 8, 16, 4, 128, 1],
    [1, 8, 12, 3, 384, 3],
    [5, 8, 40, 1, 200, 2],
    [16, 16, 6, 6, 100, 1],
    [3, 8, 1, 1, 64, 1],
    [7, 8, 130, 8, 96, 1],
];

#[test]
fn routing_and_experts() {
    let mut random = Random(5);
    for [rows, t, e, top_k, k, parts] in ROUTES {
        let what = format!("{rows} of {t} rows, {top_k} of {e} experts, width {k}");
        let (x, gain, bias) = (random.numbers(t * k), random.numbers(k), random.numbers(e));
        let weight = random.numbers(e * k);
        let h = ops::rms_norm(&x, &gain, 1e-5);
        let want = moe::route(&h, &weight, &bias, top_k, true, 1.5);

        let part = zeros(F32, &[parts, t, e]);
        let args = [
            reals(F32, &[e, k], &weight).into(),
            reals(F32, &[t, k], &x).into(),
            reals(F32, &[k], &gain).into(),
            part.clone().into(),
            ArgValue::from(1e-5),
        ];
        let generics: Vec<Generic> = vec![F32.into(), F32.into(), 1.into(), 1.into(), t.into(), 16.into(), 128.into()];
        run(router::router_logits::DEF, &generics, &args, Precision::Native);
        let sums: Vec<f32> = (0..t * e).map(|i| (0..parts).map(|p| part.to_f32()[p * t * e + i]).sum()).collect();
        close(&sums, &ops::linear_f32(&h, &weight, e), 1e-4, &what);

        let slots = e.min(t * top_k);
        let mut words = [0; state::STATE_WORDS];
        words[state::ROWS as usize] = rows as i32;
        let (weights_out, list, count) = (zeros(F32, &[e, t]), zeros(I32, &[slots]), zeros(I32, &[1]));
        let args: [ArgValue; 7] = [
            part.into(),
            reals(F32, &[e], &bias).into(),
            integers(&[words.len()], &words).into(),
            weights_out.clone().into(),
            list.clone().into(),
            count.clone().into(),
            1.5.into(),
        ];
        let generics = [t, e.next_power_of_two(), slots.next_power_of_two(), top_k, 1].map(Generic::from);
        run(router::route::DEF, &generics, &args, Precision::Native);
        let mut dense = vec![0.0; e * t];
        for (row, route) in want.iter().enumerate().take(rows) {
            for (expert, weight) in route.experts.iter().zip(&route.weights) {
                dense[expert * t + row] = *weight;
            }
        }
        close(&weights_out.to_f32(), &dense, 1e-4, &what);
        let mut used: Vec<i32> = want[..rows].iter().flat_map(|r| r.experts.iter().map(|e| *e as i32)).collect();
        used.sort();
        used.dedup();
        assert_eq!(count.to_i32(), [used.len() as i32], "{what}");
        assert_eq!(list.to_i32()[..used.len()], used, "{what}");

        for kind in Kind::ALL {
            if kind == Kind::Mxfp4 && k % 32 != 0 {
                continue;
            }
            let inner = 96;
            let mut pile = |n, k| (0..e).map(|_| kind.matrix(&mut random, n, k)).collect::<Vec<_>>();
            let (gate, up, down) = (pile(inner, k), pile(inner, k), pile(k, inner));
            let y = zeros(Bf16, &[slots, t, inner]);
            let mut args = [weights(kind, &gate, true), weights(kind, &up, true)].concat();
            args.extend([list.clone().into(), count.clone().into(), reals(F32, &[t, k], &x).into()]);
            args.extend([reals(F32, &[k], &gain).into(), y.clone().into(), ArgValue::from(1e-5)]);
            let def = kind.of([
                experts::experts_swiglu::DEF,
                experts::experts_swiglu_fp8::DEF,
                experts::experts_swiglu_mxfp4::DEF,
            ]);
            let types: Vec<Generic> = vec![F32.into(), 1.into(), t.into(), 16.into()];
            run(def, &[kind.element(), types, kind.blocks(128)].concat(), &args, Precision::F32);

            let out = reals(F32, &[t, k], &x);
            let mut args = weights(kind, &down, true);
            args.extend([list.clone(), count.clone(), weights_out.clone(), y, out.clone()].map(ArgValue::from));
            let def =
                kind.of([experts::experts_down::DEF, experts::experts_down_fp8::DEF, experts::experts_down_mxfp4::DEF]);
            run(def, &[kind.element(), vec![t.into(), 16.into()], kind.blocks(128)].concat(), &args, Precision::F32);

            let mut want = x.clone();
            for row in 0..rows {
                for e in &used {
                    let weight = dense[*e as usize * t + row];
                    let e = *e as usize;
                    let (gate, up, down) = (gate[e].clone(), up[e].clone(), down[e].clone());
                    let y = ops::swiglu(&h[row * k..][..k], &GatedMlp { gate, up, down }, reference::Precision::F32);
                    want[row * k..][..k].iter_mut().zip(y).for_each(|(o, y)| *o += weight * y);
                }
            }
            close(&out.to_f32(), &want, 1e-4, &format!("{what} {kind:?}"));
        }
    }
}
