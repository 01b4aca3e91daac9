"""The renderer against geometry worked out by other means: known pixels, brute-force shadows, the font itself."""

import math
from dataclasses import replace

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from torch.nn.functional import avg_pool2d

from minimagen.toyland import camera as cam
from minimagen.toyland import lettering, light, shapes, surfaces, world
from minimagen.toyland.compose import random_scene
from minimagen.toyland.parsing import parse
from minimagen.toyland.render import render
from minimagen.toyland.scene import BACKDROPS, COLORS, FLOORS, LIGHTS, MATERIALS, PATTERNS, SHAPES, SIZES, Scene, Thing

FAR = Thing("sphere", "red", "small", x=50.0)  # out of the picture


def scene(*things: Thing, **stage) -> Scene:
    return Scene(things or (FAR,), **{"floor": "concrete", **stage})


def box_pixels(box: cam.Box, size: int, grow: float = 0.0) -> tuple[slice, slice]:
    x0, y0, x1, y1 = (v * size for v in box)
    return slice(math.floor(y0 - grow), math.ceil(y1 + grow)), slice(math.floor(x0 - grow), math.ceil(x1 + grow))


# ------------------------------------------------------------------------------------------------------- known pixels


def test_a_sphere_is_where_the_camera_says():
    size = 256
    ball = Thing("sphere", "red", "large", x=0.7, z=-0.5)
    picture = render([scene(ball)], size)[0]
    u, v, depth = cam.project(0.7, cam.SCALE["large"], -0.5)
    red = picture[:, int(v * size), int(u * size)]
    assert red[0] > 0.2 and red[1] < -0.35 and red[2] < -0.35
    row = (picture[0] - picture[1])[int(v * size)] > 0.45  # the row through the middle: redder than any floor
    columns = row.nonzero().squeeze(1)
    r = 0.5 * cam.FOCAL * cam.SCALE["large"] / depth * size
    assert abs(columns[0] - (u * size - r)) < 1.5 and abs(columns[-1] + 1 - (u * size + r)) < 1.5
    assert row[columns[0] : columns[-1] + 1].all()
    rows = ((picture[0] - picture[1])[:, int(u * size)] > 0.45).nonzero().squeeze(1)
    assert (
        abs((rows[0] + rows[-1] + 1) / 2 - v * size) < 0.8 and abs((columns[0] + columns[-1] + 1) / 2 - u * size) < 0.8
    )


def test_the_edge_of_a_cube_is_a_straight_line_where_it_belongs():
    size, half = 512, cam.CUBE_HALF * cam.SCALE["large"]
    picture = render([scene(Thing("cube", "white", "large"), light="left", floor="grassy")], size)[0]
    top = cam.height("cube", "large")
    for y in (0.3 * top, 0.5 * top, 0.8 * top):  # the left edge of the front face
        u, v, _ = cam.project(-half, y, -half)
        row = picture[:, int(v * size)].amin(0)  # white is high in every channel, grass is not
        column = u * size
        assert (row[int(column) + 2 : int(column) + 30] > 0.3).all()
        assert (row[int(column) - 30 : int(column) - 2] < 0.1).all()
    for x in (
        -0.6 * half,
        0.0,
        0.6 * half,
    ):  # the edge between front and top: the top, which faces the lamp, is brighter
        u, v, _ = cam.project(x, top, -half)
        line = picture[1, :, int(u * size)]
        above, below = (
            line[int(v * size) - 8 : int(v * size) - 2].mean(),
            line[int(v * size) + 3 : int(v * size) + 9].mean(),
        )
        assert above > below + 0.05


@pytest.mark.parametrize("shape", SHAPES)
def test_edges_are_blended_as_far_as_they_cover_a_pixel(shape):
    s = scene(Thing(shape, "white", "large", yaw=0.3), floor="grassy", backdrop="green hedge")
    small, truth = render([s], 64)[0], avg_pool2d(render([s], 512), 8)[0]
    assert (small - truth).abs().max() < 0.25  # white on green: a pixel on the wrong side would be off by 1


