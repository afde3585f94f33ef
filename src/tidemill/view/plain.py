"""Text from outside as it is: no markup, and no control characters that a terminal would obey."""

from __future__ import annotations

from rich.text import Text


def make_plain(text: str, style: str = "") -> Text:
    """`text` in one style; what is no letter, digit, sign, space or line end shows as U+FFFD."""
    shown = "".join(each if each.isprintable() or each in "\n\t" else "\ufffd" for each in text)
    return Text(shown, style=style)
