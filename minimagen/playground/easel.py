"""The picture on the page: it changes with every step, a light can fall on it, and a brush can paint a mask over it."""

from __future__ import annotations

from pathlib import Path

import traitlets as t

try:
    import anywidget
except ImportError as fault:
    raise ImportError("the playground needs anywidget: pip install 'minimagen-course[play]'") from fault


class Easel(anywidget.AnyWidget):
    """Python sets what is shown; the browser answers with `picked` and `mask`."""

    _esm = Path(__file__).with_name("easel.js")
    _css = Path(__file__).with_name("easel.css")

    picture = t.Bytes(b"").tag(sync=True)  # PNG or JPEG
    sharp = t.Bool(True).tag(sync=True)  # show every pixel as a square
    veil = t.Bytes(b"").tag(sync=True)  # a PNG with alpha to lay over the picture; empty = none
    told = t.Unicode("").tag(sync=True)  # the picture in words, for those who cannot see it
    stages = t.List(t.Dict()).tag(sync=True)  # [{"name", "about", "share" in [0, 1], "thumb": bytes}, …]
    chosen = t.Int(0).tag(sync=True)  # the stage that is shown
    picked = t.Dict().tag(sync=True)  # {"stage": …, "time": …}, from the browser: a stage was clicked
    brush = t.Float(0.0).tag(sync=True)  # the brush's width as a share of the picture's; 0 = no brush
    mask = t.CBytes(b"").tag(sync=True)  # from the browser, as a memoryview: a PNG, opaque where the brush has been
    wiped = t.Int(0).tag(sync=True)  # counted up to wipe the mask away
    final = t.Bytes(b"").tag(sync=True)  # the finished picture, to be saved; empty = not yet
    filename = t.Unicode("picture.png").tag(sync=True)
