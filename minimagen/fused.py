"""What a U-Net does all the time, written for a CPU: normalise and activate, attend, enlarge and convolve.

There PyTorch's own kernels for GroupNorm in channels-last memory and for the gradient of attention take half of a
training step. A few whole-array operations do the same several times faster. Other devices use PyTorch's kernels.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str | None, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "silu": F.silu,
    None: lambda x: x,
}  # gelu: the exact one, as in IF
_IN_PLACE: dict[str | None, Callable[[Tensor], Tensor]] = {
    "gelu": torch.ops.aten.gelu_,
    "silu": torch.ops.aten.silu_,
    None: lambda x: x,
}
_GRADIENTS = {"gelu": torch.ops.aten.gelu_backward, "silu": torch.ops.aten.silu_backward, None: lambda g, u: g}
_LONG = 2**18  # above so many scores a head, attention that never stores them is the better one
_PART = 2**19  # numbers of a gradient at a time: 2 MB of float32
_FEW = 2 * 16 * 16  # below so many pixels in a batch a transposed convolution does not pay


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
    if torch.compiler.is_compiling():
        return norm_act_by_sums(x, norm, act, scale, shift)
    if x.device.type != "cpu":
        return norm_act_as_written(x, norm, act, scale, shift)
    arguments = x, norm.weight, norm.bias, scale, shift, norm.num_groups, norm.eps, act
    if torch.is_grad_enabled():
        return _NormAct.apply(*arguments)
    # PyTorch's kernel does not vectorise small maps in groups of odd widths, and bfloat16 makes a third pass dear.
    odd = x.shape[-2] * x.shape[-1] < 1024 and x.shape[1] // norm.num_groups % 16 > 0
    if x.dtype == torch.bfloat16 and x.numel() >= (2**15 if odd else 2**18 if scale is not None else torch.inf):
        return _normalise(*arguments)[0]
    return norm_act_as_written(x, norm, act, scale, shift)


def norm_act_as_written(
    x: Tensor, norm: nn.GroupNorm, act: str | None = None, scale: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """The formula of `norm_act` in PyTorch's own operations: for other devices, and to test the fast one against."""
    h = norm(x)
    if scale is not None and shift is not None:
        h = torch.addcmul(shift[..., None, None], h, 1 + scale[..., None, None])
    return (ACTIVATIONS if torch.is_grad_enabled() else _IN_PLACE)[act](h)


