use tile_codegen::{lower, mlir, ptxas};
use tile_lang::DType;
use tile_lang::build::Generic as G;
use tile_models::kernels as k;
fn main() {
    let t = G::Int(16);
    let list: Vec<(&str, tile_lang::build::KernelDef, Vec<G>)> = vec![
        ("linear", k::linear::linear::DEF, vec![G::Type(DType::Bf16), G::Type(DType::F32), G::Type(DType::F32), G::Int(1), t.clone(), G::Int(16), G::Int(128)]),
        ("fp8", k::linear::linear_fp8::DEF, vec![G::Type(DType::F32), G::Type(DType::F32), G::Int(1), t.clone(), G::Int(16), G::Int(256), G::Int(2)]),
        ("mxfp4", k::linear::linear_mxfp4::DEF, vec![G::Type(DType::Bf16), G::Type(DType::F32), G::Int(0), t.clone(), G::Int(16), G::Int(256), G::Int(8)]),
        ("attention", k::attention::attention::DEF, vec![G::Int(4), G::Int(16), G::Int(2), G::Int(32), G::Int(72), G::Int(32), G::Int(40), G::Int(128)]),
    ];
    let only = std::env::args().nth(1);
    for (name, def, generics) in list {
        if only.as_deref().is_some_and(|o| o != name) { continue; }
        println!("== {name} {:?}", def.generics);
        let kernel = match def.instance(&generics) { Ok(k) => k, Err(e) => { println!("{e}"); continue } };
        let facts = vec![vec![lower::ParamFacts { dims: None, aligned: 1, copied_later: false }; kernel.params.len()]];
        let a = match lower::assemble(name, &[kernel], &facts, lower::Machine::SM_90A) { Ok(a) => a, Err(e) => { println!("{e}"); continue } };
        std::fs::write(format!("/tmp/{name}.mlir"), &a.mlir).unwrap();
        let start = std::time::Instant::now();
        match mlir::to_ptx(name, &a.mlir) {
            Ok(ptx) => {
                let took = start.elapsed();
                std::fs::write(format!("/tmp/{name}.ptx"), &ptx).unwrap();
                match ptxas::assemble(&ptx, "sm_90a") {
                    Ok(s) => println!("{took:?} mlir {} KB ptx {} lines, regs {} spills {} {:?} slots {} exch {}", a.mlir.len()/1024, ptx.lines().count(), s.registers, s.spill_stores, s.warnings, a.slots, a.exchange_bytes),
                    Err(e) => println!("{e}"),
                }
            }
            Err(e) => println!("{e}"),
        }
    }
}
