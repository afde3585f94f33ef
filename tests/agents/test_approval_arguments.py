"""What whoever approves is shown of a call: the arguments that the tool will get, however the model wrote them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, Secret, SecretStr
from toolkit import call_once

import tidemill as tm
from tidemill.agents.calling.approval import ApprovalRequest, Modify
from tidemill.agents.calling.policy import change_arguments, load_policy
from tidemill.agents.tools.schemas import schema_signature
from tidemill.agents.tools.tool import Arguments


class Payment(BaseModel):
    """A payment."""

    amount: int = 500
    due: date | None = Field(default=None, alias="on")


@tm.tool(needs_approval=True)
def pay(amount: int = 500, tags: list[str] = []) -> int:  # noqa: B006 - read only
    """Pay."""
    return amount


@tm.tool(needs_approval=True, arguments=Payment)
def settle(payment: Payment) -> str:
    """Settle."""
    return f"{payment.amount} {payment.due}"


@pytest.mark.parametrize("arguments", [{"amount": "5000"}, {"amount": "5e3"}, {"amount": "0x1388"}])
async def test_a_rule_on_a_number_holds_for_one_in_quotes(tmp_path: Path, arguments: dict[str, Any]) -> None:
    """Else a model that quotes its numbers would pass by every bound."""
    path = tmp_path / "policy.yaml"
    path.write_text(
        "rules: [{tool: pay, arguments: {amount: {min: 1000}}, decision: reject}, {tool: '*', decision: approve}]"
    )
    assert (await call_once(pay, arguments=arguments, approve=load_policy(path))).kind == "denied"


async def test_what_the_model_leaves_out_is_shown_as_the_tool_gets_it() -> None:
    asked: list[ApprovalRequest] = []

    def decide(request: ApprovalRequest) -> bool:
        asked.append(request)
        return True

    assert (await call_once(pay, arguments={"tags": '["a"]'}, approve=decide)).value == 500
    assert asked[0].arguments == {"amount": 500, "tags": ["a"]}


async def test_what_is_shown_can_be_given_back_changed() -> None:
    """Under the names that a model gives, of arguments that are a model, too."""

    def change(request: ApprovalRequest) -> Modify:
        return Modify({**request.arguments, "amount": 3})

    outcome = await call_once(settle, arguments={"amount": "9", "on": "2026-07-04"}, approve=change)
    assert outcome.value == "3 2026-07-04"
    assert outcome.arguments == {"amount": 3, "on": "2026-07-04"}


class Login(BaseModel):
    """Who logs in."""

    user: str
    password: SecretStr = Field(alias="pass")
    pin: Secret[int] | None = None


entered: list[str] = []


@tm.tool(needs_approval=True)
def enter(logins: list[Login], salt: SecretStr = SecretStr("the-authors-own")) -> str:  # noqa: B008 - read only
    """Log in."""
    entered.extend(f"{each.user}:{each.password.get_secret_value()}:{each.pin}" for each in logins)
    return "entered"


WRITTEN = {"logins": [{"user": "ada", "pass": "her-very-own", "pin": "64"}]}


async def test_a_secret_is_decided_on_as_it_is_and_can_be_given_back(tmp_path: Path) -> None:
    """A rule holds for the secret and not for its mask; what is changed is told and kept with the mask."""
    asked: list[ApprovalRequest] = []

    def change(request: ApprovalRequest) -> Modify:
        asked.append(request)
        return Modify(change_arguments(request.arguments, {"logins[0].user": "eve"}))

    entered.clear()
    outcome = await call_once(enter, arguments=WRITTEN, approve=change)
    assert (outcome.kind, entered) == ("ok", ["eve:her-very-own:**********"])
    login = {"user": "ada", "pass": "her-very-own", "pin": 64}
    assert asked[0].arguments == {"logins": [login], "salt": "the-authors-own"}
    masked = {"user": "eve", "pass": "**********", "pin": "**********"}
    assert outcome.arguments == {"logins": [masked], "salt": "**********"}
    assert not [secret for secret in ("her-very-own", "the-authors-own") if secret in outcome.content]
    path = tmp_path / "policy.yaml"
    path.write_text("rules: [{tool: enter, arguments: {'logins[0].pass': {max_length: 10}}, decision: approve}]")
    assert (await call_once(enter, arguments=WRITTEN, approve=load_policy(path))).kind == "denied"


def test_arguments_by_a_schema_are_written_as_they_are_taken() -> None:
    signature = schema_signature({"properties": {"count": {"type": "integer"}, "at": {"type": "string"}}})
    assert signature.write(signature.check('{"count": "2", "at": "noon"}')) == {"count": 2, "at": "noon"}


def test_what_has_no_json_form_is_written_as_it_came() -> None:
    found = Arguments({"amount": object(), "tags": []}, {"amount": "5"})
    assert pay.signature.write(found) == {"amount": "5"}
