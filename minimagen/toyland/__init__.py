"""Toyland: a small world whose captions are exact.

scene = random_scene(seed)     what stands where
scene.caption                  what is said of it; scene.captions(n) says it in other ways
parse(caption)                 what was said; matches(description, scene): is it so?
sentences, pairs               the text corpus, which knows more words than the pictures' captions
render(scenes, 256)            their pictures
judge(pictures)                what is to be seen in them
drawbench()                    prompts, each with what must be seen
"""

from minimagen.toyland.compose import SIGN as SIGN
from minimagen.toyland.compose import random_scene as random_scene
from minimagen.toyland.compose import relations as relations
from minimagen.toyland.corpus import pairs as pairs
from minimagen.toyland.corpus import sentences as sentences
from minimagen.toyland.drawbench import drawbench as drawbench
from minimagen.toyland.heldout import held_out as held_out
from minimagen.toyland.judge import judge as judge
from minimagen.toyland.parsing import Description as Description
from minimagen.toyland.parsing import ThingDescription as ThingDescription
from minimagen.toyland.parsing import matches as matches
from minimagen.toyland.parsing import parse as parse
from minimagen.toyland.render import render as render
from minimagen.toyland.rewording import misspell as misspell
from minimagen.toyland.scene import WORLD_VERSION as WORLD_VERSION
from minimagen.toyland.scene import Scene as Scene
from minimagen.toyland.scene import Thing as Thing
