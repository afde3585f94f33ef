"""`tidemill.testing` loads its names on first use."""

import subprocess
import sys

import pytest

import tidemill.testing


def test_every_name_is_there() -> None:
    """What `__all__` promises can be had, and is listed."""
    for name in tidemill.testing.__all__:
        assert getattr(tidemill.testing, name) is not None
    assert dir(tidemill.testing) == sorted(tidemill.testing.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        tidemill.testing.nothing  # noqa: B018 - what the test is about


def test_importing_it_loads_nothing() -> None:
    """The package costs nothing until a name is used."""
    code = "import sys, tidemill.testing; print([m for m in sys.modules if m in ('asyncio', 'orjson', 'uvloop')])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert told.stdout.strip() == "[]"
