"""Made-up typed schemas: each kind of value knows its Python type, draws what fits it, and what does not."""

from __future__ import annotations

import enum
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union

from pydantic import Discriminator, create_model
from pydantic import Field as PydanticField

import tidemill as tm
from planted_tree import Branch, Leaf, Mistake, MistakeKind, Node, Pair, Series
from planted_words import CHOICES, NAMES, WORDS, draw_names, draw_typo

Wrong = list[tuple[MistakeKind, Callable[[], Node]]]
"""Ways to make a value wrong."""

SCALARS = ("off by one", "12x", 5, 2.5, True)


def draw_seed(rng: random.Random) -> int:
    return rng.randrange(2**32)


class Kind(ABC):
    """What is expected somewhere."""

    annotation: Any

    @abstractmethod
    def draw(self, rng: random.Random) -> Node:
        """A value that fits."""

    def spoil(self, rng: random.Random) -> Wrong:
        """Values that do not fit, each with what is wrong with it."""
        return [("type", lambda: self.wrong_type(rng))]

    def fits(self, value: Any) -> bool:
        """Whether a value of some other type is taken all the same."""
        return False

    def wrong_type(self, rng: random.Random) -> Node:
        value = rng.choice([each for each in SCALARS if not self.fits(each)])
        return self._wrong("type", draw_foreign(rng, value) if rng.random() < 0.7 else draw_container(rng))

    def wrong_null(self, rng: random.Random) -> Node:
        return self._wrong("type", self._leaf(rng, None))

    def _leaf(self, rng: random.Random, written: Any, meant: Any = ...) -> Leaf:
        return Leaf(draw_seed(rng), written, written if meant is ... else meant, kind=self)

    def _wrong(self, kind: MistakeKind, node: Node, original: str = "") -> Node:
        node.kind, node.mistake = self, Mistake(kind, original)
        return node


def draw_foreign(rng: random.Random, value: Any) -> Leaf:
    return Leaf(draw_seed(rng), value, value)


def draw_container(rng: random.Random) -> Node:
    """A mapping with a key that nothing has: neither a number nor a text, and no section."""
    pair = Pair("zzz", draw_foreign(rng, 1), draw_seed(rng))
    return Branch(draw_seed(rng), pairs=[pair])


