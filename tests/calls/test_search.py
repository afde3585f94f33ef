from hypothesis import given
from hypothesis import strategies as st

from tidemill.calls.admission.search import NEAR_RATIO, UNKNOWN, Course, Search

STEADY = Course(probe_ratio=0.02, growth=1.0)
COURSES = st.builds(Course, probe_ratio=st.floats(0.001, 1.0), growth=st.floats(1.0, 2.0), least=st.floats(0.0, 2.0))
ROUNDS = st.lists(st.floats(1e-4, 1.0), max_size=100)


@given(value=st.floats(1.0, 1e4), rounds=ROUNDS)
def test_with_no_mark_a_round_doubles_it(value: float, rounds: list[float]) -> None:
    """In however many parts it comes; the more parts, the nearer to e times as much."""
    search = Search(value, course=STEADY)
    for each in rounds:
        search.grow(each)
    passed = sum(rounds)
    assert value * min(2**passed, 1 + passed) * (1 - 1e-9) <= search.value <= value * 2.72**passed * (1 + 1e-9)


@given(course=COURSES, start=st.floats(1.0, 100.0), mark=st.floats(1.0, 1e4), rounds=ROUNDS)
def test_it_only_grows_and_slowly_beyond_what_was_too_much(
    course: Course, start: float, mark: float, rounds: list[float]
) -> None:
    """No step takes it from below the mark's neighbourhood to beyond it."""
    search = Search(start, course=course, mark=mark)
    for each in rounds:
        before = search.value
        search.grow(each)
        assert search.value >= before
        if before < NEAR_RATIO * mark:
            assert search.value <= NEAR_RATIO * mark


def test_steps_beyond_the_mark_grow_until_they_double_it() -> None:
    """A far side that takes ten times as much is found in a few dozen rounds, not in a thousand."""
    search = Search(90.0, course=Course(probe_ratio=0.02, growth=1.5), mark=100.0)
    search.grow(1.0)
    assert 91.0 < search.value < 92.0
    rounds = 1
    while search.value < 1_000.0:
        search.grow(1.0)
        rounds += 1
    assert rounds <= 12


def test_after_a_fall_the_steps_are_small_again() -> None:
    """And the course may be another one."""
    search = Search(50.0, course=Course(probe_ratio=0.02, growth=2.0), mark=50.0)
    for _ in range(8):
        search.grow(1.0)
    search.fall(100.0, mark=100.0)
    search.grow(1.0)
    assert search.value == 102.0
    search.fall(10.0, mark=10.0, course=Course(probe_ratio=0.02, growth=1.0, least=0.5))
    search.grow(1.0)
    assert search.value == 10.5
    search.fall(10.0, mark=UNKNOWN)
    search.grow(1.0)
    assert search.value == 20.0
