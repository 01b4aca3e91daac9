"""Figures and widgets for the lessons: plain functions that return a matplotlib figure, or an ipywidget.

images, strip, steps            pictures: a grid, rows with names, the steps of a sampler
curves, schedules, histograms, bars      numbers: each with axes, a caption, and colours that everyone can tell apart
closeup                         one place of several pictures, enlarged
ranges, board                   scores with their intervals: lines in panels, and a list of categories
noise_level                     one picture at one t, and where on its schedule that is
clouds                          points in the plane, panel by panel
heads, reading                  attention: who takes how much from whom
words, groups                   where words lie, and bars for several encoders
fans, cut                       the values of x̂ by step, and where a percentile cuts them
explore, film, progress         widgets; explore and film leave a static figure for GitHub and for print
"""

from .closeup import closeup as closeup
from .clouds import clouds as clouds
from .curves import bars as bars
from .curves import curves as curves
from .curves import histograms as histograms
from .curves import schedules as schedules
from .frame import COLORS as COLORS
from .frame import Figure as Figure
from .noise import noise_level as noise_level
from .pictures import images as images
from .pictures import steps as steps
from .pictures import strip as strip
from .scores import board as board
from .scores import ranges as ranges
from .text import groups as groups
from .text import heads as heads
from .text import reading as reading
from .text import words as words
from .values import cut as cut
from .values import fans as fans
from .widgets import Explorer as Explorer
from .widgets import explore as explore
from .widgets import film as film
from .widgets import progress as progress
