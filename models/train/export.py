"""Writes a model in the published layout of MiMo-V2's FP4 releases, and reads such a folder back.

Fused qkv and the dense MLP are FP8 e4m3 with F32 scales for blocks of 128x128 (every qkv chunk has a grid of its own), the
experts MXFP4, the router F32, the rest BF16.
"""
import json
import os
from dataclasses import asdict, fields

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from data import EOT
from model import Config, E2M1, GROUP, Model, mxfp4_codes

BLOCK = 128
EXPERT_MATRICES = ("gate_proj", "up_proj", "down_proj")


def config_json(c):
    """The published config.json's fields."""
    out = dict(
        architectures=["MiMoV2ForCausalLM"],
        quantization_config=dict(
            activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=[BLOCK, BLOCK],
            store_dtype="mxfp4", mxfp4_block_size=GROUP,
            ignored_layers=[f"model.layers.{l}.self_attn.o_proj" for l in range(len(c.hybrid_layer_pattern))]
            + ["model.decoder.self_attn.o_proj"]),
        add_full_attention_sink_bias=False, add_swa_attention_sink_bias=True, attention_bias=False, attention_dropout=0.0,
        attention_projection_layout="fused_qkv", hidden_act="silu", initializer_range=0.02, model_type="mimo_v2", n_group=1,
        n_shared_experts=None, norm_topk_prob=True, num_hidden_layers=len(c.hybrid_layer_pattern),
        routed_scaling_factor=None, scoring_func="sigmoid", tie_word_embeddings=False, topk_group=1, topk_method="noaux_tc",
        torch_dtype="bfloat16", transformers_version="4.57.1", use_cache=True, bos_token_id=0, eos_token_id=0,
        attention_chunk_size=c.sliding_window, sliding_window_size=c.sliding_window, swa_head_dim=c.head_dim,
        swa_v_head_dim=c.v_head_dim, swa_num_attention_heads=c.num_attention_heads, **asdict(c))
    return dict(sorted(out.items()))


