"""Content that is a function of the request: a JSON value for a schema, and the words of a text."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tidemill.config.subschemas import map_schemas
from tidemill.errors import DataError

MAX_DEPTH = 3
"""References followed before optional parts are left out, so that a recursive schema ends."""

TOO_DEEP = 64
"""References followed before a schema is said to have no end."""

WORDS = (
    "amber",
    "tide",
    "river",
    "stone",
    "copper",
    "lantern",
    "meadow",
    "harbour",
    "cedar",
    "violet",
    "granite",
    "sparrow",
    "willow",
    "ember",
    "frost",
)


class Draws:
    """Numbers that follow from a seed: a 64-bit linear congruential generator (Knuth, MMIX), which seeds for free."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed

    def below(self, limit: int) -> int:
        """A number in `0 … limit - 1`."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (self._state >> 24) % limit


_TOLD = re.compile(r"\{(\w+: .*)\}$", re.DOTALL)
_LIMIT = re.compile(r"\b((?:min|max|exclusive|multiple|unique)\w+): (-?\d[\d.e+-]*|True|False)")

Maker = Callable[[Draws, int], Any]
"""Makes one value from draws, at a depth counted in references."""


def compile_schema(schema: Mapping[str, Any]) -> Callable[[bytes], Any]:
    """A function from a digest (at least 8 bytes) to a value that conforms to the JSON Schema.

    Understood: type, enum, const, anyOf, oneOf, allOf, `$ref` into the document (recursive too), properties,
    required, additionalProperties, items, prefixItems, the limits on lengths, counts and numbers, common formats.
    Limits that a description tells at its end, as `{maxLength: 40}`, are kept to as well: a model reads them.

    Raises:
        DataError: the schema asks for something else (`pattern`).
    """
    told = map_schemas(dict(schema), _heed)
    compiler = _Compiler(told)
    make = compiler.compile(told)
    compiler.compile_references()
    return lambda digest: make(Draws(int.from_bytes(digest[:8], "big")), 0)


def _heed(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` with the limits that its description tells."""
    found = _TOLD.search(str(schema.get("description", "")))
    limits = {} if found is None else dict(_LIMIT.findall(found[1]))
    return schema | {keyword: orjson.loads(value.lower()) for keyword, value in limits.items()}


class _Compiler:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.makers: dict[str, Maker] = {}
        self.waiting: list[str] = []

    def compile(self, schema: Any) -> Maker:
        if not isinstance(schema, Mapping):
            return _text(0, None)
        if "$ref" in schema:
            return self._reference(str(schema["$ref"]))
        if "allOf" in schema:
            return self.compile(_merge(schema, self._resolve))
        if "const" in schema:
            return lambda draws, depth: schema["const"]
        if "enum" in schema:
            return _choice(schema["enum"])
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._either(schema[key])
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            return self._either([{**schema, "type": one} for one in kind])
        return self._typed(kind, schema)

    def _typed(self, kind: str, schema: Mapping[str, Any]) -> Maker:
        match kind:
            case "object":
                return self._object(schema)
            case "array":
                return self._array(schema)
            case "integer":
                return _integer(schema)
            case "number":
                return _number(schema)
            case "boolean":
                return lambda draws, depth: draws.below(2) == 1
            case "null":
                return lambda draws, depth: None
            case _:
                return _string(schema)

    def _reference(self, name: str) -> Maker:
        if name not in self.makers and name not in self.waiting:
            self.waiting.append(name)

        def make(draws: Draws, depth: int) -> Any:
            if depth >= TOO_DEEP:
                raise DataError(f"no finite value fits the schema: {name} always holds another {name}")
            return self.makers[name](draws, depth + 1)

        return make

    def compile_references(self) -> None:
        """Compile what the references met so far point at, and what those meet in turn."""
        while self.waiting:
            name = self.waiting[-1]
            self.makers[name] = self.compile(self._resolve(name))
            self.waiting.remove(name)

    def _resolve(self, name: str) -> Any:
        target: Any = self.root
        for step in name.removeprefix("#").strip("/").split("/") if name != "#" else ():
            target = target[step.replace("~1", "/").replace("~0", "~")]
        return target

    def _either(self, options: list[Any]) -> Maker:
        makers = [self.compile(option) for option in options]
        flat = [maker for maker, option in zip(makers, options, strict=True) if not _holds_reference(option)] or makers
        count, flat_count = len(makers), len(flat)
        return lambda draws, depth: (
            makers[draws.below(count)] if depth <= MAX_DEPTH else flat[draws.below(flat_count)]
        )(draws, depth)

    def _object(self, schema: Mapping[str, Any]) -> Maker:
        required = set(schema.get("required", ()))
        fields = [(key, self.compile(value), key in required) for key, value in schema.get("properties", {}).items()]
        extra = schema.get("additionalProperties")
        if not fields and isinstance(extra, Mapping):
            value = self.compile(extra)
            return lambda draws, depth: {WORDS[draws.below(len(WORDS))]: value(draws, depth)}
        return lambda draws, depth: {
            key: make(draws, depth) for key, make, needed in fields if needed or depth <= MAX_DEPTH
        }

    def _array(self, schema: Mapping[str, Any]) -> Maker:
        first = [self.compile(item) for item in schema.get("prefixItems", ())]
        least = max(0, int(schema.get("minItems", 0)) - len(first))
        most = max(least, min(int(schema.get("maxItems", least + len(first) + 2)) - len(first), least + 2))
        if first and schema.get("items", False) is False:
            least = most = 0
        item = self.compile(schema.get("items", {}))
        unique = bool(schema.get("uniqueItems"))

        def make(draws: Draws, depth: int) -> list[Any]:
            values = [one(draws, depth) for one in first]
            count = least if depth > MAX_DEPTH else least + draws.below(most - least + 1)
            for _ in range(count * 20 if unique else count):
                value = item(draws, depth)
                if not unique or value not in values:
                    values.append(value)
                if len(values) == len(first) + count:
                    break
            return values

        return make


