"""Muon for the matrices of the layers, AdamW for the rest, one schedule for both.

Muon steps along the orthogonalised momentum, scaled to the size an AdamW step has. Matrices of one shape are
orthogonalised together, every expert as a matrix of its own.
"""
import torch


def orthogonalised(g):
    """The nearest orthogonal matrices of a batch [B, n, k], by five Newton-Schulz steps in bfloat16."""
    x = g.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.transpose(-1, -2)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.transpose(-1, -2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x.transpose(-1, -2) if tall else x


def muon_step(weights, grads, momentum, lr, decay, beta):
    momentum.lerp_(grads, 1 - beta)
    step = orthogonalised(grads.lerp(momentum, beta)).float()
    return weights * (1 - lr * decay) - lr * 0.2 * max(weights.shape[-2:]) ** 0.5 * step


class Optimizer:
    """lr is a factor in 0..1 of the rates given here, set at every step."""

    def __init__(self, model, matrix_rate=4e-3, other_rate=4e-3, decay=0.1, beta=0.95, compiled=True):
        self.matrix_rate, self.decay, self.beta = matrix_rate, decay, beta
        groups, others = {}, []
        for name, p in model.named_parameters():
            if name.endswith("_proj"):
                groups.setdefault(tuple(p.shape[-2:]), []).append(p)
            else:
                others.append(p)
        self.groups = [(ps, torch.zeros_like(self.stacked(ps))) for ps in groups.values()]
        self.adam = torch.optim.AdamW(others, lr=other_rate, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0,
                                      fused=others[0].is_cuda)
        self.other_rate = other_rate
        self.step_of = torch.compile(muon_step, dynamic=False) if compiled else muon_step
        self.lr = torch.zeros((), device=others[0].device)

    @staticmethod
    def stacked(tensors):
        return torch.cat([x if x.dim() == 3 else x[None] for x in tensors])

    @torch.no_grad()
    def warm(self):
        """Compiles the step of every group, changing nothing."""
        for ps, momentum in self.groups:
            new = self.stacked(ps)
            self.step_of(new, new.clone(), momentum.clone(), self.lr, self.decay, self.beta)

    @torch.no_grad()
    def step(self, factor):
        self.adam.param_groups[0]["lr"] = self.other_rate * factor
        self.adam.step()
        self.lr.fill_(self.matrix_rate * factor)
        for ps, momentum in self.groups:
            grads = self.stacked([p.grad for p in ps])
            new = self.step_of(self.stacked(ps), grads, momentum, self.lr, self.decay, self.beta)
            sizes = [1 if p.dim() == 2 else p.shape[0] for p in ps]
            torch._foreach_copy_(ps, [x.view_as(p) for x, p in zip(new.split(sizes), ps)])