@pytest.mark.parametrize("shape", ["sphere", "cube", "cylinder", "ring"])  # the lamp is too high for the pointed ones
@pytest.mark.parametrize("side", [-1, 1])
def test_shadows_fall_away_from_the_lamp(shape, side):
    s = scene(Thing(shape, "blue", "large", yaw=0.2), light="left" if side == 1 else "right")
    dark = -(render([s], 128) - render([replace(s, things=(FAR,))], 128))[0].mean(0)
    shine = surfaces.LIGHT[s.light]
    middle = 0.55 * cam.height(shape, "large") if shape != "ring" else 0.14 * cam.height(shape, "large")
    t = middle / shine[1]
    u, v, _ = cam.project(-t * shine[0] * 1.6, 0.0, -t * shine[2] * 1.6)
    width = cam.screen_box(shape, "large", 0, 0, 0, 0.2)
    right, left = (
        dark[:, int(width[2] * 128) + 2 :].clamp_min(0).sum(),
        dark[:, : int(width[0] * 128) - 2].clamp_min(0).sum(),
    )
    far, near = (right, left) if side == 1 else (left, right)
    assert far > 1.7 * near + 1.5
    if shape in ("cube", "cylinder", "sphere"):  # in the umbra, behind the thing
        assert dark[int(v * 128), int(u * 128)] > 0.15


def test_glass_lets_light_and_colour_through():
    thing = Thing("sphere", "blue", "large", "matte")
    solid, glass = (render([scene(replace(thing, material=m), light="left")], 128)[0] for m in ("matte", "glass"))
    u, v, _ = cam.project(1.25, 0.0, 0.75)
    at = int(v * 128), int(u * 128)
    assert glass[2][at] > solid[2][at] + 0.15  # a lighter shadow
    assert glass[2][at] - glass[0][at] > solid[2][at] - solid[0][at] + 0.05  # and a bluer one


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_screen_boxes_hold_things_and_fit_tightly(shape, size):
    s = scene(Thing(shape, "red", size, x=-0.4, z=0.6, yaw=0.5), floor="grassy", backdrop="green hedge", light="above")
    picture = render([s], 256)[0]
    red = (picture[0] - torch.maximum(picture[1], picture[2])) > 0.4  # shaded grass is never red
    rows, columns = red.any(1).nonzero().squeeze(1), red.any(0).nonzero().squeeze(1)
    box = [v * 256 for v in cam.screen_box(shape, size, -0.4, 0.0, 0.6, 0.5)]
    found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert all(abs(a - float(b)) < 4.0 for a, b in zip(box, found)), (box, found)


# --------------------------------------------------------------------------------------------------- shapes and light


def inside(shape: int, p: torch.Tensor) -> torch.Tensor:
    """< 0 inside: written anew, from the shapes' definitions."""
    x, y, z = p.double().unbind(-1)
    if shape == shapes.BOX:
        return torch.stack(
            [x.abs() - cam.CUBE_HALF, (y - cam.CUBE_HALF).abs() - cam.CUBE_HALF, z.abs() - cam.CUBE_HALF]
        ).amax(0)
    if shape == shapes.SPHERE:
        return (x**2 + (y - 1) ** 2 + z**2).sqrt() - 1
    if shape == shapes.CYLINDER:
        h = cam.HEIGHT["cylinder"]
        return torch.maximum((x**2 + z**2).sqrt() - cam.RADIUS["cylinder"], (y - h / 2).abs() - h / 2)
    if shape == shapes.CONE:
        h = cam.HEIGHT["cone"]
        return torch.maximum((x**2 + z**2).sqrt() - cam.RADIUS["cone"] * (1 - y / h), -y)
    if shape == shapes.PYRAMID:
        h = cam.HEIGHT["pyramid"]
        return torch.stack([torch.maximum(x.abs(), z.abs()) - cam.PYRAMID_HALF * (1 - y / h), -y]).amax(0)
    return (((x**2 + (y - 1) ** 2).sqrt() - cam.RING_RADIUS) ** 2 + z**2).sqrt() - cam.RING_TUBE


