"""Trains monotile-pico on one GPU within a given time, exports it and writes its model card.

    train.py --minutes 9 --archive corpus/extra.tar.xz --out ../pico

The minutes cover everything: reading the text, the tokenizer, compiling, training, export and evaluation. The learning rate
follows the clock, so a slower machine takes fewer steps and still ends its schedule.
"""
import argparse
import json
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

import card
import evaluate
import export
from data import corpus, train_tokenizer
from model import Config, Model
from optim import Optimizer

BALANCE_RATE = 2e-3
REFERENCE_PROMPTS = (
    "def add(a, b):\n    return",
    'import os\n\n\ndef read_lines(path):\n    """Return the lines of a file."""\n    with open(path')


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=9.0, help="wall-clock time of the whole run")
    p.add_argument("--reserve", type=float, default=1.2, help="minutes of it kept for export and evaluation")
    p.add_argument("--archive", help="more text, made by `data.py pack`")
    p.add_argument("--out", required=True, help="folder of the checkpoint")
    p.add_argument("--rows", type=int, default=192, help="sequences in a step")
    p.add_argument("--context", type=int, default=1024)
    p.add_argument("--matrix-rate", type=float, default=4e-3)
    p.add_argument("--other-rate", type=float, default=4e-3)
    p.add_argument("--decay", type=float, default=0.1)
    p.add_argument("--flat", type=float, default=0.4, help="share of the training time before the rate falls")
    p.add_argument("--limit", type=int, help="documents to use (for a trial)")
    p.add_argument("--device", default="cuda")
    return p.parse_args()


def encoded(tokenizer, documents):
    """All documents as one array of tokens, the end-of-text token before each."""
    parts = []
    for at in range(0, len(documents), 2000):
        batch = tokenizer.encode_batch([d.text for d in documents[at:at + 2000]])
        parts += [np.array([0] + e.ids, dtype=np.int16) for e in batch]
    return np.concatenate(parts)


def batches(tokens, rows, context, device):
    """Endless (inputs, targets); every pass cuts the text at other places and goes through the pieces in another order."""
    g = torch.Generator().manual_seed(3)
    tokens = torch.from_numpy(tokens).to(device)
    inside = torch.arange(context + 1, device=device)
    while True:
        offset = torch.randint(0, context, (1,), generator=g).item()
        starts = torch.arange(offset, len(tokens) - context - 1, context)
        starts = starts[torch.randperm(len(starts), generator=g)].to(device)
        for at in range(0, len(starts) - rows + 1, rows):
            text = tokens[starts[at:at + rows, None] + inside].long()
            yield text[:, :-1], text[:, 1:]


def rate(share, step, flat):
    """The learning rate's factor at a share of the time."""
    return min((step + 1) / 100, 1.0) * min(1.0, max(0.0, (1 - share) / (1 - flat)))


@torch.no_grad()
def held_out_loss(model, tokens, context, device, rows=64):
    """Mean loss on the first pieces of the held-out text."""
    text = torch.from_numpy(tokens[:rows * context + 1]).long().to(device)
    return model(text[:-1].view(rows, context), text[1:].view(rows, context))[0].mean().item()


def train(model, optimizer, tokens, held_out, seconds, args):
    """Trains for a time; returns what there is to report."""
    device = args.device
    experts = [block.mlp for block, moe in zip(model.layers, model.c.moe_layer_freq) if moe]
    biases = [e.e_score_correction_bias for e in experts]
    source, begun = batches(tokens, args.rows, args.context, device), time.time()
    step, elapsed, fast = 0, 0.0, None
    while elapsed < seconds:
        factor = rate(elapsed / seconds, step, args.flat)
        inputs, targets = next(source)
        loss, counts = model(inputs, targets)
        loss = loss.mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(factor)
        model.zero_grad(set_to_none=True)
        with torch.no_grad():  # experts that had more than their share are chosen a little less
            away = torch.sign(counts.float().mean(1, keepdim=True) - counts)
            torch._foreach_add_(biases, list((BALANCE_RATE * factor * away).unbind()))
        step += 1
        if step % 4 == 0:
            torch.cuda.synchronize() if device == "cuda" else None
        elapsed = time.time() - begun
        if step == 20:
            torch.cuda.synchronize() if device == "cuda" else None
            fast = (step, time.time())
        if step % 100 == 0 or step < 4:
            speed = args.rows * args.context * (step - fast[0]) / (time.time() - fast[1]) if fast and step > 20 else 0
            load = (counts.max(1).values / counts.float().mean(1)).max()
            print(f"step {step} {elapsed:.0f}s loss {loss.item():.4f} norm {norm.item():.2f} rate {factor:.2f} "
                  f"load {load.item():.2f} {speed / 1e6:.2f} M tokens/s", flush=True)
        if step % 500 == 0:
            print(f"  held-out loss {held_out_loss(model, held_out, args.context, device):.4f}", flush=True)
    if device == "cuda":
        torch.cuda.synchronize()
    done, took = step * args.rows * args.context, time.time() - begun
    since = fast or (0, begun)
    return dict(steps=step, tokens=done, batch_tokens=args.rows * args.context, epochs=done / len(tokens), train_seconds=took,
                tokens_per_second=args.rows * args.context * (step - since[0]) / (time.time() - since[1]))