def fp8(w):
    """[N, K] -> e4m3 codes [N, K], F32 scales [ceil(N/128), ceil(K/128)]; value = code x scale."""
    codes = torch.empty(w.shape, dtype=torch.float8_e4m3fn)
    scales = torch.empty(-(-w.shape[0] // BLOCK), -(-w.shape[1] // BLOCK))
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            at = slice(i * BLOCK, (i + 1) * BLOCK), slice(j * BLOCK, (j + 1) * BLOCK)
            scales[i, j] = (w[at].abs().max() / 448).clamp_min(1e-12)
            codes[at] = (w[at] / scales[i, j]).clamp(-448, 448).to(torch.float8_e4m3fn)
    return codes, scales


def fp8_values(codes, scales):
    grid = scales.repeat_interleave(BLOCK, 0)[:codes.shape[0]].repeat_interleave(BLOCK, 1)[:, :codes.shape[1]]
    return codes.float() * grid


def stored_tensors(model):
    """{published name: tensor as stored}."""
    c, out = model.c, {}
    state = {name: x.float().cpu() for name, x in model.state_dict().items()}
    bf16 = lambda name: state[name].bfloat16()
    out["model.embed_tokens.weight"], out["model.norm.weight"] = bf16("embed_tokens"), bf16("norm")
    out["lm_head.weight"] = bf16("lm_head")
    for l, (sliding, moe) in enumerate(zip(c.hybrid_layer_pattern, c.moe_layer_freq)):
        mine, p = f"layers.{l}.", f"model.layers.{l}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            out[f"{p}{name}.weight"] = bf16(mine + name)
        parts = [state[f"{mine}self_attn.{x}_proj"].chunk(c.num_key_value_heads) for x in "qkv"]
        codes, scales = map(torch.cat, zip(*(fp8(torch.cat(chunk)) for chunk in zip(*parts))))
        qkv = p + "self_attn.qkv_proj.weight"
        out[qkv], out[qkv + "_scale_inv"] = codes, scales
        out[p + "self_attn.o_proj.weight"] = bf16(mine + "self_attn.o_proj")
        if sliding:
            out[p + "self_attn.attention_sink_bias"] = bf16(mine + "self_attn.attention_sink_bias")
        if not moe:
            for name in EXPERT_MATRICES:
                out[f"{p}mlp.{name}.weight"], out[f"{p}mlp.{name}.weight_scale_inv"] = fp8(state[f"{mine}mlp.{name}"])
            continue
        out[p + "mlp.gate.weight"] = state[mine + "mlp.gate"]
        out[p + "mlp.gate.e_score_correction_bias"] = state[mine + "mlp.e_score_correction_bias"]
        for name in EXPERT_MATRICES:
            codes, exponents = mxfp4_codes(state[f"{mine}mlp.{name}"])
            for e in range(c.n_routed_experts):
                expert = f"{p}mlp.experts.{e}.{name}"
                out[expert + ".weight"] = codes[e][:, 0::2] | (codes[e][:, 1::2] << 4)  # low nibble: even column
                out[expert + ".weight_scale"] = (exponents[e] + 127).to(torch.uint8)
    return out


def write(model, folder):
    """config.json, generation_config.json, the index and two shards, the experts in halves."""
    c, stored = model.c, stored_tensors(model)
    os.makedirs(folder, exist_ok=True)

    def file_of(name):
        _, _, expert = name.partition(".experts.")
        late = name.startswith("lm_head") or bool(expert) and int(expert.split(".")[0]) >= c.n_routed_experts // 2
        return f"model_pp0_ep{int(late)}_shard0.safetensors"

    weight_map = {name: file_of(name) for name in sorted(stored)}
    for file in sorted(set(weight_map.values())):
        save_file({name: x.contiguous() for name, x in stored.items() if weight_map[name] == file}, f"{folder}/{file}",
                  metadata={"format": "pt"})
        os.chmod(f"{folder}/{file}", 0o644)
    size = sum(x.numel() * x.element_size() for x in stored.values())
    metadata = dict(save_format="mxfp4", total_size=size, tp_size=c.num_key_value_heads)
    files = {
        "config.json": config_json(c),
        "model.safetensors.index.json": dict(metadata=metadata, weight_map=weight_map),
        "generation_config.json": dict(bos_token_id=0, eos_token_id=0, do_sample=True, temperature=0.4, top_p=0.95),
        "tokenizer_config.json": dict(
            tokenizer_class="PreTrainedTokenizerFast", bos_token=EOT, eos_token=EOT, add_bos_token=True,
            clean_up_tokenization_spaces=False, model_max_length=c.max_position_embeddings)}
    for name, content in files.items():
        with open(f"{folder}/{name}", "w") as f:
            f.write(json.dumps(content, indent=2) + "\n")
    return size


def read(folder, **how):
    """The model of a folder, its parameters being the values the stored tensors stand for."""
    with open(f"{folder}/config.json") as f:
        published = json.load(f)
    c = Config(**{f.name: published[f.name] for f in fields(Config)})
    with open(f"{folder}/model.safetensors.index.json") as f:
        weight_map = json.load(f)["weight_map"]
    raw = {}
    for file in sorted(set(weight_map.values())):
        with safe_open(f"{folder}/{file}", "pt") as f:
            raw.update({name: f.get_tensor(name) for name in f.keys()})
    assert raw.keys() == weight_map.keys()

    def mxfp4(name):
        packed = raw[name + ".weight"].int()
        codes = torch.stack([packed & 15, packed >> 4], -1).flatten(1)
        values = torch.tensor(E2M1 + tuple(-x for x in E2M1))[codes]
        return values * torch.exp2(raw[name + ".weight_scale"].float() - 127).repeat_interleave(GROUP, 1)

    state = {"embed_tokens": raw["model.embed_tokens.weight"], "norm": raw["model.norm.weight"],
             "lm_head": raw["lm_head.weight"]}
    for l, (sliding, moe) in enumerate(zip(c.hybrid_layer_pattern, c.moe_layer_freq)):
        mine, p = f"layers.{l}.", f"model.layers.{l}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            state[mine + name] = raw[f"{p}{name}.weight"]
        chunks = c.num_key_value_heads
        kv = (c.swa_num_key_value_heads if sliding else c.num_key_value_heads) // chunks
        sizes = [c.num_attention_heads // chunks * c.head_dim, kv * c.head_dim, kv * c.v_head_dim]
        qkv = p + "self_attn.qkv_proj.weight"
        values = [fp8_values(w, s).split(sizes)
                  for w, s in zip(raw[qkv].chunk(chunks), raw[qkv + "_scale_inv"].chunk(chunks))]
        for x, part in zip("qkv", zip(*values)):
            state[f"{mine}self_attn.{x}_proj"] = torch.cat(part)
        state[mine + "self_attn.o_proj"] = raw[p + "self_attn.o_proj.weight"]
        if sliding:
            state[mine + "self_attn.attention_sink_bias"] = raw[p + "self_attn.attention_sink_bias"]
        if moe:
            state[mine + "mlp.gate"] = raw[p + "mlp.gate.weight"]
            state[mine + "mlp.e_score_correction_bias"] = raw[p + "mlp.gate.e_score_correction_bias"]
        for name in EXPERT_MATRICES:
            state[f"{mine}mlp.{name}"] = (
                torch.stack([mxfp4(f"{p}mlp.experts.{e}.{name}") for e in range(c.n_routed_experts)]) if moe else
                fp8_values(raw[f"{p}mlp.{name}.weight"], raw[f"{p}mlp.{name}.weight_scale_inv"]))
    model = Model(c, **how)
    model.load_state_dict({name: x.float() for name, x in state.items()}, strict=True)
    return model.requires_grad_(False)


def write_reference(folder, prompts, steps=24):
    """reference.safetensors: float32 answers of the stored values for prompts of token ids. Returns the least margin
    between the two largest logits in the greedy texts."""
    model, out, margin = read(folder, plain=True), {}, float("inf")
    for i, ids in enumerate(prompts):
        hidden, _ = model.hidden(torch.tensor([ids]))
        out[f"prompt{i}.ids"] = torch.tensor(ids, dtype=torch.int32)
        out[f"prompt{i}.logits"] = model.logits_of(hidden[-1])[0]
        for l, x in enumerate(hidden):
            out[f"prompt{i}.hidden{l}"] = (model.final(x) if l == len(hidden) - 1 else x)[0]
        text = list(ids)
        for _ in range(steps):
            top = model.logits_of(model.hidden(torch.tensor([text]))[0][-1][0, -1]).topk(2)
            margin = min(margin, (top.values[0] - top.values[1]).item())
            text.append(top.indices[0].item())
        out[f"prompt{i}.greedy"] = torch.tensor(text[len(ids):], dtype=torch.int32)
    save_file({name: x.contiguous() for name, x in out.items()}, f"{folder}/reference.safetensors")
    os.chmod(f"{folder}/reference.safetensors", 0o644)
    return margin
