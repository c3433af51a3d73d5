#!/usr/bin/env python3
"""Measures vendors' kernels right before and right after ours, on one machine in one run.

    in_turns.py products  --suite ./device-suite --pack DIR --out OUT    needs `device-pack DIR --sweep`
    in_turns.py attention --suite ./device-suite --pack DIR --out OUT    needs `device-pack DIR --only large_prefill --large`

Rows go to OUT/peers.jsonl, and ours to OUT/sweep.jsonl or OUT/device.jsonl, in the form of tests/results. Inputs are random. A time is the
median of launches of a captured graph with one call in it, each behind an untimed one, as ours are measured.
"""
import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys

import torch

REPEATS = 25


def driver():
    line = open("/proc/driver/nvidia/version").readline()
    return next((w for w in line.split() if w.count(".") >= 2 and w.replace(".", "").isdigit()), "")


def times(call):
    """µs of each timed launch."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    out = []
    for i in range(REPEATS + 3):
        graph.replay()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        if i >= 3:
            out.append(begin.elapsed_time(end) * 1e3)
    return out


def dense(m, n, k):
    a, w = torch.randn(m, k, device="cuda").bfloat16(), torch.randn(n, k, device="cuda").bfloat16()
    c = torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
    return "cuBLAS", lambda: torch.mm(a, w.t(), out=c)


def fp8(m, n, k):
    a, w = (torch.randn(r, k, device="cuda").to(torch.float8_e4m3fn) for r in (m, n))
    one = torch.ones((), device="cuda")
    fast = dict(out_dtype=torch.bfloat16, use_fast_accum=True)
    return "cuBLASLt", lambda: torch._scaled_mm(a, w.t(), one, one, **fast)


def prefill(tokens, heads=64, groups=8, d=192, dv=128):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    q, k, v = (torch.randn(1, h, tokens, e, device="cuda").bfloat16() for h, e in ((heads, d), (groups, d), (groups, dv)))

    def call():
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return "cuDNN", call


def measure(work, shape, dtype, flops, size, peer, ours, args, extra):
    """The peer, ours, and the peer again; one row of the peer."""
    name, call = peer
    before = times(call)
    code = subprocess.run([args.suite] + ours).returncode
    after = times(call)
    us = statistics.median(before + after)
    row = {
        "suite": "peers", "work": work, "shape": shape, "dtype": dtype, "impl": f"{name} (PyTorch {torch.__version__})",
        "us": us, "us_min": min(before + after), "bytes": size, "flops": flops, "share": None, "error": None, "ptx_sha256": "", "commit": "",
        "driver": driver(), "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": " ".join([os.path.basename(sys.argv[0])] + sys.argv[1:]), "machine": f"cuda:0 {torch.cuda.get_device_name()}",
        "before_us": statistics.median(before), "after_us": statistics.median(after), **extra,
    }
    with open(os.path.join(args.out, "peers.jsonl"), "a") as f:
        f.write(json.dumps(row) + "\n")
    print(f"{name} {work} {shape}: {row['before_us']:.1f} us before ours, {row['after_us']:.1f} after; {flops / us * 1e-6:.0f} TFLOP/s", flush=True)
    return code


def products(args):
    dense_shapes = [(1024,) * 3, (2048,) * 3, (4096,) * 3, (8192,) * 3, (512, 8192, 8192), (1000, 4096, 4096), (5120, 3584, 7168)]
    works = [("gemm", dense, "bf16", 2, s) for s in dense_shapes]
    works += [("gemm_fp8", fp8, "e4m3", 1, s) for s in [(4096,) * 3, (5120, 3584, 7168)]]
    failed = 0
    for work, make, dtype, element, (m, n, k) in works:
        shape = f"{m}x{n}x{k}"
        # The blocks of FP8 have no peer of their own: they run with those that have one scale.
        only = f"sweep_{work}_{shape}"
        for name in [only] + ([f"sweep_gemm_fp8_blocks_{shape}"] if work == "gemm_fp8" else []):
            ours = ["sweep", args.pack, "--only", name, "--results", os.path.join(args.out, "sweep.jsonl"), "--commit", args.commit]
            size = element * (m * k + n * k) + 2 * m * n
            failed += measure(work, shape, dtype, 2 * m * n * k, size, make(m, n, k), ours, args, {"extents": [m, n, k]}) != 0
    return failed


def attention(args):
    failed = 0
    for tokens in (4096, 16384):
        flops = 64 * tokens * (tokens + 1) // 2 * 2 * (192 + 128)
        size = 2 * tokens * (64 * (192 + 128) + 8 * (192 + 128))
        ours = [args.pack, "--only", f"large_prefill_h64_8_d192_128_{tokens}of{tokens}_causal", "--bench", "--no-sim"]
        ours += ["--results", os.path.join(args.out, "device.jsonl"), "--commit", args.commit]
        shape = f"h64_8_d192_128_{tokens}_causal"
        failed += measure("prefill", shape, "bf16", flops, size, prefill(tokens), ours, args, {}) != 0
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["products", "attention"])
    parser.add_argument("--suite", required=True, help="the device-suite program")
    parser.add_argument("--pack", required=True, help="folder that device-pack wrote")
    parser.add_argument("--out", required=True, help="folder for rows")
    parser.add_argument("--commit", default="", help="of the source of ours")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    sys.exit(1 if {"products": products, "attention": attention}[args.what](args) else 0)


if __name__ == "__main__":
    main()
