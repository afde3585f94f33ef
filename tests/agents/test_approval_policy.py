"""Policies: rules in a file that decide on calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidemill.agents.calling.approval import ApprovalRequest, Approve, Decision, Modify, Reject, Stop
from tidemill.agents.calling.policy import NO_RULE, Policy, Rules, load_policy
from tidemill.agents.tools.context import Context
from tidemill.config.loading import load_config
from tidemill.errors import ConfigError


def decide(rules: list[dict[str, Any]], /, **arguments: Any) -> Decision | Any:
    """What a policy of `rules` decides on one call."""
    return make_policy(rules)(ask_about("refund", **arguments))


def make_policy(rules: list[dict[str, Any]], **options: Any) -> Policy:
    return Policy(load_config(Rules, {"rules": rules}), **options)


def ask_about(tool: str, /, **arguments: Any) -> ApprovalRequest:
    return ApprovalRequest(tool, arguments, "clerk", 1, Context.of(None))


def test_a_policy_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("""
rules:
  - {tool: "refund", arguments: {amount: {max: 20}, currency: EUR}, decision: approve}
  - {tool: "refund", decision: stop, reason: "too much"}
  - {tool: "read_*", decision: approve}
""")
    policy = load_policy(path)
    assert policy(ask_about("refund", amount=20, currency="EUR")) == Approve()
    assert policy(ask_about("refund", amount=20.5, currency="EUR")) == Stop("too much")
    assert policy(ask_about("read_file", path="a")) == Approve()
    assert policy(ask_about("Read_file", path="a")) == Reject(NO_RULE)


def test_a_mistake_in_a_file_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        'rules:\n  - {tool: a, decison: approve}\n  - {tool: b, arguments: {q: {pattern: "("}}, decision: stop}\n'
    )
    with pytest.raises(ConfigError, match="did you mean `decision`") as caught:
        load_policy(path)
    places = [str(problem.place) for problem in caught.value.problems]
    assert all(place.startswith(str(path)) or "policy.yaml:" in place for place in places)
    assert any("regular expression" in problem.message for problem in caught.value.problems)


def test_what_no_rule_is_about_is_rejected() -> None:
    """A rule that was forgotten lets nothing through."""
    assert decide([{"tool": "other", "decision": "approve"}]) == Reject(NO_RULE)


def test_the_first_rule_that_fits_decides() -> None:
    rules = [{"tool": "*", "arguments": {"amount": {"min": 100}}, "decision": "reject", "reason": "no"}]
    rules += [{"tool": "*", "decision": "approve"}]
    assert decide(rules, amount=100) == Reject("no")
    assert decide(rules, amount=99) == Approve()


@pytest.mark.parametrize(
    ("condition", "value", "fits"),
    [
        ({"equals": 1}, 1.0, True),
        ({"equals": 1}, True, False),
        ({"equals": {"a": [1]}}, {"a": [True]}, False),
        ({"equals": None}, None, True),
        ({"one_of": ["EUR", "USD"]}, "USD", True),
        ({"one_of": ["EUR", "USD"]}, "GBP", False),
        ({"pattern": "[a-z]+"}, "abc", True),
        ({"pattern": "[a-z]+"}, "abc; rm", False),
        ({"pattern": ".*"}, 5, False),
        ({"min": 0, "max": 10}, 10, True),
        ({"min": 0, "max": 10}, -1, False),
        ({"max": 10}, True, False),
        ({"max": 10}, "5", False),
        ({"max_length": 3}, "abcd", False),
        ({"max_length": 3}, [1, 2, 3], True),
        ({"present": False}, 1, False),
        ("plain", "plain", True),
    ],
)
def test_a_condition_fits_what_it_says_and_nothing_that_is_like_it(condition: Any, value: Any, fits: bool) -> None:
    rules = [{"tool": "refund", "arguments": {"x": condition}, "decision": "approve"}]
    assert (decide(rules, x=value) == Approve()) is fits


def test_an_argument_that_is_not_there_fits_only_its_absence() -> None:
    assert decide([{"tool": "*", "arguments": {"x": {"pattern": ".*"}}, "decision": "approve"}]) == Reject(NO_RULE)
    assert decide([{"tool": "*", "arguments": {"x": {"present": False}}, "decision": "approve"}]) == Approve()
    assert decide([{"tool": "*", "arguments": {"x[0]": "a"}, "decision": "approve"}], x="abc") == Reject(NO_RULE)


def test_an_approved_call_gets_arguments_of_the_policys() -> None:
    """Beside those the model gave, which stay as they are."""
    given: dict[str, Any] = {"to": {"address": "a@b"}, "items": [{"n": 5}]}
    rules = [{"tool": "*", "decision": "approve", "set": {"to.copy": "log@b", "items[0].n": 1, "new.deep": True}}]
    decision = decide(rules, **given)
    assert decision == Modify({"to": {"address": "a@b", "copy": "log@b"}, "items": [{"n": 1}], "new": {"deep": True}})
    assert given == {"to": {"address": "a@b"}, "items": [{"n": 5}]}


def test_what_a_policy_cannot_set_is_rejected() -> None:
    decision = decide([{"tool": "*", "decision": "approve", "set": {"items[3]": 1}}], items=[])
    assert decision == Reject("the policy sets `items[3]`, and the arguments have no such place")


def test_a_policy_that_asks_needs_somebody_to_ask() -> None:
    rules = [{"tool": "refund", "decision": "ask"}]
    with pytest.raises(ConfigError, match="asks about calls of `refund`, and there is nobody to ask"):
        make_policy(rules)
    assert make_policy(rules, ask=lambda request: Reject(request.tool))(ask_about("refund")) == Reject("refund")


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"tool": "a", "decision": "reject", "set": {"x": 1}}, "only a call that is approved is changed by `set`"),
        ({"tool": "a", "decision": "approve", "reason": "why"}, "only a refusal is told with a `reason`"),
        ({"tool": "a", "decision": "approve", "arguments": {"x": {}}}, "a condition needs at least one of"),
        ({"tool": "a", "decision": "approve", "arguments": {"x..y": 1}}, "a path such as"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        decide([rule])
