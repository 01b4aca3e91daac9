"""Points in the plane, panel by panel: where a small diffusion draws, over where it should."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .frame import COLORS, Figure, page, styled

MARKS = ("o", "^", "s", "D")
GREYS = ("#cfcfcf", "#a8a8a8", "#8a8a8a")


@styled
def clouds(
    panels: Mapping[str, Mapping[str, Tensor]],
    ground: Mapping[str, Tensor] | None = None,
    *,
    reach: float = 2.0,
    caption: str = "",
    height: float = 2.9,
) -> Figure:
    """Panels side by side, each of clouds (N, 2) by name, on [−reach, reach]². ground: clouds behind, in every panel.

    Points outside are put on the edge, so that none is lost from sight.
    """
    figure = page(height + 0.3, caption)
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (title, named) in zip(axes, panels.items()):
        for k, (name, points) in enumerate((ground or {}).items()):
            x, y = points.clamp(-reach, reach).T
            ax.scatter(x, y, s=7, color=GREYS[k % len(GREYS)], marker=MARKS[k % len(MARKS)], linewidths=0, label=name)
        for k, (name, points) in enumerate(named.items()):
            x, y = points.clamp(-reach, reach).T
            ax.scatter(x, y, s=9, color=COLORS[k % len(COLORS)], linewidths=0, alpha=0.7, label=name)
        ax.set(title=title, aspect="equal", xlim=(-1.05 * reach, 1.05 * reach), ylim=(-1.05 * reach, 1.05 * reach))
        ax.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    handles = {name: h for ax in axes for h, name in zip(*ax.get_legend_handles_labels())}
    figure.legend(
        list(handles.values()), list(handles), loc="outside upper center", ncols=len(handles), markerscale=2.2
    )
    return figure