def _holds_reference(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return "$ref" in schema or any(_holds_reference(value) for value in schema.values())
    return isinstance(schema, list) and any(_holds_reference(value) for value in schema)


def _merge(schema: Mapping[str, Any], resolve: Callable[[str], Any]) -> dict[str, Any]:
    """One schema from an `allOf` and what stands beside it."""
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        while "$ref" in part:
            part = {**resolve(part["$ref"]), **{key: value for key, value in part.items() if key != "$ref"}}
        if "allOf" in part:
            part = _merge(part, resolve)
        for key, value in part.items():
            if key == "properties":
                merged[key] = {**value, **merged.get(key, {})}
            elif key == "required":
                merged[key] = [*merged.get(key, ()), *value]
            else:
                merged.setdefault(key, value)
    return merged


def _choice(values: list[Any]) -> Maker:
    count = len(values)
    return lambda draws, depth: values[draws.below(count)]


_FORMATS: dict[str, Callable[[Draws], str]] = {
    "date": lambda draws: f"20{draws.below(90) + 10}-{draws.below(12) + 1:02}-{draws.below(28) + 1:02}",
    "time": lambda draws: f"{draws.below(24):02}:{draws.below(60):02}:{draws.below(60):02}Z",
    "date-time": lambda draws: f"{_FORMATS['date'](draws)}T{_FORMATS['time'](draws)}",
    "duration": lambda draws: f"PT{draws.below(3600) + 1}S",
    "email": lambda draws: f"{WORDS[draws.below(len(WORDS))]}{draws.below(1000)}@example.com",
    "hostname": lambda draws: f"{WORDS[draws.below(len(WORDS))]}{draws.below(1000)}.example.com",
    "uri": lambda draws: f"https://example.com/{WORDS[draws.below(len(WORDS))]}/{draws.below(1000)}",
    "uuid": lambda draws: str(uuid.UUID(int=draws.below(2**40) << 64 | draws.below(2**40), version=4)),
    "ipv4": lambda draws: f"192.0.2.{draws.below(256)}",
    "ipv6": lambda draws: f"2001:db8::{draws.below(65535) + 1:x}",
}


def _string(schema: Mapping[str, Any]) -> Maker:
    if "pattern" in schema:
        raise DataError(
            f"no string is made for the pattern {schema['pattern']!r}",
            hint="give this server's replies yourself: Fault('reply', content=…) in a script",
        )
    form = _FORMATS.get(schema.get("format", ""))
    if form is not None:
        return lambda draws, depth: form(draws)
    return _text(int(schema.get("minLength", 0)), schema.get("maxLength"))


def _text(shortest: int, longest: int | None) -> Maker:
    def make(draws: Draws, depth: int) -> str:
        text = f"{WORDS[draws.below(len(WORDS))]} {draws.below(2**32):08x}"
        if len(text) < shortest:
            text += "." * (shortest - len(text))
        if longest is None or len(text) <= longest:
            return text
        return text[-longest:].replace(" ", "-") if longest else ""

    return make


def _integer(schema: Mapping[str, Any]) -> Maker:
    step = int(schema.get("multipleOf", 1)) or 1
    low, high = _bounds(schema, span=step * 1000)
    first = -(-_ceil(low, "exclusiveMinimum" in schema and low == schema["exclusiveMinimum"]) // step)
    last = _floor(high, "exclusiveMaximum" in schema and high == schema["exclusiveMaximum"]) // step
    count = max(1, last - first + 1)
    return lambda draws, depth: (first + draws.below(count)) * step


def _ceil(value: float, above: bool) -> int:
    whole = int(value // 1)
    return whole + 1 if above or whole < value else whole


def _floor(value: float, under: bool) -> int:
    whole = int(value // 1)
    return whole - 1 if under and whole == value else whole


def _number(schema: Mapping[str, Any]) -> Maker:
    if "multipleOf" in schema:
        step = schema["multipleOf"]
        low, high = _bounds(schema, span=step * 1000)
        first, last = int(-(-low // step)), int(high // step)
        first += first * step == schema.get("exclusiveMinimum")
        last -= last * step == schema.get("exclusiveMaximum")
        return lambda draws, depth: (first + draws.below(max(1, last - first + 1))) * step
    low, high = _bounds(schema, span=1.0)
    return lambda draws, depth: low + (high - low) * (draws.below(2**20 - 1) + 1) / 2**20


def _bounds(schema: Mapping[str, Any], *, span: float) -> tuple[float, float]:
    low = max((schema[key] for key in ("minimum", "exclusiveMinimum") if key in schema), default=None)
    high = min((schema[key] for key in ("maximum", "exclusiveMaximum") if key in schema), default=None)
    if low is None:
        low = 0 if high is None else min(0, high - span)
    return low, high if high is not None else low + span
