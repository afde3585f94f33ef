"""Where in a user's code an error came from."""

from __future__ import annotations

import sysconfig
import traceback
from functools import cache
from pathlib import Path

import tidemill

_INTERACTIVE = ("<stdin>", "<ipython-")
"""How the files begin whose code was typed in; other names in angle brackets are of generated code."""


def find_user_frame(error: BaseException) -> str:
    """The innermost place of `error` in code that is neither Tidemill's nor a library's: `steps.py:5 in db`.

    Empty where there is none.
    """
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if _is_user_code(code.co_filename):
            found = f"{Path(code.co_filename).name}:{line} in {code.co_name}"
    return found


@cache
def _is_user_code(file: str) -> bool:
    if file.startswith("<"):
        return file.startswith(_INTERACTIVE)
    return not any(Path(file).is_relative_to(folder) for folder in _library_folders())


@cache
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return str(Path(tidemill.__file__).parent), *(
        paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")
    )
