"""What the stored model is worth: held-out bits per byte, and completions of held-out functions that parse.

Everything is computed from the files of a checkpoint folder, on the values its tensors stand for.
"""
import ast
import random
import textwrap

import torch

from data import functions
from export import read

CONTEXT, STRIDE = 1024, 512
PROMPT, NEW = 736, 256


def windows(ids):
    """(inputs, targets, first scored position) windows over a file's tokens, of which every target is scored once; the
    text starts with the end-of-text token, and all but a file's first targets have at least 512 tokens before them."""
    ids = [0] + ids
    start, scored = 0, 0
    while scored < len(ids) - 1:
        part = ids[start:start + CONTEXT + 1]
        yield part[:-1], part[1:], scored - start
        scored = start + len(part) - 1
        start += STRIDE


@torch.no_grad()
def bits_per_byte(model, tokenizer, documents, device, rows=128):
    """Bits per UTF-8 byte over whole files."""
    jobs = [w for e in tokenizer.encode_batch([d.text for d in documents]) for w in windows(e.ids)]
    total = torch.zeros((), device=device, dtype=torch.float64)
    for at in range(0, len(jobs), rows):
        x, y = torch.zeros(2, rows, CONTEXT, dtype=torch.long)
        use = torch.zeros(rows, CONTEXT, dtype=torch.bool)
        for i, (inputs, targets, first) in enumerate(jobs[at:at + rows]):
            x[i, :len(inputs)], y[i, :len(inputs)] = torch.tensor(inputs), torch.tensor(targets)
            use[i, first:len(inputs)] = True
        loss, _ = model(x.to(device), y.to(device))
        total += (loss * use.flatten().to(device)).sum()
    return total.item() / torch.log(torch.tensor(2.0)).item() / sum(len(d.text.encode()) for d in documents)


@torch.no_grad()
def generate(model, prompts, device, temperature, top_p=0.95, seed=0, steps=NEW):
    """Continuations of lists of tokens, greedy where the temperature is 0. Every step runs the whole text again; texts are
    padded behind their ends, where causal attention does not look."""
    g = torch.Generator(device).manual_seed(seed)
    text = torch.zeros(len(prompts), CONTEXT, dtype=torch.long, device=device)
    length = torch.tensor([len(p) for p in prompts], device=device)
    for i, p in enumerate(prompts):
        text[i, :len(p)] = torch.tensor(p, device=device)
    row = torch.arange(len(prompts), device=device)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    first = length.clone()
    for _ in range(min(steps, CONTEXT - max(map(len, prompts)))):
        logits = model.logits_of(model.hidden(text)[0][-1][row, length - 1])
        if temperature:
            p, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
            p = p.masked_fill(p.cumsum(-1) - p > top_p, 0.0)
            token = order.gather(1, torch.multinomial(p, 1, generator=g))[:, 0]
        else:
            token = logits.argmax(-1)
        text[row, length] = torch.where(done, 0, token)
        done |= token == 0
        length = torch.where(done, length, length + 1)
    return [text[i, first[i]:length[i]].tolist() for i in range(len(prompts))]


def cut(completion, column):
    """The completion up to the first line at or left of the def's column; whether such a line came. It begins with the rest
    of the prompt's last line. An unfinished last line is dropped."""
    lines = completion.split("\n")
    inside = lines[:1]
    for line in lines[1:-1]:
        if line.strip() and len(line) - len(line.lstrip(" ")) <= column:
            return "\n".join(inside), True
        inside.append(line)
    last = lines[-1]
    ended = len(lines) > 1 and bool(last.strip()) and len(last) - len(last.lstrip(" ")) <= column
    return "\n".join(inside), ended


def parses(head, body):
    """Whether Python accepts the function; a completion of nothing does not count."""
    if not body.strip():
        return False
    try:
        ast.parse(("if True:\n" if head.startswith((" ", "\t")) else "") + head + body + "\n")
        return True
    except (SyntaxError, ValueError):
        return False


def tasks(documents, tokenizer, count, seed=1):
    """(prompt tokens, the function's text so far, column) of functions of held-out files, one per file. The prompt is the
    file up to the function's body, or the last 736 tokens of that."""
    documents, out = list(documents), []
    random.Random(seed).shuffle(documents)
    for d in documents:
        found = functions(d.text)
        if found and len(out) < count:
            start, body, _, column = random.Random(f"{seed} {d.path}").choice(found)
            ids = [0] + tokenizer.encode(d.text[:body]).ids
            if len(tokenizer.encode(d.text[start:body]).ids) < PROMPT - 32:
                out.append((ids[-PROMPT:], d.text[start:body], column))
    return out


def completions(model, tokenizer, documents, device, temperature=0.4, count=100):
    """Share of sampled completions that parse, share that reached the function's end, three greedy examples, and the
    sampled functions with their verdicts."""
    jobs = tasks(documents, tokenizer, count)
    texts = [tokenizer.decode(ids) for ids in generate(model, [ids for ids, _, _ in jobs], device, temperature)]
    cuts = [cut(text, column) for text, (_, _, column) in zip(texts, jobs)]
    good = [parses(head, body) for (body, _), (_, head, _) in zip(cuts, jobs)]
    short = [job for job in jobs if len(job[1]) < 600][:3]
    greedy = generate(model, [ids for ids, _, _ in (short * len(jobs))[:len(jobs)]], device, 0)[:len(short)]
    shown = [(textwrap.dedent(head + cut(tokenizer.decode(ids), column)[0])) for ids, (_, head, column) in zip(greedy, short)]
    return dict(count=len(jobs), parse=sum(good) / len(jobs), ended=sum(e for _, e in cuts) / len(jobs),
                temperature=temperature, top_p=0.95, examples=shown,
                functions=[(ok, head + body) for ok, (body, _), (_, head, _) in zip(good, cuts, jobs)])


def evaluate(folder, tokenizer, documents, foreign, device):
    """The numbers of the model card; foreign: documents of projects of which nothing was seen."""
    model = read(folder, plain=device == "cpu", dtype=torch.float32 if device == "cpu" else torch.bfloat16).to(device)
    if device != "cpu":
        model.compile()
    return dict(bits_per_byte=bits_per_byte(model, tokenizer, documents, device),
                foreign_bits_per_byte=bits_per_byte(model, tokenizer, foreign, device),
                completions=completions(model, tokenizer, documents, device))
