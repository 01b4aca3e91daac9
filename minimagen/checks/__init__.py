"""Checks for the exercises: `checks.forward_jump(forward_jump)` says what is right, or names the mistake it sees.

One check an exercise, in a file a lesson. The frame gives every check its manners; an exercise gives the right answer,
some inputs, and the mistakes that people make with what to say of each.
"""

from .frame import Borrowed as Borrowed
from .frame import Case as Case
from .frame import Exercise as Exercise
from .frame import NotYet as NotYet
from .frame import Wrong as Wrong
from .frame import exercises as exercises
from .lesson_00 import how_alike as how_alike
from .lesson_00 import to_pixels as to_pixels
from .lesson_01 import ddim_step as ddim_step
from .lesson_01 import exact_x as exact_x
from .lesson_01 import forward_jump as forward_jump
from .lesson_02 import attention as attention
from .lesson_02 import mean_of_words as mean_of_words
from .lesson_02 import span_corruption as span_corruption
from .lesson_03 import attend_to_both as attend_to_both
from .lesson_03 import residual_block as residual_block
from .lesson_03 import time_waves as time_waves
from .lesson_04 import drop_captions as drop_captions
from .lesson_04 import ema_update as ema_update
from .lesson_04 import min_snr_weight as min_snr_weight
from .lesson_04 import training_loss as training_loss
from .lesson_05 import both_at_once as both_at_once
from .lesson_05 import guided as guided
from .lesson_05 import our_w as our_w
from .lesson_06 import dynamic_threshold as dynamic_threshold
from .lesson_06 import saturation as saturation
from .lesson_06 import static_threshold as static_threshold
from .lesson_07 import augmented as augmented
from .lesson_07 import enlarge as enlarge
from .lesson_07 import residual_x as residual_x
from .lesson_08 import go_back as go_back
from .lesson_08 import image_start as image_start
from .lesson_08 import put_in as put_in
from .lesson_09 import frechet_distance as frechet_distance
from .lesson_09 import interval as interval
from .lesson_09 import matched as matched
from .lesson_10 import cascade_by_hand as cascade_by_hand
from .lesson_10 import leading_times as leading_times
from .lesson_10 import rename as rename
from .record import Progress as Progress
from .record import progress as progress
