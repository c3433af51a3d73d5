"""MiMo-V2 in PyTorch, for training and for reference answers.

The layout of parameters is the published one, taken apart: `q_proj`, `k_proj`, `v_proj` and stacked experts. `export.py`
fuses and quantises them. In training the experts pass through MXFP4 (straight-through gradients), so the weights that
are stored are the weights that were trained. The same code runs in float32 with plain attention (`plain=True`) where
exact answers are wanted, and compiled with FlexAttention and grouped matrix products where speed is.
"""
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

E2M1_MIDPOINTS = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
GROUP = 32


@dataclass(frozen=True)
class Config:
    """The numbers of a MiMo-V2 model; names are those of config.json."""
    vocab_size: int = 2048
    hidden_size: int = 384
    intermediate_size: int = 1024
    moe_intermediate_size: int = 256
    n_routed_experts: int = 12
    num_experts_per_tok: int = 3
    num_attention_heads: int = 8
    num_key_value_heads: int = 2
    swa_num_key_value_heads: int = 2
    head_dim: int = 64
    v_head_dim: int = 32
    sliding_window: int = 128
    hybrid_layer_pattern: list = field(default_factory=lambda: [0, 1, 1, 0, 1, 1, 0])
    moe_layer_freq: list = field(default_factory=lambda: [0, 1, 1, 1, 1, 1, 1])
    attention_value_scale: float = 0.612
    layernorm_epsilon: float = 1e-5
    max_position_embeddings: int = 4096
    partial_rotary_factor: float = 0.5
    rope_theta: float = 1000000
    swa_rope_theta: float = 10000


# ---- MXFP4 -----------------------------------------------------------------------------------------------------------

def mxfp4_codes(w):
    """[..., K] -> e2m1 codes with the sign in bit 3 [..., K], exponents of the groups of 32 [..., K/32] (float)."""
    groups = w.float().unflatten(-1, (-1, GROUP))
    exponent = torch.floor(torch.log2(groups.abs().amax(-1).clamp_min(2.0 ** -100))) - 2
    scaled = groups * torch.exp2(-exponent)[..., None]
    size = sum((scaled.abs() > m).to(torch.uint8) for m in E2M1_MIDPOINTS)
    return (size + 8 * (groups < 0)).flatten(-2).to(torch.uint8), exponent


def mxfp4_values(w):
    """What is left of a matrix after MXFP4, in float32."""
    groups = w.float().unflatten(-1, (-1, GROUP))
    exponent = torch.floor(torch.log2(groups.abs().amax(-1).clamp_min(2.0 ** -100))) - 2
    scaled = groups * torch.exp2(-exponent)[..., None]
    size = torch.zeros_like(scaled)
    for low, high, middle in zip(E2M1, E2M1[1:], E2M1_MIDPOINTS):
        size = size + (high - low) * (scaled.abs() > middle)
    return (torch.where(groups < 0, -size, size) * torch.exp2(exponent)[..., None]).flatten(-2)


def fake_mxfp4(w):
    """MXFP4 in the forward pass, the identity in the backward pass."""
    return w + (mxfp4_values(w) - w).detach()


# ---- pieces ----------------------------------------------------------------------------------------------------------

def rms_norm(x, weight, eps):
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def rope(x, positions, theta, dims):
    """Rotary embedding on the first `dims` of the last dimension, i with i + dims/2. x: [B, T, heads, d]."""
    half = dims // 2
    rate = theta ** (-torch.arange(half, device=x.device, dtype=torch.float32) * 2 / dims)
    angle = positions.float()[:, None] * rate
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    a, b, rest = x[..., :half].float(), x[..., half:dims].float(), x[..., dims:]
    return torch.cat([(a * cos - b * sin).to(x.dtype), (b * cos + a * sin).to(x.dtype), rest], -1)


class Permute(torch.autograd.Function):
    """Rows in another order; the gradient is the inverse gather instead of a scatter with additions."""

    @staticmethod
    def forward(ctx, x, order, inverse):
        ctx.save_for_backward(inverse)
        return x[order]

    @staticmethod
    def backward(ctx, grad):
        return grad[ctx.saved_tensors[0]], None, None


