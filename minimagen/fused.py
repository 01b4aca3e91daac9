"""Two formulas that a U-Net evaluates all the time, written for a CPU: normalise and activate, and attend.

There PyTorch's own kernels for GroupNorm in channels-last memory and for the gradient of attention take half of a
training step. A few whole-array operations do the same several times faster. Other devices use PyTorch's kernels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str | None, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "silu": F.silu,
    None: lambda x: x,
}  # gelu: the exact one, as in IF
_GRADIENTS = {"gelu": torch.ops.aten.gelu_backward, "silu": torch.ops.aten.silu_backward, None: lambda g, u: g}
_LONG = 2**18  # above so many scores a head, attention that never stores them is the better one


def tokens_of(h: Tensor) -> Tensor:
    """(B, C, H, W) → (B, H·W, C): a view, if h is channels-last"""
    return h.permute(0, 2, 3, 1).flatten(1, 2)


def picture_of(tokens: Tensor, like: Tensor) -> Tensor:
    """(B, H·W, C) → (B, C, H, W), the inverse of `tokens_of`"""
    return tokens.unflatten(1, like.shape[-2:]).permute(0, 3, 1, 2)


def norm_act(
    x: Tensor, norm: nn.GroupNorm, act: str | None = None, scale: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """act(GroupNorm(x) · (1 + scale) + shift), scale and shift of shape (B, C); None = off"""
    if x.device.type == "cpu":
        return _NormAct.apply(x, norm.weight, norm.bias, scale, shift, norm.num_groups, norm.eps, act)
    return norm_act_as_written(x, norm, act, scale, shift)


def norm_act_as_written(
    x: Tensor, norm: nn.GroupNorm, act: str | None = None, scale: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """The formula of `norm_act` in PyTorch's own operations: for other devices, and to test the fast one against."""
    h = norm(x)
    if scale is not None and shift is not None:
        h = torch.addcmul(shift[..., None, None], h, 1 + scale[..., None, None])
    return ACTIVATIONS[act](h)


class _NormAct(torch.autograd.Function):
    """y = act(u),  u = a x + b,  a = w r,  b = β (1 + s) + shift − μ a,  w = γ (1 + s);  μ, r = 1/σ of each group

    Backwards, with g = ∂/∂u and sums over the pixels: ∂b = Σ g, ∂w = r (Σ g x − μ Σ g), and
    ∂x = a g − r ⟨w Σ g⟩ − r² (x − μ) ⟨w ∂w⟩, where ⟨·⟩ sums over the group's channels and divides by its values.
    """

    @staticmethod
    def forward(ctx, x, gamma, beta, scale, shift, groups, eps, act):
        values = tokens_of(x).float()  # (B, N, C); elementwise arithmetic is faster in float32 than in bfloat16
        batch, n, channels = values.shape
        per_group = (batch, groups, channels // groups)
        moments = torch.stack([values.sum(1), values.square().sum(1)]).view(2, *per_group).sum(-1, keepdim=True)
        mean, square = moments / (n * channels // groups)  # (B, G, 1) each
        r = (square - mean.square()).clamp(min=0).add(eps).rsqrt()
        w, b = gamma.float().view(1, groups, -1), beta.float().view(1, groups, -1)  # (1 or B, G, C/G)
        if scale is not None:
            gain = 1 + scale.float().view(per_group)
            w, b = w * gain, torch.addcmul(shift.float().view(per_group), b, gain)
        a = w * r
        b = torch.addcmul(b, mean, a, value=-1)
        a, b = a.view(batch, 1, channels), b.view(batch, 1, channels)
        u = torch.addcmul(b, values, a)
        y = F.silu(u, inplace=True) if act == "silu" else ACTIVATIONS[act](u)
        ctx.save_for_backward(x, gamma, beta, scale, a, b, mean, r)
        ctx.groups, ctx.act = groups, act
        return picture_of(y.to(x.dtype), like=x)

    @staticmethod
    def backward(ctx, grad):
        x, gamma, beta, scale, a, b, mean, r = ctx.saved_tensors
        values, g = tokens_of(x).float(), tokens_of(grad).float()
        batch, n, channels = values.shape
        per_group = (batch, ctx.groups, channels // ctx.groups)
        if ctx.act is not None:
            g = _GRADIENTS[ctx.act](g, torch.addcmul(b, values, a))
        sum_g, sum_gx = g.sum(1).view(per_group), (g * values).sum(1).view(per_group)
        d_w = (sum_gx - mean * sum_g) * r
        w = a.view(per_group) / r
        k = n * per_group[-1]
        first, second = (w * sum_g).sum(-1, keepdim=True) / k, (w * d_w).sum(-1, keepdim=True) / k  # (B, G, 1)
        slope = -r * r * second
        offset = -r * first - slope * mean
        slope, offset = (y.expand(per_group).reshape(batch, 1, channels) for y in (slope, offset))
        d_x = torch.addcmul(offset, values, slope).addcmul_(g, a)
        d_shift, d_scale = sum_g.reshape(batch, channels), None
        d_w, d_b = d_w.view(batch, channels), d_shift
        if scale is not None:
            gain = 1 + scale.float()
            d_scale = (d_w * gamma + d_shift * beta).to(scale.dtype)
            d_w, d_b, d_shift = d_w * gain, d_shift * gain, d_shift.to(scale.dtype)
        else:
            d_shift = None
        d_gamma, d_beta = d_w.sum(0).to(gamma.dtype), d_b.sum(0).to(beta.dtype)
        return picture_of(d_x.to(x.dtype), like=x), d_gamma, d_beta, d_scale, d_shift, None, None, None


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d) v    (B, heads, ·, d); mask: True where a key may be seen"""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[-2] * k.shape[-2] <= _LONG:
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(-1).to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