def norm_act_by_sums(
    x: Tensor, norm: nn.GroupNorm, act: str | None = None, scale: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """`norm_act` as two passes over channels-last memory, act(a x + b), which a compiler turns into as many kernels.

    PyTorch's own would first copy the picture to another layout, and the compiler's would read it across the grain.
    """
    values = tokens_of(x).float()  # (B, N, C)
    batch, n, channels = values.shape
    per_group = (batch, norm.num_groups, channels // norm.num_groups)
    mean, square = (s.view(per_group).mean(-1, keepdim=True) for s in (values.mean(1), values.square().mean(1)))
    r = ((square - mean.square()).clamp(min=0) + norm.eps).rsqrt()
    w, b = norm.weight.float().expand(batch, channels), norm.bias.float().expand(batch, channels)
    if scale is not None and shift is not None:
        gain = 1 + scale.float()
        w, b = w * gain, b * gain + shift.float()
    a = w.view(per_group) * r
    b = b.view(per_group) - a * mean
    a, b = a.view(batch, 1, channels), b.view(batch, 1, channels)
    return picture_of(ACTIVATIONS[act](a * values + b).to(x.dtype), like=x)


def _normalise(x, gamma, beta, scale, shift, groups, eps, act):
    """y = act(u),  u = a x + b,  a = w r,  b = β (1 + s) + shift − μ a,  w = γ (1 + s);  μ, r = 1/σ of each group

    Elementwise arithmetic is faster in float32 than in bfloat16. Also returns a, b, μ and r.
    """
    values = tokens_of(x).float()  # (B, N, C)
    batch, n, channels = values.shape
    per_group = (batch, groups, channels // groups)
    moments = torch.stack([values.sum(1), (values * values).sum(1)]).view(2, *per_group).sum(-1, keepdim=True)
    mean, square = (moments / (n * channels // groups)).unbind()  # (B, G, 1) each
    r = (square - mean * mean).clamp_(min=0).add_(eps).rsqrt_()
    w, b = gamma.float().view(1, groups, -1), beta.float().view(1, groups, -1)  # (1 or B, G, C/G)
    if scale is not None:
        gain = 1 + scale.float().view(per_group)
        w, b = w * gain, torch.addcmul(shift.float().view(per_group), b, gain)
    a = w * r
    b = torch.addcmul(b, mean, a, value=-1)
    a, b = a.view(batch, 1, channels), b.view(batch, 1, channels)
    u = torch.addcmul(b, values, a, out=values if x.dtype != torch.float32 else None)  # else values are x itself
    y = _IN_PLACE[act](u)
    return picture_of(y.to(x.dtype), like=x), a, b, mean, r


class _NormAct(torch.autograd.Function):
    """`_normalise` with its gradient. It keeps x alone, and computes u again.

    With g = ∂/∂u and sums over the pixels: ∂b = Σ g, ∂w = r (Σ g x − μ Σ g), and
    ∂x = a g − r ⟨w Σ g⟩ − r² (x − μ) ⟨w ∂w⟩, where ⟨·⟩ sums over the group's channels and divides by its values.
    """

    @staticmethod
    def forward(ctx, x, gamma, beta, scale, shift, groups, eps, act):
        y, a, b, mean, r = _normalise(x, gamma, beta, scale, shift, groups, eps, act)
        ctx.save_for_backward(x, gamma, beta, scale, a, b, mean, r)
        ctx.groups, ctx.act = groups, act
        return y

    @staticmethod
    def backward(ctx, grad):
        x, gamma, beta, scale, *kept = ctx.saved_tensors
        d_x, sums = torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last), []
        few = max(1, _PART // max(1, x[0].numel()))
        for i in range(0, len(x), few):  # a few pictures at a time: less memory, and nearer at hand
            part = slice(i, i + few)
            values, g = tokens_of(x[part]).float(), tokens_of(grad[part]).float()
            a, b, mean, r = (each[part] for each in kept)
            per_group = (*r.shape[:2], -1)
            u = torch.addcmul(b, values, a)
            g = _GRADIENTS[ctx.act](g, u)
            sum_g, sum_gx = g.sum(1).view(per_group), torch.mul(g, values, out=u).sum(1).view(per_group)
            d_w = (sum_gx - mean * sum_g) * r
            w, k = a.view(per_group) / r, sum_g[0, 0].numel() * values.shape[1]
            first, second = (w * sum_g).sum(-1, True) / k, (w * d_w).sum(-1, True) / k  # (B, G, 1)
            slope = (-r * r * second).expand_as(d_w)
            offset = -r * first - slope * mean
            d_values = torch.addcmul(offset.reshape(b.shape), values, slope.reshape(b.shape), out=u)
            tokens_of(d_x[part]).copy_(d_values.addcmul_(g, a))
            sums.append((d_w.flatten(1), sum_g.flatten(1)))
        d_w, d_b = (torch.cat(each) for each in zip(*sums))  # (B, C)
        d_scale = d_shift = None
        if scale is not None:
            gain = 1 + scale.float()
            d_scale, d_shift = (d_w * gamma + d_b * beta).to(scale.dtype), d_b.to(scale.dtype)
            d_w, d_b = d_w * gain, d_b * gain
        return d_x, d_w.sum(0).to(gamma.dtype), d_b.sum(0).to(beta.dtype), d_scale, d_shift, None, None, None


def enlarge_and_convolve(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv(nearest 2 × of x), for a 3 × 3 convolution: on a CPU as one transposed convolution of stride 2.

    Over doubled pixels the kernel meets each small pixel once or twice. Its taps summed by small pixel are a 4 × 4
    kernel, and 16 products a small pixel do the work of 36.
    """
    slow = x.dtype == torch.bfloat16 and torch.is_grad_enabled()  # its gradient in bfloat16 is slow
    if x.device.type != "cpu" or slow or len(x) * x.shape[-2] * x.shape[-1] < _FEW:
        return conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    taps = F.avg_pool2d(F.pad(conv.weight, (1, 1, 1, 1)), 2, 1, divisor_override=1)  # sums of 2 × 2
    return F.conv_transpose2d(x, taps.flip(2, 3).transpose(0, 1), conv.bias, stride=2, padding=1)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d) v    (B, heads, ·, d); mask: True where a key may be seen"""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[-2] * k.shape[-2] <= _LONG:
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.float().softmax(-1).to(v.dtype) @ v  # softmax in bfloat16 is slower, and less exact
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def fast_bf16(device: torch.device) -> bool:
    """Whether the processor computes in bfloat16 fast; others do it by way of float32, many times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def keep_memory() -> bool:
    """Asks the C library to keep freed memory for the next array, as GPU allocators do; whether it could.

    By default glibc returns every large array to the system and gets it back page by page, emptied: a fifth of a
    training step. The setting is the whole process's, so programs make it, not an import. Linux with glibc alone.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    trim, mmap = -1, -3  # M_TRIM_THRESHOLD: give nothing back; M_MMAP_THRESHOLD: large arrays too come from the heap
    return bool(mallopt(trim, 2**31 - 1)) and bool(mallopt(mmap, 2**30))