@dataclass(frozen=True, eq=False)
class Number(Kind):
    """A number within bounds, whole or not."""

    is_whole: bool
    low: float
    high: float

    @property
    def annotation(self) -> Any:
        number: Any = int if self.is_whole else float
        return Annotated[number, PydanticField(ge=self.low, lt=self.high)]

    def draw(self, rng: random.Random) -> Node:
        if not self.is_whole:
            short = float(f"{rng.uniform(self.low, self.high):.{rng.randint(1, 5)}g}")
            return self._leaf(rng, short if short < self.high else float(self.low))
        number = rng.randrange(int(self.low), int(self.high))
        return self._leaf(rng, rng.choice([number, number, number, str(number), float(number)]), number)

    def spoil(self, rng: random.Random) -> Wrong:
        return [*super().spoil(rng), ("bound", lambda: self._out_of_bounds(rng))]

    def fits(self, value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and not (self.is_whole and value % 1)

    def _out_of_bounds(self, rng: random.Random) -> Node:
        number = rng.choice([self.low - rng.randint(1, 9), self.high, self.high + rng.randint(1, 9)])
        return self._wrong("bound", self._leaf(rng, int(number)))


@dataclass(frozen=True, eq=False)
class Flag(Kind):
    """True or false."""

    annotation = bool

    def draw(self, rng: random.Random) -> Node:
        return self._leaf(rng, rng.random() < 0.5)

    def fits(self, value: Any) -> bool:
        return isinstance(value, bool)


@dataclass(frozen=True, eq=False)
class Words(Kind):
    """A text of limited length."""

    longest: int

    @property
    def annotation(self) -> Any:
        return Annotated[str, PydanticField(min_length=1, max_length=self.longest)]

    def draw(self, rng: random.Random) -> Node:
        return self._leaf(rng, draw_text(rng)[: self.longest].strip(" \n") or "x")

    def spoil(self, rng: random.Random) -> Wrong:
        too_long = "word " * (self.longest // 5) + "longer"
        return [*super().spoil(rng), ("bound", lambda: self._wrong("bound", self._leaf(rng, too_long)))]

    def fits(self, value: Any) -> bool:
        return isinstance(value, str)


def draw_text(rng: random.Random) -> str:
    if rng.random() < 0.2:
        return rng.choice(["no", "on", "yes", "12:30", "2024-01-01", "1.2.3", "null", "true", "1e5", "~", "010", "NO"])
    words = rng.choices(WORDS, k=rng.randint(1, 7))
    if rng.random() < 0.3:
        return "\n".join(rng.choices(WORDS[:12], k=3)) + ("\n" if rng.random() < 0.5 else "")
    return " ".join(words)


PATTERNS: tuple[tuple[str, Callable[[random.Random], str]], ...] = (
    (
        r"^[a-z]+/[a-z0-9.-]+$",
        lambda rng: f"{rng.choice(('openai', 'local'))}/m-{rng.randint(1, 9)}.{rng.randint(0, 9)}",
    ),
    (r"^v\d+\.\d+$", lambda rng: f"v{rng.randint(0, 9)}.{rng.randint(0, 99)}"),
    (r"^[A-Z]{2,4}-\d{3}$", lambda rng: f"{rng.choice(('AB', 'QRS'))}-{rng.randint(100, 999)}"),
)


@dataclass(frozen=True, eq=False)
class Formed(Kind):
    """A text that matches a pattern."""

    pattern: str
    make: Callable[[random.Random], str]

    @property
    def annotation(self) -> Any:
        return Annotated[str, PydanticField(pattern=self.pattern)]

    def draw(self, rng: random.Random) -> Node:
        return self._leaf(rng, self.make(rng))

    def spoil(self, rng: random.Random) -> Wrong:
        wrong = rng.choice(["", "!", "日"]) + self.make(rng) + "?"
        return [*super().spoil(rng), ("pattern", lambda: self._wrong("pattern", self._leaf(rng, wrong)))]

    def fits(self, value: Any) -> bool:
        return isinstance(value, str)


@dataclass(frozen=True, eq=False)
class Choice(Kind):
    """One of some words, as a `Literal` or an enum, or a whole number too."""

    choices: tuple[str, ...]
    form: str
    annotation: Any = field(init=False)

    def __post_init__(self) -> None:
        names: Any = Literal[self.choices]
        members = {each.upper(): each for each in self.choices}
        forms = {"literal": names, "number": int | names, "enum": enum.Enum("Choice", members)}
        object.__setattr__(self, "annotation", forms[self.form])

    def draw(self, rng: random.Random) -> Node:
        return self._leaf(rng, rng.choice([*self.choices, *([7] if self.form == "number" else [])]))

    def spoil(self, rng: random.Random) -> Wrong:
        return [*super().spoil(rng), ("choice", lambda: self._mistyped(rng))]

    def fits(self, value: Any) -> bool:
        return self.form == "number" and value == 5

    def _mistyped(self, rng: random.Random) -> Node:
        original = rng.choice(self.choices)
        typo = mistype(rng, original, self.choices)
        return self._wrong("choice", self._leaf(rng, typo), original)


def mistype(rng: random.Random, original: str, taken: Sequence[str]) -> str:
    """The name with one or two edits, as no other: two only where something of the name is left."""
    while True:
        typo = draw_typo(rng, original, rng.randint(1, 2) if len(original) > 4 else 1)
        plain = typo.isidentifier() and typo[0] != "_" and typo.lower() not in ("null", "true", "false", "inf", "nan")
        if plain and typo not in taken:
            return typo


@dataclass(frozen=True, eq=False)
class Items(Kind):
    """A list of limited length."""

    item: Kind
    most: int

    @property
    def annotation(self) -> Any:
        listed: Any = list.__class_getitem__(self.item.annotation)
        return Annotated[listed, PydanticField(min_length=1, max_length=self.most)]

    def draw(self, rng: random.Random) -> Node:
        return self._series(rng, rng.randint(1, self.most))

    def spoil(self, rng: random.Random) -> Wrong:
        lengths = [0, self.most + 1, self.most + 2]
        too_long = ("bound", lambda: self._wrong("bound", self._series(rng, rng.choice(lengths))))
        return [*super().spoil(rng), too_long]  # type: ignore[list-item]

    def _series(self, rng: random.Random, length: int) -> Series:
        return Series(draw_seed(rng), [self.item.draw(rng) for _ in range(length)], kind=self)


@dataclass(frozen=True, eq=False)
class Table(Kind):
    """A mapping whose keys are free."""

    value: Kind

    @property
    def annotation(self) -> Any:
        return dict.__class_getitem__((str, self.value.annotation))

    def draw(self, rng: random.Random) -> Node:
        names = draw_names(rng, rng.randint(1, 3), CHOICES)
        pairs = [Pair(name, self.value.draw(rng), draw_seed(rng)) for name in names]
        return Branch(draw_seed(rng), pairs=pairs, kind=self)

    def wrong_type(self, rng: random.Random) -> Node:
        return wrong_mapping(self, rng)


def wrong_mapping(kind: Kind, rng: random.Random) -> Node:
    """A scalar or a list where a mapping should be."""
    if rng.random() < 0.6:
        return kind._wrong("type", draw_foreign(rng, rng.choice(SCALARS)))
    return kind._wrong(
        "type", Series(draw_seed(rng), [draw_foreign(rng, each) for each in ("x", 1)[: rng.randint(0, 2)]])
    )


@dataclass(frozen=True, eq=False)
class Field:
    """A key of a section; one that is not required is null by default."""

    name: str
    kind: Kind
    required: bool

    def draw(self, rng: random.Random) -> Node:
        is_null = not self.required and rng.random() < 0.07
        return Leaf(draw_seed(rng), None, None) if is_null else self.kind.draw(rng)


@dataclass(frozen=True, eq=False)
class Section(Kind):
    """A `tm.Config`; one of a tagged union has a `tag`."""

    name: str
    fields: tuple[Field, ...]
    tag: tuple[str, str] | None = None
    annotation: Any = field(init=False)

    def __post_init__(self) -> None:
        parts: dict[str, Any] = {}
        if self.tag:
            parts[self.tag[0]] = (Literal[self.tag[1]], ...)
        for each in self.fields:
            of = each.kind.annotation
            parts[each.name] = (of, ...) if each.required else (of | None, None)
        object.__setattr__(self, "annotation", create_model(self.name, __base__=tm.Config, **parts))

    @property
    def names(self) -> list[str]:
        return [*([self.tag[0]] if self.tag else []), *(each.name for each in self.fields)]

    def draw(self, rng: random.Random) -> Branch:
        given = [each for each in self.fields if each.required or rng.random() < 0.7]
        pairs = [Pair(each.name, each.draw(rng), draw_seed(rng), each.required) for each in given]
        rng.shuffle(pairs)
        if self.tag:
            name, value = self.tag
            node = Leaf(draw_seed(rng), value, value, kind=self, is_tag=True)
            pairs.insert(rng.choice([0, rng.randint(0, len(pairs))]), Pair(name, node, draw_seed(rng), True))
        return Branch(draw_seed(rng), pairs=pairs, section=self, kind=self)

    def wrong_type(self, rng: random.Random) -> Node:
        return wrong_mapping(self, rng)


@dataclass(frozen=True, eq=False)
class Tagged(Kind):
    """One of several sections, as its tag says."""

    sections: tuple[Section, ...]

    @property
    def annotation(self) -> Any:
        tag, _ = self.sections[0].tag or ("", "")
        return Annotated[Union[tuple(each.annotation for each in self.sections)], Discriminator(tag)]  # noqa: UP007

    def draw(self, rng: random.Random) -> Node:
        branch = rng.choice(self.sections).draw(rng)
        branch.kind = self
        for pair in branch.pairs:
            if pair.node.is_tag:
                pair.node.kind = Tag(tuple(each.tag[1] for each in self.sections if each.tag))
        return branch

    def wrong_type(self, rng: random.Random) -> Node:
        return wrong_mapping(self, rng)


@dataclass(frozen=True, eq=False)
class Tag(Kind):
    """The value that tells the sections of a union apart."""

    tags: tuple[str, ...]

    def draw(self, rng: random.Random) -> Node:
        return self._leaf(rng, rng.choice(self.tags))

    def spoil(self, rng: random.Random) -> Wrong:
        return [("choice", lambda: self._mistyped(rng))]

    def _mistyped(self, rng: random.Random) -> Node:
        original = rng.choice(self.tags)
        return self._wrong("choice", self._leaf(rng, mistype(rng, original, self.tags)), original)

    def _leaf(self, rng: random.Random, written: Any, meant: Any = ...) -> Leaf:
        leaf = super()._leaf(rng, written, meant)
        leaf.is_tag = True
        return leaf


def draw_schema(rng: random.Random) -> Section:
    """A section of two to eight fields, three levels deep at most."""
    known: list[Kind] = []
    return _draw_section(rng, known, 0)


def _draw_section(rng: random.Random, known: list[Kind], depth: int, tag: tuple[str, str] | None = None) -> Section:
    names = [name for name in draw_names(rng, rng.randint(3, 9) - depth) if tag is None or name != tag[0]]
    fields = tuple(Field(name, _draw_kind(rng, known, depth), rng.random() < 0.4) for name in names)
    return Section(f"Section{len(known)}", fields, tag)


def _draw_kind(rng: random.Random, known: list[Kind], depth: int) -> Kind:
    """A kind of its own, or one there is already, so that documents can say the same thing twice."""
    if known and depth and rng.random() < 0.25:
        return rng.choice(known)
    deep = rng.random() < (0.5, 0.3, 0)[depth]
    kind = _draw_container_kind(rng, known, depth) if deep else _draw_scalar(rng)
    if deep or rng.random() < 0.3:
        known.append(kind)
    return kind


def _draw_container_kind(rng: random.Random, known: list[Kind], depth: int) -> Kind:
    form = rng.randrange(5)
    if form == 0:
        return Items(_draw_kind(rng, known, depth + 1), rng.randint(1, 4))
    if form == 1:
        return Table(_draw_kind(rng, known, depth + 1))
    if form == 2:
        tag = rng.choice(("type", "kind", "format"))
        tags = draw_names(rng, rng.randint(2, 3), CHOICES)
        return Tagged(tuple(_draw_section(rng, known, depth + 1, (tag, each)) for each in tags))
    return _draw_section(rng, known, depth + 1)


def _draw_scalar(rng: random.Random) -> Kind:
    form = rng.randrange(6)
    if form == 0:
        return Number(True, rng.choice((0, 1, 1, 2)), rng.choice((10, 100, 65_536)))
    if form == 1:
        return Number(False, rng.choice((0, 0, -1)), rng.choice((1, 2, 100)))
    if form == 2:
        return Flag()
    if form == 3:
        return Words(rng.choice((20, 40, 80)))
    if form == 4:
        return Formed(*rng.choice(PATTERNS))
    return Choice(
        tuple(draw_names(rng, rng.randint(2, 5), CHOICES)), rng.choice(("literal", "literal", "enum", "number"))
    )


assert len(set(NAMES)) == len(NAMES)