class Dispatch(torch.autograd.Function):
    """Row i of the result is the token of slot order[i]; a token has k slots in a row."""

    @staticmethod
    def forward(ctx, x, order, inverse, k):
        ctx.save_for_backward(inverse)
        ctx.k = k
        return x[order // k]

    @staticmethod
    def backward(ctx, grad):
        return grad[ctx.saved_tensors[0]].unflatten(0, (-1, ctx.k)).sum(1), None, None, None


def matrix(n, k, gain=1.0):
    return nn.Parameter(torch.randn(n, k) * gain * k ** -0.5)


class Attention(nn.Module):
    def __init__(self, c, sliding):
        super().__init__()
        self.c, self.sliding = c, sliding
        self.kv_heads = c.swa_num_key_value_heads if sliding else c.num_key_value_heads
        self.theta = c.swa_rope_theta if sliding else c.rope_theta
        heads, hidden = c.num_attention_heads, c.hidden_size
        self.q_proj, self.k_proj = matrix(heads * c.head_dim, hidden), matrix(self.kv_heads * c.head_dim, hidden)
        self.v_proj = matrix(self.kv_heads * c.v_head_dim, hidden)
        self.o_proj = matrix(hidden, heads * c.v_head_dim, 0.1)
        self.attention_sink_bias = nn.Parameter(torch.zeros(heads)) if sliding else None

    def forward(self, h, mask, plain):
        c, dtype = self.c, h.dtype
        heads, kv, dims = c.num_attention_heads, self.kv_heads, int(c.head_dim * c.partial_rotary_factor)
        b, t, _ = h.shape
        qkv = h @ torch.cat([self.q_proj, self.k_proj, self.v_proj]).to(dtype).t()
        q, k, v = qkv.split([heads * c.head_dim, kv * c.head_dim, kv * c.v_head_dim], -1)
        positions = torch.arange(t, device=h.device)
        q = rope(q.unflatten(-1, (heads, c.head_dim)), positions, self.theta, dims).transpose(1, 2)
        k = rope(k.unflatten(-1, (kv, c.head_dim)), positions, self.theta, dims).transpose(1, 2)
        v = (v * c.attention_value_scale).unflatten(-1, (kv, c.v_head_dim)).transpose(1, 2)
        out = (self.plain if plain else self.flex)(q, k, v, mask)
        return out.transpose(1, 2).flatten(2).to(dtype) @ self.o_proj.to(dtype).t()

    def flex(self, q, k, v, mask):
        from torch.nn.attention.flex_attention import flex_attention
        if not self.sliding:
            return flex_attention(q, k, v, block_mask=mask, enable_gqa=True)
        out, lse = flex_attention(q, k, v, block_mask=mask, enable_gqa=True, return_lse=True)
        # The sink is one more term of the softmax's denominator.
        return out * torch.sigmoid(lse - self.attention_sink_bias[:, None])[..., None]

    def plain(self, q, k, v, _):
        share, t = q.shape[1] // k.shape[1], q.shape[2]
        k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
        scores = (q @ k.transpose(-1, -2)).float() * self.c.head_dim ** -0.5
        distance = torch.arange(t, device=q.device)[:, None] - torch.arange(t, device=q.device)
        seen = (distance >= 0) & (distance < self.c.sliding_window) if self.sliding else distance >= 0
        scores = scores.masked_fill(~seen, float("-inf"))
        if self.sliding:
            sink = self.attention_sink_bias.float()[:, None, None].expand(*scores.shape[:-1], 1)
            return torch.cat([scores, sink], -1).softmax(-1)[..., :-1].to(v.dtype) @ v
        return scores.softmax(-1).to(v.dtype) @ v


class Dense(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj, self.up_proj = matrix(c.intermediate_size, c.hidden_size), matrix(c.intermediate_size, c.hidden_size)
        self.down_proj = matrix(c.hidden_size, c.intermediate_size, 0.1)

    def forward(self, h, plain, quantise):
        gate, up = (h @ torch.cat([self.gate_proj, self.up_proj]).to(h.dtype).t()).chunk(2, -1)
        return (F.silu(gate) * up) @ self.down_proj.to(h.dtype).t(), None


class Experts(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c, e, n, k = c, c.n_routed_experts, c.moe_intermediate_size, c.hidden_size
        self.gate = nn.Parameter(torch.randn(e, k) * 0.5 * k ** -0.5)
        self.register_buffer("e_score_correction_bias", torch.zeros(e))
        self.gate_proj, self.up_proj = (nn.Parameter(torch.randn(e, n, k) * k ** -0.5) for _ in range(2))
        self.down_proj = nn.Parameter(torch.randn(e, k, n) * 0.1 * n ** -0.5)

    def route(self, h):
        """Chosen experts [N, k], their weights [N, k], how often each was chosen [E]."""
        scores = torch.sigmoid(h.float() @ self.gate.t())
        left, chosen = scores.detach() + self.e_score_correction_bias, []  # the bias selects and does nothing else
        every = torch.arange(scores.shape[-1], device=h.device)
        for _ in range(self.c.num_experts_per_tok):
            chosen.append(left.argmax(-1))
            left = left.masked_fill(every == chosen[-1][..., None], float("-inf"))
        weights = torch.stack([(scores * (every == i[..., None])).sum(-1) for i in chosen], -1)
        chosen = torch.stack(chosen, -1)
        counts = (chosen.flatten()[:, None] == every).sum(0)
        return chosen, weights / (weights.sum(-1, keepdim=True) + 1e-20), counts

    def forward(self, x, plain, quantise):
        h, k = x.flatten(0, -2), self.c.num_experts_per_tok
        chosen, weights, counts = self.route(h)
        gate_up, down = torch.cat([self.gate_proj, self.up_proj], 1), self.down_proj
        if quantise:
            gate_up, down = fake_mxfp4(gate_up), fake_mxfp4(down)
        gate_up, down = gate_up.to(h.dtype).transpose(1, 2), down.to(h.dtype).transpose(1, 2)
        if plain:
            gate, up = (h @ gate_up).chunk(2, -1)
            share = torch.zeros(h.shape[0], self.c.n_routed_experts, device=h.device).scatter(1, chosen, weights)
            y = torch.einsum("end,ne->nd", (F.silu(gate) * up) @ down, share.to(h.dtype))
        else:
            order = chosen.flatten().to(torch.uint8).argsort(stable=True)
            inverse = torch.empty_like(order).scatter_(0, order, torch.arange(order.shape[0], device=h.device))
            ends = counts.cumsum(0).to(torch.int32)
            gate, up = torch._grouped_mm(Dispatch.apply(h, order, inverse, k), gate_up, offs=ends).chunk(2, -1)
            y = Permute.apply(torch._grouped_mm(F.silu(gate) * up, down, offs=ends), inverse, order)
            y = (y.unflatten(0, (-1, k)) * weights[..., None]).sum(1).to(h.dtype)
        return y.view_as(x), counts


class Block(nn.Module):
    def __init__(self, c, sliding, moe):
        super().__init__()
        self.eps = c.layernorm_epsilon
        self.input_layernorm = nn.Parameter(torch.ones(c.hidden_size))
        self.post_attention_layernorm = nn.Parameter(torch.ones(c.hidden_size))
        self.self_attn, self.mlp = Attention(c, sliding), (Experts if moe else Dense)(c)

    def forward(self, x, mask, dtype, plain, quantise):
        x = x + self.self_attn(rms_norm(x, self.input_layernorm, self.eps).to(dtype), mask, plain)
        y, counts = self.mlp(rms_norm(x, self.post_attention_layernorm, self.eps).to(dtype), plain, quantise)
        return x + y, counts


class Model(nn.Module):
    """`plain` picks simple operations over fast ones; `quantise` passes the experts through MXFP4."""

    def __init__(self, c, plain=False, quantise=False, dtype=torch.float32):
        super().__init__()
        self.c, self.plain, self.quantise, self.dtype = c, plain, quantise, dtype
        self.embed_tokens = nn.Parameter(torch.randn(c.vocab_size, c.hidden_size) * 0.3)
        self.layers = nn.ModuleList(Block(c, bool(s), bool(m)) for s, m in zip(c.hybrid_layer_pattern, c.moe_layer_freq))
        self.norm = nn.Parameter(torch.ones(c.hidden_size))
        self.lm_head = nn.Parameter(torch.randn(c.vocab_size, c.hidden_size) * 0.01)
        self.masks = {}

    def mask(self, t, sliding):
        """FlexAttention's mask of causal or sliding-window attention, made once for a length."""
        if self.plain:
            return None
        if (t, sliding) not in self.masks:
            from torch.nn.attention.flex_attention import create_block_mask
            window = self.c.sliding_window
            rule = (lambda b, h, q, k: (q >= k) & (q - k < window)) if sliding else (lambda b, h, q, k: q >= k)
            self.masks[t, sliding] = create_block_mask(rule, None, None, t, t, device=self.lm_head.device)
        return self.masks[t, sliding]

    def compile(self):
        for block in self.layers:
            block.compile(dynamic=False)
        self.loss_of = torch.compile(self.loss_of, dynamic=False)

    def hidden(self, ids):
        """Residual streams [B, T, hidden]: the embedding, then after every layer; expert counts [layers, E]."""
        x, counts = self.embed_tokens[ids].float(), []
        out = [x]
        for block in self.layers:
            x, n = block(x, self.mask(ids.shape[1], block.self_attn.sliding), self.dtype, self.plain, self.quantise)
            out.append(x)
            counts += [] if n is None else [n]
        return out, torch.stack(counts)

    def final(self, x):
        return rms_norm(x, self.norm, self.c.layernorm_epsilon)

    def logits_of(self, x):
        return (self.final(x).to(self.dtype) @ self.lm_head.to(self.dtype).t()).float()

    def loss_of(self, x, targets):
        return F.cross_entropy(self.logits_of(x).flatten(0, 1), targets.flatten(), reduction="none")

    def forward(self, ids, targets):
        """Loss of every target [B·T] in nats, expert counts."""
        out, counts = self.hidden(ids)
        return self.loss_of(out[-1], targets), counts
