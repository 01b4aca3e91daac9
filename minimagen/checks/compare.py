"""What two answers have in common: nested comparisons, copies, and where numbers part, in words."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-4


def same(a: Any, b: Any, tolerance: float = TOLERANCE) -> bool:
    """Whether an answer agrees with b: tensors of one shape within `tolerance` of their size, all else inside out."""
    if isinstance(a, np.generic) or (isinstance(a, Tensor) and a.ndim == 0 and _number(b)):
        a = a.item()  # NumPy's numbers are numbers, and so is a tensor of one where a number is right
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.shape != b.shape or a.layout != b.layout or a.is_complex() != b.is_complex():
            return False
        a, b = a.to_dense(), b.to_dense()
        if not (a.is_floating_point() or b.is_floating_point() or a.is_complex()):
            return bool((a == b).all())
        exact = torch.complex128 if a.is_complex() else torch.float64
        return torch.allclose(a.to(exact), b.to(exact), rtol=tolerance, atol=tolerance, equal_nan=True)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y, tolerance) for x, y in zip(a, b))
    if is_dataclass(a) and type(a) is type(b):
        return all(same(getattr(a, f.name), getattr(b, f.name), tolerance) for f in fields(a))
    if _number(a) and _number(b):
        return abs(a - b) <= tolerance * max(1.0, abs(b)) or (a != a and b != b)
    if type(a) is not type(b) or isinstance(a, Tensor):
        return False
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and a.tobytes() == b.tobytes()
    return bool(a == b)


def copied(value: Any) -> Any:
    """The same numbers in tensors of their own, so that a function that writes into its inputs harms nobody else."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(map(copied, value))
    return value


def difference(got: Any, expected: Any) -> str | None:
    """One sentence on how `got` differs from `expected`; None if it does not."""
    if same(got, expected):
        return None
    if got is None:
        return "it returns nothing: does it end with a `return`?"
    if isinstance(expected, Tensor):
        if not isinstance(got, Tensor):
            return f"it returns {a_kind(got)}, and a tensor is expected."
        if got.shape != expected.shape:
            return f"the result has the shape {shape(got)}, and {shape(expected)} is expected."
        if got.is_complex() and not expected.is_complex():
            return "the result is complex, and real numbers are expected: `.real` is that part of it."
        if got.layout != expected.layout:
            return f"the result is stored as {got.layout}, and {expected.layout} is expected."
        if bool(torch.isnan(got).any()):
            return "the result holds NaN, which is what 0/0, ∞ − ∞ and roots below 0 leave behind."
        if bool(torch.isinf(got).any()):
            return "the result holds infinite values: something is divided by zero, or overflows."
        gap = (got.double() - expected.double()).abs().flatten()
        where = int(gap.argmax())
        return (
            f"the numbers differ by up to {float(gap[where]):.2g}. At their worst, yours is "
            f"{float(got.flatten()[where]):.4g} where {float(expected.flatten()[where]):.4g} is right."
        )
    if isinstance(expected, (list, tuple)):
        if not isinstance(got, (list, tuple)) or len(got) != len(expected):
            return f"it returns {_brief(got)}, and {a_kind(expected)} of {len(expected)} values is expected."
        parts = (difference(g, e) for g, e in zip(got, expected))
        return next((f"value {i + 1} of {len(expected)}: {d}" for i, d in enumerate(parts) if d), None)
    return f"it returns {_brief(got)}, and {_brief(expected)} is right."


def shape(value: Tensor) -> str:
    return "(" + ", ".join(map(str, value.shape)) + ")"


def a_kind(value: Any) -> str:
    """The type of a value with its article: "an int", "a list"."""
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _brief(value: Any) -> str:
    text = f"a tensor of shape {shape(value)}" if isinstance(value, Tensor) else repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
