"""Muon (Jordan et al., 2024): a matrix goes as far in its weak directions as in its strong ones.

    M ← μ·M + (1 − μ)·G,    W ← W − lr · 0.2 · √max(rows, columns) · orthogonal((1 − μ)·G + μ·M)

orthogonal(U Σ Vᵀ) = U Vᵀ, of which a few products of matrices give enough. The factor makes a step as long as AdamW's
at the same learning rate (Liu et al., 2025). Vectors, and the first and the last layer, take AdamW's step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .fused import fast_bf16

QUINTIC = (3.4445, -4.7750, 2.0315)  # a·s + b·s³ + c·s⁵ brings singular values in (0, 1] near 1 quickly (Jordan)
DOORS = ("conv_in.", "conv_out.")  # where something else than features comes in or goes out


class Muon(torch.optim.AdamW):
    """Muon for the matrices of a network, convolutions flattened to (out, in · k · k), and AdamW for the rest.

    adamw: AdamW's options. None of the weights decays.
    """

    def __init__(self, network: nn.Module, lr: float, betas: tuple[float, float], momentum: float = 0.95, **adamw: Any):
        if adamw.setdefault("weight_decay", 0.0) != 0:
            raise ValueError("Muon's matrices do not decay here, so that nothing else shall: leave out weight_decay")
        named = list(network.named_parameters())
        matrices = [p for name, p in named if p.ndim >= 2 and not name.startswith(DOORS)]
        inside = {id(p) for p in matrices}
        rest = [p for _, p in named if id(p) not in inside]
        groups: list[dict[str, Any]] = [{"params": matrices, "momentum": momentum}, {"params": rest}]
        super().__init__(groups, lr, betas, **adamw)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # no closure: a step's gradient is there already
        matrices = self.param_groups[0]
        alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        for p in matrices["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state |= {"moving": torch.zeros_like(p), "step": torch.zeros(())}
            state["step"] += 1  # which AdamW asks for when it loads
            moving = state["moving"].lerp_(p.grad, 1 - matrices["momentum"])
            way = p.grad.lerp(moving, matrices["momentum"]).flatten(1)
            alike.setdefault(tuple(way.shape), []).append((p, way))
            p.grad = None  # AdamW passes over what has no gradient
        for shape, some in alike.items():  # together: a GPU is otherwise busy with being told what to do
            for (p, _), u in zip(some, orthogonal(torch.stack([way for _, way in some])), strict=True):
                p.add_(u.view_as(p), alpha=-0.2 * matrices["lr"] * max(shape) ** 0.5)
        return super().step()


def optimizer_of(network: nn.Module, name: str, lr: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    """ "adamw" or "muon" over a network's parameters, none of which decays."""
    if name not in ("adamw", "muon"):
        raise ValueError(f"optimizer is 'adamw' or 'muon', not {name!r}")
    fused = next(network.parameters()).device.type in ("cpu", "cuda")
    options: dict[str, Any] = {"lr": lr, "betas": betas, "weight_decay": 0.0, "fused": fused}
    return Muon(network, **options) if name == "muon" else torch.optim.AdamW(network.parameters(), **options)


def orthogonal(x: Tensor, rounds: int = 5) -> Tensor:
    """U Vᵀ of x = U Σ Vᵀ, nearly, of one matrix or of several alike.

    Singular values that are not tiny beside the largest come to lie between 0.68 and 1.2.
    In bfloat16, which is enough, where the processor computes it fast.
    """
    a, b, c = QUINTIC
    tall = x.shape[-2] > x.shape[-1]
    y = x.mT if tall else x
    y = (y / y.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)).to(
        torch.bfloat16 if fast_bf16(x.device) else torch.float32
    )
    for _ in range(rounds):
        square = y @ y.mT
        y = a * y + (b * square + c * square @ square) @ y
    return (y.mT if tall else y).to(x.dtype)