def cast(shape, seed, count=4000):
    g = torch.Generator().manual_seed(seed)
    d = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=1)
    o = torch.tensor([0.0, 0.8, 0.0]) + torch.randn(count, 3, generator=g) * 0.5 - 4 * d
    half = tuple(torch.full((count,), cam.CUBE_HALF) for _ in range(3))
    t0, t1 = shapes.intersect(shape, tuple(o.unbind(1)), tuple(d.unbind(1)), half)
    return o, d, t0, t1, half


@pytest.mark.parametrize("shape", range(6))
def test_rays_enter_and_leave_where_the_shape_begins_and_ends(shape):
    o, d, t0, t1, half = cast(shape, 3)
    hit = t0 < 1e5
    assert 0.1 < hit.float().mean() < 0.95
    on = (o + t0.unsqueeze(1) * d)[hit]
    assert inside(shape, on).abs().max() < 5e-3
    exact = inside(shape, (o + t1.unsqueeze(1) * d)[hit]).abs()
    assert exact.mean() < 1e-3 and exact.max() < (0.05 if shape == shapes.RING else 5e-3)  # a ring's are found by steps
    steps = torch.linspace(0, 8, 400)
    deep = inside(shape, o.unsqueeze(1) + steps.view(1, -1, 1) * d.unsqueeze(1))  # march along every ray
    few = 0.01 if shape == shapes.RING else 0.0  # stepping towards a ring gives up on some rays that graze it
    assert (deep[~hit] < -5e-3).any(1).float().mean() <= few
    before = steps.unsqueeze(0) < (t0[hit] - 1e-2).unsqueeze(1)
    assert (deep[hit][before] > -5e-3).all()
    n, _ = shapes.surface(shape, tuple(on.unbind(1)), tuple(c[hit] for c in half))
    n = torch.stack(n, 1)
    assert ((n * n).sum(1) - 1).abs().max() < 1e-4
    assert (inside(shape, on + 0.02 * n) > 0).float().mean() > 0.99
    assert (inside(shape, on - 0.02 * n) < 0).float().mean() > 0.97


@pytest.mark.parametrize("shape", range(6))
def test_the_farthest_point_of_a_direction(shape):
    o, d, t0, _, half = cast(shape, 5)
    points = (o + t0.unsqueeze(1) * d)[t0 < 1e5]
    n = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    far = torch.stack(shapes.reach(shape, tuple(n.unbind(1)), tuple(c[:200] for c in half)), 1)
    most = (points @ n.T).amax(0)
    assert ((far * n).sum(1) - most > -5e-3).all() and ((far * n).sum(1) - most).mean() < 0.08


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("lamp", LIGHTS)
def test_soft_shadows_agree_with_casting_many_rays_at_the_lamp(name, lamp):
    w = world.build([scene(Thing(name, "red", "large", yaw=0.4), light=lamp)], "cpu")
    x, z = torch.meshgrid(torch.linspace(-2, 3.2, 53), torch.linspace(-2, 3.2, 53), indexing="ij")
    p = (x.reshape(-1), torch.zeros(53 * 53), z.reshape(-1))
    scenes, part = torch.zeros(53 * 53, dtype=torch.long), torch.zeros(53 * 53, dtype=torch.long)
    k, through = light.shadow(w, part, p, torch.full((53 * 53,), 1e-3), w.axes(scenes))
    lit = torch.ones(53 * 53)
    lit[k] = through[0]
    e1, e2, to = (torch.stack([c[:1] for c in axis], 1) for axis in w.axes(scenes))
    blocked = torch.zeros(53 * 53)
    for i in range(60):  # a sunflower of points on the lamp
        r, a = surfaces.LAMP * math.sqrt((i + 0.5) / 60), i * 2.399963
        d = torch.nn.functional.normalize(to + r * math.cos(a) * e1 + r * math.sin(a) * e2, dim=1)[0]
        ray = tuple(c.expand(53 * 53).contiguous() for c in d)
        blocked += (light.meet(w, shapes.CODES[name], part, p, ray)[0] < 1e5).float() / 60
    feet = cam.radius(name, "large")  # under and inside the thing nobody looks
    outside = (p[0] ** 2 + p[2] ** 2) > feet**2
    error = (lit - (1 - blocked)).abs()[outside]
    assert error.mean() < 0.008 and (error > 0.35).float().mean() < 0.008
    if name in ("sphere", "cube", "cylinder"):
        assert blocked[outside].mean() > 0.02  # and there is a shadow to speak of


