"""Muon beside PyTorch's own for matrices, beside AdamW for the rest, and beside the law that it follows."""

import pytest
import torch
from torch import nn

from minimagen.muon import Muon, orthogonal


class Small(nn.Module):
    """One layer of each kind: a door, a matrix, a convolution, and vectors."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv_in = nn.Conv2d(3, 8, 3, padding=1)
        self.line = nn.Linear(8, 5, bias=False)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return self.line(self.conv(self.conv_in(x)).mean((2, 3)))


def gradients(module, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.grad = torch.randn(p.shape, generator=generator)


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (32, 32)])
def test_orthogonal_keeps_the_directions_and_evens_the_lengths(shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    y = orthogonal(x)
    assert torch.linalg.svdvals(y).min() > 0.6 and torch.linalg.svdvals(y).max() < 1.25
    inside = u.T @ y @ v.T  # diagonal, for the singular directions stay
    assert (inside - torch.diag(inside.diagonal())).abs().max() < 0.03
    torch.testing.assert_close(orthogonal(1000 * x), y, rtol=0, atol=0.03)  # whatever the gradient's length
    assert not orthogonal(torch.zeros(3, 4)).any()
    torch.testing.assert_close(orthogonal(torch.stack([x, 3 * x]))[1], y, rtol=0, atol=0.03)  # several at once


def test_matrices_go_as_pytorchs_muon_takes_them_and_the_rest_as_adamw():
    ours, theirs = Small(), Small()
    flat = {name: nn.Parameter(getattr(theirs, name).weight.detach().flatten(1).clone()) for name in ("line", "conv")}
    start = {name: p.detach().clone() for name, p in flat.items()}
    rest = [*theirs.conv_in.parameters(), theirs.conv.bias]
    step = Muon(ours, 0.02, (0.9, 0.99), weight_decay=0.0)
    muon = torch.optim.Muon(flat.values(), 0.02, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(rest, 0.02, (0.9, 0.99), weight_decay=0.0)
    for seed in range(4):
        gradients(ours, seed)
        gradients(theirs, seed)
        for name, p in flat.items():
            p.grad = getattr(theirs, name).weight.grad.flatten(1)
        for optimizer in (step, muon, adam):
            optimizer.step()
    for name, p in flat.items():
        apart = getattr(ours, name).weight.flatten(1) - p
        assert apart.norm() < 0.06 * (p - start[name]).norm()  # both round to bfloat16 on the way
    for a, b in zip([*ours.conv_in.parameters(), ours.conv.bias], rest, strict=True):
        torch.testing.assert_close(a, b)


def test_a_step_is_as_long_as_adamws():
    module = Small()
    before = module.conv.weight.detach().clone()
    gradients(module, 0)
    Muon(module, 0.01, (0.9, 0.99), weight_decay=0.0).step()
    change = module.conv.weight.detach() - before
    assert float(change.square().mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=0.15)  # AdamW's 0.2 to 0.4 of lr


def test_it_learns_and_leaves_what_has_no_gradient():
    module = Small()
    optimizer = Muon(module, 0.02, (0.9, 0.99), weight_decay=0.0)
    x = torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    target = x.mean((2, 3)) @ torch.randn(3, 5, generator=torch.Generator().manual_seed(3))
    module.line.weight.requires_grad_(False)
    kept = module.line.weight.clone()
    losses = []
    for _ in range(60):
        loss = (module(x) - target).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0]
    assert torch.equal(module.line.weight, kept)


def test_weights_that_would_decay_by_halves_are_refused():
    with pytest.raises(ValueError, match="leave out weight_decay"):
        Muon(Small(), 0.02, (0.9, 0.99), weight_decay=0.1)
    assert {group["weight_decay"] for group in Muon(Small(), 0.02, (0.9, 0.99)).param_groups} == {0.0}
