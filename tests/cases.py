"""Job files that something is wrong with, each with its report, as a text file lists them."""

from __future__ import annotations

from pathlib import Path


def load_cases(path: Path) -> dict[str, tuple[str, str]]:
    """For each case its name, the job file, and the report."""
    cases = {}
    for section in path.read_text("utf-8").split("=== ")[1:]:
        name, _, rest = section.partition("\n")
        text, _, expected = rest.partition("~~~\n")
        cases[name] = (text, expected.rstrip("\n"))
    return cases