# ----------------------------------------------------------------------------------------- the same picture every time


def test_a_picture_depends_on_nothing_but_its_scene():
    scenes = [random_scene(i) for i in range(12)]
    together = render(scenes, 64)
    alone = torch.cat([render([s], 64) for s in scenes])
    assert (together - alone).abs().max() < 2e-6  # fp32 in vectors of another length
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0)).tolist()
    assert (render([scenes[i] for i in order], 64) - together[order]).abs().max() < 2e-6
    assert torch.equal(render(scenes, 64), together)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert (render(scenes, 64) - together).abs().max() < 2e-6
    finally:
        torch.set_num_threads(threads)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000), st.integers(32, 130), st.data())
def test_a_window_is_its_crop(seed, size, data):
    x0, y0 = data.draw(st.integers(0, size - 8)), data.draw(st.integers(0, size - 8))
    w, h = data.draw(st.integers(4, size - x0)), data.draw(st.integers(4, size - y0))
    s = random_scene(seed)
    crop = render([s], size, (x0 / size, y0 / size, (x0 + w) / size, (y0 + h) / size))
    assert crop.shape == (1, 3, h, w)
    assert (crop - render([s], size)[:, :, y0 : y0 + h, x0 : x0 + w]).abs().max() < 5e-6


def test_each_scene_may_have_its_own_window():
    scenes = [random_scene(i) for i in range(3)]
    windows = [(0.0, 0.0, 0.25, 0.25), (0.3, 0.41, 0.55, 0.66), (0.75, 0.75, 1.0, 1.0)]
    both = render(scenes, 256, windows)
    assert both.shape == (3, 3, 64, 64)
    for s, w, x in zip(scenes, windows, both):
        assert (render([s], 256, w)[0] - x).abs().max() < 5e-6


def test_above_512_px_eight_rays_are_enough():
    s, window = random_scene(0), (0.25, 0.25, 0.5, 0.5)
    assert torch.equal(render([s], 528, window), render([s], 528, window, samples=8))


