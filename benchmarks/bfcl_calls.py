"""The ground-truth calls of the Berkeley Function Calling Leaderboard, v4, and five ways to spoil each.

The data files of the package `bfcl-eval` are read where they are installed; nothing of the package is imported. Taken
are the single-turn calls of Python functions: those whose answer is a call with its arguments.

How an answer is written (`eval_checker/ast_eval/ast_checker.py` of the package): each argument has a list of
alternatives, the text "" among them where it may be left out; an object within has such a list for each of its keys,
so has each object of a list.
"""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from tidemill.agents.tools.schemas import schema_signature
from tidemill.config.report.values import check_value
from tidemill.config.schemas.reading import read_schema

CATEGORIES = (
    "simple_python", "multiple", "parallel", "parallel_multiple",
    "live_simple", "live_multiple", "live_parallel", "live_parallel_multiple",
)  # fmt: skip
CALLS = 3_152
"""Ground-truth calls in these categories."""

MUTATIONS = 5
"""In how many ways each is spoilt."""

_TYPES = {"dict": "object", "float": "number", "tuple": "array", "list": "array", "bool": "boolean"}

CONTRADICTIONS: Mapping[str, str] = {
    "parallel_multiple_12/1": "permeability",
    "parallel_multiple_21/1": "x y",
    "parallel_multiple_26/1": "type",
    "parallel_multiple_94/0": "elements",
    "live_simple_106-63-0/0": "auto_loan_payment_start bank_hours_start",
    "live_simple_112-68-0/0": (
        "acc_routing_start atm_finder_start faq_link_accounts_start get_balance_start get_transactions_start"
    ),
    "live_multiple_87-38-4/0": "type",
    "live_multiple_189-83-0/0": "data",
    "live_multiple_552-153-1/0": "is_unisex",
    "live_multiple_595-158-1/0": "number_of_rooms",
    "live_multiple_596-158-2/0": "number_of_rooms",
    "live_multiple_731-167-2/0": "in_unit_laundry",
    "live_multiple_733-167-4/0": "in_unit_laundry",
    "live_multiple_735-167-6/0": "in_unit_laundry",
    "live_multiple_750-169-5/0": "genre",
    "live_multiple_756-169-11/0": "genre",
    "live_multiple_835-178-10/0": "genre",
    "live_multiple_862-181-3/0": "journey_start_time",
    "live_multiple_871-182-8/0": "genre",
    "live_multiple_947-197-0/0": "duration",
    "live_multiple_964-207-0/0": "question statement",
    "live_parallel_multiple_2-2-0/1": "command",
}
"""Calls that are not of their own function's schema, in any of their alternatives, and at which arguments.

A call is named by its question and its place among the calls of that."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One call that is right.

    Attributes:
        id: of the question, and the call's place among those of its answer.
        function: its name.
        schema: the function's parameters as JSON Schema, as its author wrote them.
        arguments: what is given.
        contradicts: the arguments that are not of the schema.
    """

    id: str
    function: str
    schema: Json
    arguments: Json
    contradicts: frozenset[str] = frozenset()

    @property
    def mended(self) -> Json:
        """The schema, with what the answer has in contradiction to it as one more alternative."""
        properties = dict(self.schema["properties"])
        for name in self.contradicts:
            given = [{"const": self.arguments[name]}] if name in self.arguments else []
            properties[name] = {"anyOf": [*([properties[name]] if name in properties else []), *given]}
        required = [name for name in self.schema.get("required", ()) if name not in self.contradicts]
        return {**self.schema, "properties": properties, "required": required}


@dataclass(frozen=True)
class Mutation:
    """A call with one thing wrong.

    Attributes:
        kind: what was done.
        path: the JSON path of what is wrong.
    """

    kind: str
    path: str
    arguments: Any


def find_data() -> Path | None:
    """The folder of the package's data; None where it is not installed."""
    spec = importlib.util.find_spec("bfcl_eval")
    return Path(spec.submodule_search_locations[0]) / "data" if spec and spec.submodule_search_locations else None


def load_calls(every: int = 1) -> list[Call]:
    """Each n-th call, and those that contradict their functions, in the order of the files."""
    found = list(_iter_answers(_check_data()))
    return [_make_call(*each) for index, each in enumerate(found) if index % every == 0 or each[0] in CONTRADICTIONS]


