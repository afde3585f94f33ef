"""What an image of a size comes to in input tokens, by the rule its model's maker publishes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from tidemill.models.images.size import Size

UNKNOWN_SIZE: Size = (1_024, 1_024)
"""What an image at an address is taken for: nothing is fetched to count."""

ROUNDING = 1e-9

Rule = Callable[[Size], int]


def find_rule(name: str) -> Rule:
    """The rule of the model called `name`, wherever it is asked; of an unknown one that of the open Qwen-VL models."""
    if found := _CLAUDE.search(name):
        return _CLAUDE_LARGE if (int(found[1]), int(found[2] or 0)) >= (4, 7) else _CLAUDE_STANDARD
    return next((rule for pattern, rule in _RULES if re.search(pattern, name)), _QWEN)


def _patches(side: int, most: int, *, edge: int = 1 << 30, factor: float = 1.0) -> Rule:
    """A token for each square of `side` pixels, of the image made smaller until there are no more than `most`."""

    def count(size: Size) -> int:
        scale = min(1.0, edge / max(size))
        across, down = (pixels * scale / side for pixels in size)
        if math.ceil(across) * math.ceil(down) > most:
            scale = math.sqrt(most / (across * down))
            across, down = across * scale, down * scale
            scale = min(max(1, math.floor(each)) / each for each in (across, down))  # the nearer edge is a whole one
            across, down = across * scale, down * scale
        patches = math.ceil(across - ROUNDING) * math.ceil(down - ROUNDING)
        return math.ceil(min(patches, most) * factor)

    return count


def _tiles(base: int, tile: int) -> Rule:
    """`base`, and `tile` for each square of 512 of the image within 2,048, its short side at most 768."""

    def count(size: Size) -> int:
        width, height = size
        scale = min(1.0, 2_048 / max(width, height))
        scale *= min(1.0, 768 / (scale * min(width, height)))
        return base + tile * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)

    return count


_CLAUDE = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:[-.](\d{1,2})(?!\d))?")
_CLAUDE_STANDARD = _patches(28, 1_568, edge=1_568)
_CLAUDE_LARGE = _patches(28, 4_784, edge=2_576)
"""Guide "Vision" (platform.claude.com): squares of 28, and from Claude Opus 4.7 on of larger images."""

_QWEN = _patches(28, 16_384)
"""`max_pixels` of the image processor that Qwen2-VL and Qwen2.5-VL are published with."""

_RULES: tuple[tuple[str, Rule], ...] = (
    (r"gpt-4o-mini", _tiles(2_833, 5_667)),
    (r"gpt-4\.1-mini", _patches(32, 1_536, factor=1.62)),
    (r"gpt-4\.1-nano", _patches(32, 1_536, factor=2.46)),
    (r"gpt-5-mini", _patches(32, 1_536, factor=1.2)),
    (r"gpt-5-nano", _patches(32, 1_536, factor=1.5)),
    (r"gpt-5\.\d-mini", _patches(32, 1_536, factor=1.62)),
    (r"gpt-5\.\d-nano", _patches(32, 1_536, factor=2.46)),
    (r"o4-mini", _patches(32, 1_536, factor=1.72)),
    (r"gpt-5", _tiles(70, 140)),
    (r"(?:^|/)o[13]\b", _tiles(75, 150)),
    (r"gpt-4", _tiles(85, 170)),
)
"""Guide "Images and vision", calculating costs (platform.openai.com); of `gpt-5-mini` and `-nano` the factors that the
pricing page and measured usage have, which are lower than the guide's."""
