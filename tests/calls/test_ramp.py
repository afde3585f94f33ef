"""How many connections may be dialled at once: a pure state machine."""

from hypothesis import given
from hypothesis import strategies as st

from tidemill.calls.http import ramp
from tidemill.calls.http.ramp import Ramp


def test_it_doubles_with_every_round() -> None:
    """Each dial that succeeds while all are used allows one more."""
    machine, widths = Ramp(), []
    for round_number in range(6):
        widths.append(machine.width)
        for _ in range(machine.width):
            machine.succeed(round_number, round_number + 0.1, is_used=True)
    assert widths == [16, 32, 64, 128, 256, 256]


def test_what_is_not_used_does_not_grow() -> None:
    """A thousand dials one after another say nothing about a thousand at once."""
    machine = Ramp()
    for number in range(1000):
        machine.succeed(number, number + 0.1, is_used=False)
    assert machine.width == ramp.FIRST_DIALS


def test_one_moment_halves_it_once() -> None:
    """All that were under way then tell of the same trouble; those started later tell of another."""
    machine = Ramp()
    for at in (1.0, 1.1, 1.2):
        machine.fail(0.0, at)
    assert machine.width == 8
    machine.succeed(0.5, 1.6, is_used=True)
    assert machine.width == 8
    machine.succeed(1.3, 2.4, is_used=True)
    assert machine.width == 4


def test_the_rest_grows_until_a_dial_succeeds() -> None:
    machine = Ramp()
    rests = [machine.fail(at, at + 0.5) for at in range(7)]
    assert rests == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    machine.succeed(10.0, 10.1, is_used=True)
    assert machine.fail(11.0, 11.1) == 0.05


dials = st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 10), st.floats(0, 3)), max_size=300)


@given(dials)
def test_there_is_always_room_for_a_dial_and_never_for_too_many(
    outcomes: list[tuple[bool, bool, float, float]],
) -> None:
    """Whatever comes of them."""
    machine, now = Ramp(), 0.0
    for is_good, is_used, pause_s, taken_s in outcomes:
        now += pause_s
        if is_good:
            machine.succeed(now - taken_s, now, is_used=is_used)
        else:
            assert ramp.FIRST_REST_S <= machine.fail(now - taken_s, now) <= ramp.LONGEST_REST_S
        assert 1 <= machine.width <= ramp.MOST_DIALS