def count_calls() -> int:
    """How many there are in the files."""
    return sum(1 for _ in _iter_answers(_check_data()))


def _check_data() -> Path:
    data = find_data()
    if data is None:
        raise FileNotFoundError("bfcl-eval is not installed: pip install --no-deps -r requirements/proof.txt")
    return data


def _iter_answers(data: Path) -> Iterator[tuple[str, str, Json, Json]]:
    """The name of each call, its function's name and parameters, and the alternatives of its arguments."""
    for category in CATEGORIES:
        file = f"BFCL_v4_{category}.json"
        questions = {each["id"]: each for each in map(json.loads, _read_lines(data / file))}
        for answer in map(json.loads, _read_lines(data / "possible_answer" / file)):
            functions = {each["name"]: each for each in questions[answer["id"]]["function"]}
            for place, call in enumerate(answer["ground_truth"]):
                [(function, alternatives)] = call.items()
                yield f"{answer['id']}/{place}", function, functions[function]["parameters"], alternatives


def _make_call(name: str, function: str, parameters: Json, alternatives: Json) -> Call:
    schema = normalize(parameters)
    arguments = dict(_choose_arguments(schema, alternatives))
    return Call(name, function, schema, arguments, frozenset(CONTRADICTIONS.get(name, "").split()))


def _read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def normalize(schema: Mapping[str, Any]) -> Json:
    """A function's parameters as JSON Schema.

    Types are called by Python's names (`dict`, `float`, `tuple`), `any` is no type. An array's `enum` is that of its
    items. A default that is not of its own schema, such as null or "dontcare", is one more value.
    """
    made: Json = {key: value for key, value in schema.items() if key != "optional"}
    made["type"] = _TYPES.get(made.get("type", ""), made.get("type"))
    if made["type"] in ("any", None):
        del made["type"]
    if "properties" in made:
        made["properties"] = {name: normalize(part) for name, part in made["properties"].items()}
    if "items" in made:
        made["items"] = normalize(made["items"])
    if made.get("type") == "array" and "enum" in made and not any(isinstance(each, list) for each in made["enum"]):
        made["items"] = {**made.get("items", {}), "enum": made.pop("enum")}
    if "default" in made and not is_of(made, made["default"]):
        return {"description": made.pop("description", ""), "anyOf": [made, {"const": made["default"]}]}
    return made


def is_of(schema: Json, value: Any) -> bool:
    """Whether a value is of a schema."""
    return not check_value(_read_once(json.dumps(schema)), value, parsed=True, shows_all=True).problems


@lru_cache(maxsize=1024)
def _read_once(schema: str) -> Any:
    return read_schema(json.loads(schema))


def _choose_arguments(schema: Json, alternatives: Mapping[str, list[Any]]) -> Iterator[tuple[str, Any]]:
    """The first alternative of each argument that its schema takes; one that may be left out is where none is."""
    for name, choices in alternatives.items():
        part = schema["properties"].get(name, {})
        given = [_choose(each) for each in choices if each != ""]
        fitting = [each for each in given if is_of(part, each)]
        may_lack = "" in choices and name not in schema.get("required", ())
        if fitting or not may_lack:
            yield name, [*fitting, *given, ""][0]


def _choose(value: Any) -> Any:
    """A value with the first alternative at each key of the objects in it."""
    if isinstance(value, list):
        return [_choose(each) for each in value]
    if isinstance(value, dict) and all(isinstance(each, list) for each in value.values()):
        chosen = {key: next((each for each in choices if each != ""), ...) for key, choices in value.items()}
        return {key: _choose(each) for key, each in chosen.items() if each is not ...}
    return value


def iter_mutations(call: Call, schema: Json) -> Iterator[Mutation]:
    """The ways to spoil a call that is right, five and more of any: missing, misspelt, unknown, then what is wrong."""
    given = call.arguments
    required = [name for name in schema.get("required", ()) if name in given]
    yield from (_without(given, name) for name in required[:1])
    yield from (_misspell(given, name) for name in list(given)[:1])
    spoilt = [each for name in given for each in _iter_spoilt(schema["properties"].get(name, {}), given[name], name)]
    kinds: dict[str, list[Mutation]] = {}
    for kind, path, value, name in spoilt:
        kinds.setdefault(kind, []).append(Mutation(kind, path, {**given, name: value}))
    yield Mutation("unknown argument", "$.unexpected", {**given, "unexpected": 1})
    first = sum(call.id.encode()) % max(len(kinds), 1)  # so that each kind has its turn
    yield from ([*kinds.values()][(first + index) % len(kinds)][0] for index in range(len(kinds)))
    for extra in ("x_", "extra_2", "kwargs_", "options_"):
        yield Mutation("unknown argument", f"$.{extra}", {**given, extra: 1})


