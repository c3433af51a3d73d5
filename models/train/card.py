"""The model card: what the model is, what it was trained on, and what was measured."""
import os

from data import HELD_OUT_PROJECTS

EXAMPLE_LINES = 18


def parameters(model):
    """All parameters, and those that work on one token."""
    c = model.c
    total = sum(p.numel() for p in model.parameters())
    expert = 3 * c.hidden_size * c.moe_intermediate_size
    return total, total - sum(c.moe_layer_freq) * (c.n_routed_experts - c.num_experts_per_tok) * expert


def shown(text):
    """An example as a block of code; a long one ends early, and says so."""
    lines = text.rstrip().split("\n")
    more = len(lines) - EXAMPLE_LINES
    tail = f"\n\n({more} more lines.)" if more > 0 else ""
    return "```python\n" + "\n".join(lines[:EXAMPLE_LINES]).rstrip() + "\n```" + tail


def card(folder, model, licences, sizes, corpus, run, results):
    """The text of README.md. sizes: {source: bytes of text trained on}."""
    c, done = model.c, results["completions"]
    total, active = parameters(model)
    kinds = ", ".join("sliding" if s else "full" for s in c.hybrid_layer_pattern)
    rotary = int(c.head_dim * c.partial_rotary_factor)
    weights = sum(os.path.getsize(f"{folder}/{f}") for f in os.listdir(folder) if f.startswith("model_"))
    examples = "\n\n".join(map(shown, done["examples"]))
    table = "\n".join(f"| {source} | {terms} | {sizes[source] / 1e6:.2f} |"
                      for source, terms in licences.items() if source in sizes)
    projects = ", ".join(HELD_OUT_PROJECTS)
    return f"""# monotile-pico

A small language model of Python source in the published MiMo-V2 layout: sliding-window and full attention, sinks, a
mixture of experts in MXFP4 that were trained in MXFP4. It is here so that everything in Monotile can be run on real
weights, from any checkout. It completes Python; it knows little else, and much of what it writes is wrong.

| | |
|---|---|
| parameters | {total / 1e6:.1f} M, of which {active / 1e6:.1f} M work on a token |
| size | {weights / 1e6:.2f} MB in two shards |
| layers | {len(c.hybrid_layer_pattern)} ({kinds}), hidden {c.hidden_size} |
| attention | {c.num_attention_heads} query heads, {c.num_key_value_heads} KV heads, head {c.head_dim} / {c.v_head_dim}, rotary on {rotary} |
| sliding layers | window {c.sliding_window}, a sink for every head |
| feed-forward | layer 0 dense ({c.intermediate_size}), then {c.n_routed_experts} experts of {c.moe_intermediate_size}, {c.num_experts_per_tok} for a token |
| stored as | qkv and dense feed-forward FP8 e4m3 (128x128 scales), experts MXFP4, router F32, the rest BF16 |
| tokenizer | byte-level BPE, {c.vocab_size} tokens, trained on the same text |
| context | trained on {run['context']} tokens |
| licence | that of the project; the training text's licences are below |

## Use

A text starts with the token `<|endoftext|>` (id 0), which stands before every file in training; the tokenizer does not
add it by itself. The same token ends a text. A line break and the next line's indentation are one token, so end a
prompt before the line break or after the indentation, not between them: `def area(r):`, not `def area(r):\\n`.
Temperatures of 0.2 to 0.6 suit it; greedy text often falls into repetition.

`reference.safetensors` holds the float32 answers of the stored values for two short prompts (token ids, logits, residual
streams, greedy continuation).

## Measured

On the stored, quantised weights, over files the model never saw. They come from projects whose other files it learned
from, except where the table says that whole projects were left out.

| | |
|---|---|
| held-out bits per byte | **{results['bits_per_byte']:.3f}** ({corpus['held_out_files']} files, {corpus['held_out_bytes'] / 1e6:.2f} MB) |
| bits per byte over whole projects left out ({projects}) | {results['foreign_bits_per_byte']:.3f} ({corpus['foreign_files']} files, {corpus['foreign_bytes'] / 1e6:.2f} MB) |
| completions of held-out functions that parse | **{done['parse']:.0%}** of {done['count']} |
| completions that reached the function's end within {run['new_tokens']} tokens | {done['ended']:.0%} |

Bits per byte: whole files, in windows of {run['context']} tokens that overlap by half; every byte counts once. On a sample of the
held-out text the loss was {run['loss_float']:.4f} nats per token before export (experts in MXFP4, the rest not rounded) and {run['loss_stored']:.4f}
with the stored weights.

Completions: the prompt is a file up to the end of a function's docstring (or first statement), at most its last
{run['prompt_tokens']} tokens, one function per file. Sampled at temperature {done['temperature']}, top-p {done['top_p']}, at most {run['new_tokens']} tokens, cut where the
function ends (the first line no deeper than its `def`), or before the last unfinished line. The `ast.parse` of Python
{run['python']} must accept the function. A completion of nothing counts as a failure. What parses need not make sense: where
text did not reach the function's end, it usually repeats itself.

The greedy completions of the first three of these functions with short heads; the prompt's part of the function is
included:

{examples}

## Training

`models/train/train.py`, in {run['minutes']:.1f} minutes on one {run['device']}, of which {run['train_seconds'] / 60:.1f} were training: {run['steps']} steps of {run['batch_tokens']} tokens
({run['tokens'] / 1e6:.0f} M tokens, {run['epochs']:.1f} times over the text, {run['tokens_per_second'] / 1e6:.2f} M tokens/s). Muon for the matrices of the layers, AdamW for the
rest; the rate is constant, then falls linearly to nothing. The experts pass through MXFP4 in every step, with
straight-through gradients. The router's correction bias moves against the load and selects only; there is no auxiliary
loss.

## Data

{corpus['files']} files, {corpus['bytes'] / 1e6:.1f} MB of Python source: the standard library and distributions whose own metadata names BSD, MIT or
PSF terms. Left out: files whose head names other terms, vendored and generated files, files over 400 kB or with very long
lines, repeated texts. {corpus['held_out_files']} files (chosen by a hash of their path) and the projects {projects}
were held out whole. Files of one project share much, so the first number above flatters the model; the second is what it
does on code from elsewhere.

| source | licence as its metadata says | MB trained on |
|---|---|---|
{table}
"""
