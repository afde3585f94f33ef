"""The rows at some places of an index are those at each place by itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidemill.data.nodes.across import Shard, Slice
from tidemill.data.rows.index import fold_index, full_index

BOUND = st.one_of(st.none(), st.integers(-12, 12))
STEP = st.sampled_from([None, 1, 2, -1, -2])


@given(size=st.integers(0, 10), world=st.integers(1, 3), start=BOUND, stop=BOUND, step=STEP, data=st.data())
def test_a_stretch_of_a_slice_of_a_shard(
    size: int, world: int, start: int | None, stop: int | None, step: int | None, data: st.DataObject
) -> None:
    """A slice that goes down to the first place, above all: read as nothing, it would be asked for without end."""
    shard = Shard(rank=data.draw(st.integers(0, world - 1)), world=world)
    index = fold_index(full_index(size), [(shard, None), (Slice(start=start, stop=stop, step=step), None)], ())
    whole = [index[place] for place in range(len(index))]
    assert whole == list(range(size))[shard.rank :: world][start:stop:step]
    first = data.draw(st.integers(0, len(whole)))
    assert index.read(first, len(whole)) == whole[first:]