def main():
    args, begun = arguments(), time.time()
    torch.manual_seed(0)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    torch._dynamo.config.recompile_limit = 64
    said = lambda text: print(f"[{time.time() - begun:.0f}s] {text}", flush=True)

    documents, licences = corpus(args.archive)
    documents = documents[:args.limit]
    foreign = [d for d in documents if d.foreign]
    learn = [d for d in documents if not d.foreign and not d.held_out]
    held_out = [d for d in documents if not d.foreign and d.held_out]
    sizes = {}
    for d in learn:
        sizes[d.source] = sizes.get(d.source, 0) + len(d.text.encode())
    about = dict(files=len(documents), bytes=sum(len(d.text.encode()) for d in documents), held_out_files=len(held_out),
                 foreign_files=len(foreign), foreign_bytes=sum(len(d.text.encode()) for d in foreign),
                 held_out_bytes=sum(len(d.text.encode()) for d in held_out))
    said(json.dumps(about))
    for source, terms in licences.items():
        print(f"  {source}: {terms}, {sizes.get(source, 0) / 1e6:.2f} MB")

    c = Config()
    model = Model(c, plain=args.device == "cpu", quantise=True,
                  dtype=torch.float32 if args.device == "cpu" else torch.bfloat16).to(args.device)
    optimizer = Optimizer(model, args.matrix_rate, args.other_rate, args.decay, compiled=args.device == "cuda")
    warmed = None
    if args.device == "cuda":  # compile while the text is being tokenized
        model.compile()

        def warm():
            ids = torch.randint(0, c.vocab_size, (args.rows, args.context), device="cuda")
            model(ids, ids)[0].mean().backward()
            model.zero_grad(set_to_none=True)
            optimizer.warm()
            torch.cuda.synchronize()
            said(f"compiled, {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")

        warmed = ThreadPoolExecutor(1).submit(warm)
    tokenizer = train_tokenizer(learn[::max(1, len(learn) // 6000)], c.vocab_size)
    said(f"tokenizer of {tokenizer.get_vocab_size()} tokens")
    tokens, unseen = encoded(tokenizer, learn), encoded(tokenizer, held_out)
    said(f"{len(tokens)} tokens, {sum(sizes.values()) / len(tokens):.2f} bytes each; {len(unseen)} held out")
    sample = learn[0].text
    assert tokenizer.decode(tokenizer.encode(sample).ids) == sample
    if warmed:
        warmed.result()

    run = train(model, optimizer, tokens, unseen, 60 * (args.minutes - args.reserve) - (time.time() - begun), args)
    run["loss_float"] = held_out_loss(model, unseen, args.context, args.device)
    said(json.dumps(run))

    size = export.write(model, args.out)
    tokenizer.save(f"{args.out}/tokenizer.json", pretty=False)
    stored = export.read(args.out, plain=model.plain, dtype=model.dtype).to(args.device)
    if args.device == "cuda":
        stored.compile()
    run["loss_stored"] = held_out_loss(stored, unseen, args.context, args.device)
    exact = export.read(args.out, plain=True).to(args.device)
    said(f"stored {size} bytes, loss {run['loss_float']:.4f}, stored {run['loss_stored']:.4f}; on fewer pieces "
         f"{held_out_loss(stored, unseen, args.context, args.device, 4):.5f}, in float32 "
         f"{held_out_loss(exact, unseen, args.context, args.device, 4):.5f}")
    prompts = [[0] + tokenizer.encode(text).ids for text in REFERENCE_PROMPTS]
    said(f"reference of {[len(p) for p in prompts]} tokens, least margin {export.write_reference(args.out, prompts):.3f}")
    results = evaluate.evaluate(args.out, tokenizer, held_out, foreign, args.device)
    run.update(context=args.context, minutes=(time.time() - begun) / 60, python=platform.python_version(),
               device=torch.cuda.get_device_name() if args.device == "cuda" else "CPU",
               new_tokens=evaluate.NEW, prompt_tokens=evaluate.PROMPT)
    with open(f"{args.out}/README.md", "w") as f:
        f.write(card.card(args.out, model, licences, sizes, about, run, results))
    for ok, text in results["completions"].pop("functions")[:12]:
        print(f"---- {'parses' if ok else 'does not parse'}\n{text}")
    said(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