def _without(given: Json, name: str) -> Mutation:
    return Mutation("missing", _step("$", name), {key: value for key, value in given.items() if key != name})


def _misspell(given: Json, name: str) -> Mutation:
    wrong = f"{name[:-1]}{name[-2:]}x" if len(name) > 1 else f"{name}{name}x"
    renamed = {wrong if key == name else key: value for key, value in given.items()}
    return Mutation("misspelt", _step("$", wrong), renamed)


_WRONG: Mapping[str, tuple[tuple[str, Any], ...]] = {
    "integer": (("boolean for integer", True), ("fraction for integer", 64.5), ("words for integer", "many")),
    "number": (("boolean for number", True), ("words for number", "1.0 or so")),
    "boolean": (("letter for boolean", "y"), ("number for boolean", 1.0)),
    "string": (("number for text", 5), ("boolean for text", False)),
    "array": (("text for list", "a, b"), ("object for list", {"0": "a"})),
    "object": (("text for object", "a: b"), ("list for object", [["a", 1]])),
}


def _iter_spoilt(schema: Json, value: Any, name: str) -> Iterator[tuple[str, str, Any, str]]:
    """What is wrong in place of one argument: the kind, the path, the value, the argument."""
    for kind, path, wrong in _iter_wrong(schema, value, _step("$", name)):
        yield kind, path, wrong, name


def _iter_wrong(schema: Json, value: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """What is not of a schema, in place of a value that is."""
    if "type" not in schema:
        return
    for kind, wrong in (*_WRONG[schema["type"]], ("null", None)):
        yield kind, path, wrong
    if "enum" in schema:
        yield "out of enum", path, f"{schema['enum'][0]}_"
    if isinstance(value, list) and value:
        for kind, inner, wrong in _iter_wrong(schema.get("items", {}), value[0], f"{path}[0]"):
            yield f"{kind} in a list", inner, [wrong, *value[1:]]
    if isinstance(value, dict):
        for key, held in value.items():
            for kind, inner, wrong in _iter_wrong(schema.get("properties", {}).get(key, {}), held, _step(path, key)):
                yield f"{kind} in an object", inner, {**value, key: wrong}
        if "properties" in schema:
            yield "unknown key in an object", _step(path, "unexpected"), {**value, "unexpected": 1}


def _step(path: str, name: str) -> str:
    return f"{path}.{name}" if name.replace("-", "_").isidentifier() else f"{path}[{json.dumps(name)}]"


def check_call(call: Call, kinds: Counter[str]) -> list[str]:
    """What is not as it should be with one call; the ways in which it was spoilt are counted in `kinds`."""
    failures = []
    schema = call.schema
    if call.contradicts:
        found = schema_signature(schema).check(json.dumps(call.arguments))
        named = {problem.path[0] for problem in found.problems}
        if named != call.contradicts:
            failures.append(f"{call.id}: refused at {named}, not at {call.contradicts}")
        schema = call.mended
    signature = schema_signature(schema)
    text = json.dumps(call.arguments)
    taken = signature.check(text)
    if taken.values != json.loads(text):
        failures.append(f"{call.id}: {call.function} is refused: {taken.render()}")
    for mutation in islice(iter_mutations(call, schema), MUTATIONS):
        kinds[mutation.kind] += 1
        spoilt = signature.check(json.dumps(mutation.arguments))
        if spoilt.values is not None:
            failures.append(f"{call.id}: {call.function} is taken with {mutation.kind} at {mutation.path}")
        elif not any(line.startswith(f"{mutation.path}:") for line in spoilt.render().splitlines()):
            failures.append(f"{call.id}: {mutation.kind} at {mutation.path} is not named: {spoilt.render()}")
    return failures
