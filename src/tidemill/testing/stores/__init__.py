"""The contract of a vector store: one suite, which every store passes, those of other packages too.

SUBJECT = StoreSubject(make=lambda **settings: MyStore(url=make_new_place(), **settings))

@pytest.mark.parametrize("check", STORE_CHECKS.values(), ids=STORE_CHECKS)
async def test_the_contract(check: StoreCheck) -> None:
    await check(SUBJECT)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tidemill.testing.stores.crowding import (
    check_cancelling_leaks_nothing,
    check_many_do_not_stall_the_loop,
    check_many_writers_leave_no_duplicate,
)
from tidemill.testing.stores.filtering import check_filters, check_other_fields
from tidemill.testing.stores.killing import check_kills
from tidemill.testing.stores.lifetimes import (
    check_a_leak_warns,
    check_another_loop_is_refused,
    check_closing_frees_everything,
    check_opening_leaks_nothing,
    check_use_outside_is_refused,
)
from tidemill.testing.stores.records import (
    check_deleting,
    check_duplicates,
    check_fetching,
    check_refusals,
    check_unicode,
    check_upserting_again,
)
from tidemill.testing.stores.searching import (
    check_bad_questions,
    check_empty,
    check_forms_of_vectors,
    check_metrics,
    check_more_than_there_are,
)
from tidemill.testing.stores.subject import StoreCheck, StoreSubject
from tidemill.testing.stores.writing import check_processes_leave_no_duplicate

__all__ = ["STORE_CHECKS", "StoreCheck", "StoreSubject"]

STORE_CHECKS: Final[Mapping[str, StoreCheck]] = {
    check.__name__.removeprefix("check_"): check
    for check in (
        check_upserting_again,
        check_duplicates,
        check_refusals,
        check_unicode,
        check_fetching,
        check_deleting,
        check_empty,
        check_metrics,
        check_more_than_there_are,
        check_bad_questions,
        check_forms_of_vectors,
        check_filters,
        check_other_fields,
        check_many_writers_leave_no_duplicate,
        check_processes_leave_no_duplicate,
        check_cancelling_leaks_nothing,
        check_many_do_not_stall_the_loop,
        check_opening_leaks_nothing,
        check_closing_frees_everything,
        check_use_outside_is_refused,
        check_another_loop_is_refused,
        check_a_leak_warns,
        check_kills,
    )
}
"""What a store has to do, by name: each is awaited with a `StoreSubject`, and raises `AssertionError` if it fails."""