def test_small_pictures_are_large_ones_seen_from_afar():
    scenes = [random_scene(i) for i in range(2)]
    large = render(scenes, 1024)
    for size, mean in ((64, 0.016), (256, 0.006)):
        assert (avg_pool2d(large, 1024 // size) - render(scenes, size)).abs().mean() < mean
    plain = [replace(s, things=tuple(replace(t, pattern="plain") for t in s.things)) for s in scenes]
    assert (avg_pool2d(render(plain, 512), 8) - render(plain, 64)).abs().mean() < 0.010


# -------------------------------------------------------------------------------------------------------------- looks


def test_mid_tones_leave_room_for_highlights():
    x = render([random_scene(i) for i in range(100)], 64)
    assert x.dtype == torch.float32 and x.isfinite().all() and x.min() >= -0.7001 and x.max() <= 1
    assert (x > 0.7).float().mean() < 0.02 and (x > 0.75).any()  # only highlights are brighter, and there are some
    assert x.std() > 0.25


def middle(picture: torch.Tensor, box: cam.Box) -> torch.Tensor:
    """The mean of the more colourful half of a thing's middle: the eye, too, discounts highlights. (3,)"""
    size = picture.shape[-1]
    u, v = (box[0] + box[2]) / 2 * size, (box[1] + box[3]) / 2 * size
    r = 0.30 * (box[2] - box[0]) * size
    pixels = picture[:, int(v - r) : int(v + r) + 1, int(u - r) : int(u + r) + 1].flatten(1)
    chroma = pixels.amax(0) - pixels.amin(0)
    return pixels[:, chroma.topk(pixels.shape[1] // 2).indices].mean(1)


@pytest.mark.parametrize("shape", ["sphere", "cube", "cylinder", "cone", "pyramid"])
def test_colours_keep_their_names_in_every_light(shape):
    box = cam.screen_box(shape, "large", 0, 0, 0, 0.6)
    reference = torch.stack(
        [middle(x, box) for x in render([scene(Thing(shape, c, "large", yaw=0.6)) for c in COLORS], 64)]
    )
    for material in ("matte", "shiny", "metal"):
        for i, (backdrop, lamp) in enumerate((b, LIGHTS[i % 3]) for i, b in enumerate(BACKDROPS)):
            floor = FLOORS[(i + len(shape) + len(material)) % len(FLOORS)]
            scenes = [
                scene(Thing(shape, c, "large", material, yaw=0.6), backdrop=backdrop, light=lamp, floor=floor)
                for c in COLORS
            ]
            seen = torch.stack([middle(x, box) for x in render(scenes, 64)])
            hue, known = (
                c - c.mean(1, keepdim=True) * 0.6 for c in (seen, reference)
            )  # hue counts more than brightness
            nearest = torch.cdist(hue, known).argmin(1)
            wrong = [(COLORS[k], COLORS[j]) for k, j in enumerate(nearest.tolist()) if j != k]
            assert len(wrong) <= (0 if material == "matte" else 1), (material, backdrop, lamp, floor, wrong)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_materials_can_be_told_apart_at_64_px(shape, size):
    rows, columns = box_pixels(cam.screen_box(shape, size, 0, 0, 0, 0.5), 64)
    for color in ("red", "cyan", "white"):
        look = render([scene(Thing(shape, color, size, m, yaw=0.5)) for m in MATERIALS], 64)[:, :, rows, columns]
        for i in range(len(MATERIALS)):
            for j in range(i):
                difference = (look[i] - look[j]).abs().mean(0)  # of white, matte and shiny differ by a highlight alone
                assert difference.mean() > 0.008 and difference.max() > 0.11, (color, MATERIALS[i], MATERIALS[j])


@pytest.mark.parametrize("pattern", PATTERNS[1:])
@pytest.mark.parametrize("shape", SHAPES)
def test_patterns_show_at_256_px_and_not_at_64(shape, pattern):
    plain = scene(Thing(shape, "green", "large", yaw=0.5))
    drawn = scene(Thing(shape, "green", "large", "matte", pattern, yaw=0.5))
    assert torch.equal(render([plain], 64), render([drawn], 64))
    rows, columns = box_pixels(cam.screen_box(shape, "large", 0, 0, 0, 0.5), 256)
    a, b = (render([s], 256)[0][:, rows, columns] for s in (plain, drawn))
    inside = (a[1] - a[0]) > 0.3
    difference = (b - a)[:, inside]
    assert difference.abs().mean() > 0.06  # clearly there
    shift = difference.mean(1)  # as light as dark; red and blue are short of room below
    assert abs(shift[1]) < 0.02 and shift.abs().max() < 0.08


def test_no_two_letters_look_alike():
    """J and Q reach below the line. Cut off there, they would be an I and an O."""
    ink = (lettering.letters() > 0).flatten(1).float()
    both, area = ink @ ink.T, ink.sum(1)
    shared = (both / (area[:, None] + area - both)).fill_diagonal_(0)  # of all ink of a pair, the part that is common
    assert shared.max() < 0.9, "".join(chr(65 + i) for i in divmod(int(shared.argmax()), 26))


def test_the_sign_can_be_read():
    font = ImageFont.truetype(str(lettering.FONT), 200)
    wrong: dict[int, list] = {64: [], 256: []}
    words = ["ABCDEF", "GHIJKL", "MNOPQR", "STUVWX", "YZ"]
    for word in words:
        x, z = 0.0, 3.0
        a, bottom = cam.board_width(word) / 2, cam.POST_HEIGHT + (cam.BOARD_HEIGHT - cam.LETTER_HEIGHT) / 2
        for size in wrong:
            picture = render([Scene((), word=word, sign=(x, z), floor="sandy")], size)[0].mean(0)
            image = Image.fromarray(((picture + 1) * 127.5).numpy().astype("float32"))
            edges = cam.cells(word)
            for letter, left, end in zip(word, edges[:-1], edges[1:]):
                front = z - cam.BOARD_DEPTH / 2
                u0, v0, _ = cam.project(left - a + cam.BOARD_MARGIN, bottom + cam.LETTER_HEIGHT, front)
                u1, v1, _ = cam.project(end - a + cam.BOARD_MARGIN, bottom, front)
                cell = image.transform(
                    (40, 48),
                    Image.Transform.EXTENT,
                    tuple(v * size for v in (u0, v0, u1, v1)),
                    Image.Resampling.BILINEAR,
                )
                seen = numpy.asarray(cell).ravel()
                scores = {}
                for other in map(chr, range(65, 91)):  # letters as the font alone draws them
                    share = (end - left) / cam.CELL_WIDTH
                    box = font.getbbox(other)
                    width = min(
                        (box[2] - box[0]) / (font.getbbox("H")[3] - font.getbbox("H")[1]) * cam.LETTER_HEIGHT,
                        0.9 * cam.CELL_WIDTH,
                    )
                    glyph = Image.new("L", (int(box[2] - box[0]), int(box[3] - box[1])), 255)
                    ImageDraw.Draw(glyph).text((-box[0], -box[1]), other, fill=0, font=font)
                    pixels = round(40 * width / (cam.CELL_WIDTH * share))
                    template = Image.new("L", (40, 48), 255)
                    template.paste(glyph.resize((max(pixels, 1), 48)), ((40 - pixels) // 2, 0))
                    scores[other] = numpy.corrcoef(seen, numpy.asarray(template).ravel())[0, 1]
                if (best := max(scores, key=scores.__getitem__)) != letter:
                    wrong[size].append((letter, best))
    assert len(wrong[256]) <= 1 and len(wrong[64]) <= 1, wrong


# --------------------------------------------------------------------------------------------------------- at the door


@pytest.mark.parametrize("size", [16, 33, 2048])
def test_any_size_in_range(size):
    x = render(random_scene(4), size, (0.25, 0.5, 0.5, 0.75) if size > 1000 else None)
    assert x.isfinite().all() and x.shape[-1] == (512 if size > 1000 else size)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([], 64), "no scenes"),
        (([scene()], 8), "16 to 2048"),
        (([scene()], 4096), "16 to 2048"),
        (([scene()], 64.0), "whole number"),
        ((["a red cube"], 64), "draws Scenes"),
        ((parse("a red cube"), 64), "draws Scenes, not Description"),
        (([scene(Thing("cube", "red", "small", y=-1.0))], 64), "below the floor"),
        (([scene(Thing("cube", "red", "small", z=9.0))], 64), "backdrop"),
        (([scene(Thing("cube", "red", "small", z=-40.0))], 64), r"camera: z lies between -10\.1 and 5\.6"),
        (([scene(Thing("cube", "red", "small", x=math.nan))], 64), "finite"),
        (([scene()], 64, (0.5, 0.0, 0.4, 1.0)), "window"),
        (([scene()], 64, (0.5, 0.5, 0.501, 0.501)), "no pixel"),
        (([scene()], 64, [(0.0, 0.0, 0.5, 0.5)] * 2), "2 windows for 1 scenes"),
        (([scene()] * 2, 64, [(0.0, 0.0, 0.5, 0.5), (0.0, 0.0, 1.0, 1.0)]), "one size"),
        (([scene()], 64, None, "cpu", 0), "samples"),
    ],
)
def test_mistakes_get_one_clear_sentence(arguments, says):
    with pytest.raises(ValueError, match=says):
        render(*arguments)
