import pytest

from tidemill.calls.admission.strays import FEW_RATIO, LEAST_RATIO, MEMORY_S, TELLING, Strays


def refuse(strays: Strays, times: int, *, start: float = 0.0, carried: float, ratio: float) -> float | None:
    """So many refusals, one a second, where a minute carried a hundred a second; when strays were found."""
    for step in range(times):
        if strays.find(start + step, carried=carried, before=100.0, ratio=ratio):
            return start + step
    return None


def test_refusals_that_go_on_at_much_less_are_strays() -> None:
    """And are known for a while, as long as not many more are refused."""
    strays = Strays()
    found = refuse(strays, TELLING, carried=50.0, ratio=0.1)
    assert found == TELLING - 1
    assert strays.are_known(found + 1, 0.15)
    assert not strays.are_known(found + 1, 0.16)
    assert not strays.are_known(found + MEMORY_S, 0.1)


@pytest.mark.parametrize(
    ("carried", "ratio"), [(90.0, 0.1), (50.0, FEW_RATIO + 0.01)], ids=["at what was carried", "many"]
)
def test_refusals_that_may_come_from_too_much_are_none(carried: float, ratio: float) -> None:
    strays = Strays()
    assert refuse(strays, 100, carried=carried, ratio=ratio) is None
    assert not strays.are_known(100.0, 0.0)


def test_one_that_may_come_from_too_much_begins_the_count_anew() -> None:
    """A bound that is met now and then is one."""
    strays = Strays()
    for start in range(0, 100, TELLING):
        assert refuse(strays, TELLING - 1, start=start, carried=50.0, ratio=0.1) is None
        assert not strays.find(start + TELLING - 1, carried=95.0, before=100.0, ratio=0.1)


def test_what_was_carried_before_one_fell_is_remembered_for_a_while() -> None:
    """Falling slowly hides no strays; a far side that takes less than hours ago has none for that."""
    strays, most = Strays(), 0.0
    for step in range(60):
        carried = 100.0 * 0.98**step
        most = most or strays.find(step, carried=carried, before=carried, ratio=0.02)
    assert most == 100.0
    strays = Strays()
    strays.find(0.0, carried=100.0, before=100.0, ratio=0.02)
    assert all(not strays.find(200.0 + step, carried=50.0, before=50.0, ratio=0.02) for step in range(60))


def test_as_few_as_a_tenth_are_told_from_none_by_nobody() -> None:
    """The share of the last few dozen attempts is too coarse for less."""
    strays = Strays()
    found = refuse(strays, TELLING, carried=50.0, ratio=LEAST_RATIO / 4)
    assert found is not None
    assert strays.are_known(found, LEAST_RATIO)
