"""What in the pixels themselves says that they are synthetic: the stamp that people see, and the watermark that software finds.

A file's header is lost when somebody takes a picture of the screen; these two stay. Both go into every synthetic image that is written,
unless it has them. Real images never get them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from proband.errors import InputError
from proband.records.images import Images
from proband.records.stamp import stamped
from proband.records.watermark import LEAST, PUBLIC, key_id, marked

STAMP, WATERMARK = "stamp", "watermark:"
BESIDE = "noise of real images beside made ones"  # a key, and no secret


def burned(images: Images, *, stamp: bool = True, watermark: bool | str = True) -> Images:
    """The images with what they lack of stamp and watermark; the same object where they lack nothing.

    stamp      SYNTHETIC in the lower left corner, where there is room (20 pixels)
    watermark  True: one with the public key, unless they have one of any key; a text: one with this key; False: none.
               Below 32 pixels a side none is put in, since it would not be found again
    """
    if watermark == "":
        raise InputError("watermark = '' is no key. Give a text, True for the key that everybody knows, or False for none.")
    key = watermark if isinstance(watermark, str) else PUBLIC
    has = any(word.startswith(WATERMARK) for word in images.burned_in) if watermark is True else WATERMARK + key_id(key) in images.burned_in
    hides = watermark is not False and not has and min(images.size) >= LEAST
    stamps = stamp and STAMP not in images.burned_in and _has_room(images)
    if not (hides or stamps):
        return images
    values = np.empty_like(images.values)
    for at, one in enumerate(images.values):  # one at a time: in between it is eight bytes a pixel
        if hides:
            one = marked(one, key, low=images.low, high=images.high)
        values[at] = stamped(one, low=images.low, high=images.high) if stamps else one
    put_in = (*([WATERMARK + key_id(key)] if hides else []), *([STAMP] if stamps else []))
    return replace(images, values=values, burned_in=(*images.burned_in, *put_in))


def alike(images: Images, others: Images) -> Images:
    """`images` with a stamp where `others` have one, and with as faint a noise as their watermark: real images beside made ones, so that a
    judge does not look at the corner or the noise alone.

    In memory, to be judged: such images are not synthetic and are never written. The noise is of a key that nobody seeks.
    """
    hides = any(word.startswith(WATERMARK) for word in others.burned_in)
    own = any(word.startswith(WATERMARK) for word in images.burned_in)
    return burned(images, stamp=STAMP in others.burned_in, watermark=BESIDE if hides and not own else False)


def _has_room(images: Images) -> bool:
    blank = np.full((1, *images.size), images.low)
    return bool((stamped(blank, low=images.low, high=images.high) != blank).any())
