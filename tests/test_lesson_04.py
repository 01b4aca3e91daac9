"""Lesson 04: its answers are what the package trains with."""

import pytest
import torch

import minimagen as mi
from minimagen.checks.lesson_04 import averaged, some_without, squared_error
from minimagen.objective import Task, losses


class Network(torch.nn.Module):
    """Small, and of everything it is given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, z, t, cond):
        return self.mix(z) + t.view(-1, 1, 1, 1) / 1000


@pytest.mark.parametrize("prediction", ["x", "eps", "v"])
def test_the_loss_is_the_packages(prediction):
    g = torch.Generator().manual_seed(1)
    x, eps = torch.randn(2, 3, 8, 8, generator=g), torch.randn(2, 3, 8, 8, generator=g)
    t, network, schedule = torch.tensor([0.2, 0.8]), Network(), mi.CosineSchedule()

    def answer(z, t):
        return network(z, mi.Denoiser.network_time(t), mi.Cond())

    ours = losses(mi.Denoiser(network, schedule, prediction), x, eps, t, mi.Cond())
    torch.testing.assert_close(squared_error(answer, x, eps, t, schedule, prediction), ours)


def test_the_average_is_the_packages():
    network = Network()
    ema, average = mi.EMA(network, 0.5), [p.detach().clone() for p in network.parameters()]
    for n in range(12):  # from update 9 on, d is the decay
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(n)))
        average = [p.detach().clone() for p in network.parameters()] if n == 0 else average
        average = averaged(average, [p.detach() for p in network.parameters()], n, 0.5)
        ema.update()
    for mine, theirs in zip(average, ema.average.values(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_captions_are_dropped_as_in_training():
    null, captions = mi.Text(torch.zeros(1, 2, 3)), [f"a thing {i}" for i in range(40)]

    def text(said):
        return mi.Text(torch.stack([torch.full((2, 3), 1.0 + captions.index(s)) for s in said]))

    task = Task(mi.Denoiser(Network(), mi.CosineSchedule()), 8, text=text, null=null, drop=0.3)
    u = torch.rand(40, generator=torch.Generator().manual_seed(2))
    theirs = task._text({"caption": captions}, u < 0.3, torch.device("cpu")).tokens
    torch.testing.assert_close(some_without(text(captions).tokens, null.tokens, u, 0.3), theirs)
    assert 0 < int((theirs == 0).all((1, 2)).sum()) < 40
