"""Limits changed while a run goes on: what may be asked for, and how its lanes take it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.calls.lane import Lane
from tidemill.calls.limits import TUNABLE, Limits
from tidemill.config.layers.document import Document
from tidemill.config.loading import load_config
from tidemill.config.report.rendering import raise_problems
from tidemill.config.wording.suggest import list_names, suggest
from tidemill.errors import ConfigError, Problem

KNOWN = ("model", *TUNABLE)


@dataclass(frozen=True, slots=True)
class Tuning:
    """Limits to go by from now on.

    Attributes:
        limits: those that change, by the names of `Limits`, as JSON.
        model: whose: a model's name, or a step's that calls without one; of all where it is None.
    """

    limits: Mapping[str, Any]
    model: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As `control.json` has it."""
        return {**({} if self.model is None else {"model": self.model}), **self.limits}

    def __str__(self) -> str:
        return show_values(self.limits)


def parse_tuning(settings: Sequence[str]) -> Tuning:
    """What the `KEY=VALUE`s of a command line ask for; each value is YAML.

    Raises:
        ConfigError: with everything that is wrong with them.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        given = Document.parse(text)
        if not equals or not name or not given.readable:
            problems.append(Problem(f"expected KEY=VALUE, as `concurrency=20`, got `{setting}`"))
        elif name in values:
            problems.append(Problem(f"`{name}` is given twice"))
        else:
            values[name] = given.value
    raise_problems(problems)
    return check_tuning(values)


def check_tuning(values: Mapping[str, Any]) -> Tuning:
    """What a mapping of `model` and limits asks for, each limit held against the rules of a job file.

    Raises:
        ConfigError: with everything that is wrong with it.
    """
    problems = [_refuse_key(name) for name in values if name not in KNOWN]
    model = values.get("model")
    if model is not None and not isinstance(model, str):
        problems.append(Problem("expected `model` to be a model's name"))
    given = {name: value for name, value in values.items() if name in TUNABLE}
    if not given and not problems:
        problems.append(Problem("nothing to change", hint=f"give {list_names(TUNABLE, ' or ')}"))
    limits = Limits()
    try:
        limits = load_config(Limits, given)
    except ConfigError as exc:
        problems += exc.problems
    raise_problems(problems)
    shown = limits.model_dump(mode="json")
    return Tuning({name: shown[name] for name in given}, model)


def _refuse_key(name: str) -> Problem:
    if name in Limits.model_fields:
        return Problem(
            f"`{name}` cannot be changed while a run goes on",
            hint=f"stop it and set limits.{name} in the job file; only {list_names(TUNABLE, ' and ')} can",
        )
    return Problem(f"unknown key `{name}`", hint=suggest(name, KNOWN))


def name_lane(key: str) -> str:
    """What a user calls the lane of this key: a model by its name, a step that calls without one by its own."""
    return key.rpartition("#")[0] or key.removeprefix("call ")


def label_lanes(keys: Iterable[str]) -> dict[str, str]:
    """How each lane is shown: by its name, and by its key where two have the same name."""
    names = {key: name_lane(key) for key in keys}
    times = Counter(names.values())
    return {key: name if times[name] == 1 else key for key, name in names.items()}


def find_lanes(keys: Iterable[str], model: str | None) -> list[str]:
    """The keys of the lanes that `model` names; all of them where it is None.

    Raises:
        ConfigError: it names none.
    """
    keys = list(keys)
    found = [key for key in keys if model is None or model in (name_lane(key), key)]
    if not found:
        names = list(dict.fromkeys(map(name_lane, keys)))
        message = "no step of this job calls anything" if model is None else f"no model of this job is called `{model}`"
        raise ConfigError(message, hint=suggest(model or "", names))
    return found


def show_limits(lanes: Mapping[str, Lane]) -> dict[str, dict[str, Any]]:
    """The limits in force that can be changed, and the concurrency just now, by the label of each lane, as JSON."""
    return {label: _show_limits(lanes[key]) for key, label in label_lanes(lanes).items()}


def _show_limits(lane: Lane) -> dict[str, Any]:
    limits: dict[str, Any] = lane.limits.model_dump(mode="json", include=set(TUNABLE), exclude_none=True)
    return {**limits, "concurrency_now": lane.limit}


def tune_lanes(lanes: Mapping[str, Lane], tuning: Tuning) -> list[str]:
    """Have the lanes that `tuning` names go by its limits; the labels of those that changed.

    Raises:
        ConfigError: it names no lane, or its limits do not go with the others of one; none has changed then.
    """
    wanted = {
        key: load_config(Limits, {**lanes[key].limits.model_dump(exclude_unset=True), **tuning.limits})
        for key in find_lanes(lanes, tuning.model)
    }
    changed = [key for key, limits in wanted.items() if limits != lanes[key].limits]
    for key in changed:
        lanes[key].change(wanted[key])
    labels = label_lanes(lanes)
    return [labels[key] for key in changed]


def show_values(limits: Mapping[str, Any]) -> str:
    """Limits as they are given on a command line."""
    return ", ".join(f"{name}={'null' if value is None else value}" for name, value in limits.items())
