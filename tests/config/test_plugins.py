"""Plug-ins: a section's class by a name that is given, by an entry point, by an import path."""

from __future__ import annotations

import dataclasses
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import Field, SecretStr

from tidemill.config.cli.options import list_sections
from tidemill.config.coercion.adapters import shape_of
from tidemill.config.inspection import explain_key, list_entries
from tidemill.config.layers.document import Document
from tidemill.config.layers.stacking import Sources
from tidemill.config.loading import load_config, load_document, load_with_origins, validate_document
from tidemill.config.model import Config
from tidemill.config.report.rendering import render_report
from tidemill.config.report.values import check_value
from tidemill.config.schemas.json_schema import json_schema
from tidemill.config.unions.plugins import Plugins
from tidemill.errors import ConfigError

GROUP = "tidemill_test.optimizers"
HERE = __name__


class Optimizer(Config):
    lr: float = Field(1e-4, gt=0)


class Adam(Optimizer):
    betas: tuple[float, float] = (0.9, 0.999)


class Sgd(Optimizer):
    type: Literal["sgd", "momentum"] = "sgd"
    momentum: float = 0.0


Optim = Annotated[Optimizer, Plugins(GROUP, default="adam", adam=Adam, sgd=Sgd)]


class Train(Config):
    optim: Optim = Adam()
    stages: list[Optim] = Field([])
    named: dict[str, Optim] = Field({})
    maybe: Annotated[Optimizer | None, Plugins(GROUP)] = None
    warmup: float = 0.0


class Local(Optimizer):
    """Known by its import path alone."""

    steps: int = Field(3, ge=1)
    api_hash: SecretStr | None = None


@dataclasses.dataclass
class Sink:
    path: str = "out"


@dataclasses.dataclass
class Table(Sink):
    rows: Annotated[int, Field(ge=1)] = 1


class NoOptimizer(Config):
    pass


class Plain:
    """Nothing that a mapping makes."""


class Plainer(Plain):
    pass


just_a_value = 3

LION = '''
from typing import Annotated
from pydantic import Field, SecretStr
from test_plugins import GROUP, Optimizer
from tidemill.config.unions.plugins import Plugins

class Lion(Optimizer):
    """Evolved sign momentum."""
    beta: float = Field(0.95, ge=0, lt=1)
    note: str = ""
    licence: SecretStr | None = None
    inner: Annotated[Optimizer, Plugins(GROUP)] | None = None
'''
ENTRIES = f"""[{GROUP}]
lion = lion_optim:Lion
broken = broken_optim:Broken
missing = lion_optim:Tiger
foreign = test_plugins:NoOptimizer
"""


@pytest.fixture
def lion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A distribution, installed into a folder of its own."""
    site = tmp_path / "site"
    install(site, "lion-optim", ENTRIES)
    (site / "lion_optim.py").write_text(LION)
    (site / "broken_optim.py").write_text("import no_such_library\n")
    modules = set(sys.modules)
    path = list(sys.path)
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def install(site: Path, name: str, entries: str) -> None:
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)


def report(text: str, model: Any = Train, folder: Path | None = None) -> list[str]:
    """The report's lines, without source lines and the count."""
    _, problems = validate_document(model, Document.parse(text, "t.yaml"), {"folder": folder})
    return [line for line in render_report(problems).splitlines()[:-1] if not line.startswith("    ")]


def names(*more: str) -> str:
    listed = ", ".join(f"`{name}`" for name in ("adam", "sgd", *more))
    return f"expected {listed} or an import path `module:name`"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, Adam()),
        ({"type": "adam", "lr": "1e-3"}, Adam(lr=1e-3)),
        ({"type": "sgd", "momentum": 0.5}, Sgd(momentum=0.5)),
        ({"type": f"{HERE}:Local", "steps": 5}, Local(steps=5)),
        ({"type": f"{HERE}:Sgd"}, Sgd()),
        (Local(steps=5), Local(steps=5)),
        (Adam(), Adam()),
    ],
)
def test_a_name_or_an_import_path_chooses_the_class(raw: Any, expected: Optimizer) -> None:
    for train in (Train(optim=raw), load_config(Train, {"optim": raw})):
        assert train.optim == expected
        assert type(train.optim) is type(expected)
    assert Train(stages=[raw]).stages == [expected]
    assert Train(named={"a": raw}).named == {"a": expected}
    if isinstance(raw, dict):
        text = json.dumps({"optim": raw})
        assert Train.model_validate_json(text).optim == expected
        assert validate_document(Train, Document.parse(text))[0] == Train(optim=expected)


@pytest.mark.usefixtures("lion")
def test_an_entry_point_is_loaded_when_it_is_chosen_and_only_then(tmp_path: Path) -> None:
    assert Train(optim={"type": "sgd"}).optim == Sgd()
    assert "lion_optim" not in sys.modules
    file = tmp_path / "train.yaml"
    file.write_text("optim: {type: lion, beta: 0.5}\nstages: [{type: lion, inner: {type: lion, beta: 0.1}}]\n")
    train = load_config(Train, file)
    assert str(train.origin("optim.type")).endswith("train.yaml:1:15")
    assert train.model_dump(exclude_defaults=True) == {
        "optim": {"type": "lion", "beta": 0.5},
        "stages": [{"type": "lion", "inner": {"type": "lion", "beta": 0.1}}],
    }


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("optim: {lrr: 1}", ["t.yaml:1:9  unknown key `lrr`; did you mean `lr`?  (number > 0, default 0.0001)"]),
        (
            "stages: [{type: lion, bta: 0.5, lr: 0}]",
            [
                "t.yaml:1:23  unknown key `bta`; did you mean `beta`?  (number >= 0 and < 1, default 0.95)",
                "t.yaml:1:37  `stages.0.lr`: expected a number > 0, got 0",
            ],
        ),
        (
            "named: {a: {type: lion, inner: {type: lion, bta: 1}}}",
            ["t.yaml:1:45  unknown key `bta`; did you mean `beta`?  (number >= 0 and < 1, default 0.95)"],
        ),
        (
            f"optim: {{type: '{HERE}:Local', stops: 2, steps: 0}}",
            [
                "t.yaml:1:37  unknown key `stops`; did you mean `steps`?  (integer >= 1, default 3)",
                "t.yaml:1:54  `optim.steps`: expected an integer >= 1, got 0",
            ],
        ),
        (
            "optim: {typ: sgd, momentum: 1}",
            [
                (
                    "t.yaml:1:9  unknown key `typ`; did you mean `type`?  "
                    '(`adam`, `sgd`, another plug-in or its import path `module:name`, default "adam")'
                )
            ],
        ),
    ],
)
@pytest.mark.usefixtures("lion")
def test_errors_are_those_of_the_chosen_class(text: str, lines: list[str]) -> None:
    assert report(text) == lines


@pytest.mark.parametrize(
    ("tag", "column", "message"),
    [
        (
            "lino",
            15,
            f'{names("broken", "foreign", "lion", "missing")}, got "lino"; did you mean `lion`?',
        ),
        ("adm", 15, f'{names("broken", "foreign", "lion", "missing")}, got "adm"; did you mean `adam`?'),
        ("3", 15, f"{names('broken', 'foreign', 'lion', 'missing')}, got 3"),
        (f"{HERE}:Locl", 28, f"`{HERE}` has no `Locl`; did you mean `{HERE}:Local`?"),
        (
            f"{HERE}.Local",
            15,
            f"expected an import path `module:name`, got `{HERE}.Local`; did you mean `{HERE}:Local`?",
        ),
        (f"{HERE}:NoOptimizer", 15, f"`{HERE}:NoOptimizer` is no `Optimizer`; derive it from `{HERE}.Optimizer`"),
        (f"{HERE}:just_a_value", 15, f"`{HERE}:just_a_value` is not a class but 3; derive it from `{HERE}.Optimizer`"),
        ("foreign", 15, f"`foreign` is no `Optimizer`; derive it from `{HERE}.Optimizer`"),
        (
            "missing",
            15,
            "the plug-in `missing` of lion-optim 1.0 cannot be loaded: `lion_optim` has no `Tiger`",
        ),
    ],
)
@pytest.mark.usefixtures("lion")
def test_a_tag_that_names_nothing_fitting_is_told_at_its_place(tag: str, column: int, message: str) -> None:
    assert report(f"optim: {{type: {tag}}}") == [f"t.yaml:1:{column}  `optim.type`: {message}"]


def test_an_entry_point_that_fails_to_import_is_named_with_the_reason(lion: Path) -> None:
    (line,) = report("optim: {type: broken}")
    assert line == (
        "t.yaml:1:15  `optim.type`: the plug-in `broken` of lion-optim 1.0 cannot be loaded: importing `broken_optim` "
        f"fails: ModuleNotFoundError: No module named 'no_such_library'; see {lion}/broken_optim.py:1"
    )


def test_a_name_that_two_packages_give_is_refused(lion: Path) -> None:
    install(lion, "other-optim", f"[{GROUP}]\nlion = other_optim:Lion\n")
    sys.path.append(str(lion.parent))  # another path is looked at anew
    (line,) = report("optim: {type: lion}")
    assert "`optim.type`: there are plug-ins `lion` of `lion-optim 1.0` and `other-optim 1.0`" in line
    assert "name its class: `lion_optim:Lion` or `other_optim:Lion`" in line


def test_a_class_that_no_mapping_makes_is_refused() -> None:
    class Holder(Config):
        it: Annotated[Plain, Plugins(GROUP)]

    (line,) = report(f"it: {{type: '{HERE}:Plainer'}}", Holder)
    assert f"`it.type`: `{HERE}:Plainer` cannot be made from a mapping" in line
    assert "make it a Config or a dataclass" in line


def test_the_folder_of_the_file_is_importable(tmp_path: Path) -> None:
    (tmp_path / "my_optims.py").write_text(f"from {HERE} import Optimizer\n\n\nclass Own(Optimizer):\n    depth: int\n")
    file = tmp_path / "train.yaml"
    file.write_text("optim: {type: 'my_optims:Own', depth: 3}\n")
    path = list(sys.path)
    try:
        train = load_config(Train, file)
        assert train.model_dump()["optim"] == {"type": "my_optims:Own", "lr": 1e-4, "depth": 3}
        assert report("optim: {type: 'my_optms:Own'}", folder=tmp_path) == [
            "t.yaml:1:16  `optim.type`: no module named `my_optms`; did you mean `my_optims:Own`?"
        ]
        assert report("optim: {type: 'my_optims:Own', depht: 1}", folder=tmp_path) == [
            "t.yaml:1:32  unknown key `depht`; did you mean `depth`?  (integer, required)"
        ]
    finally:
        sys.path[:] = path
        sys.modules.pop("my_optims", None)


def test_dataclasses_are_plug_ins_with_the_rules_of_a_config() -> None:
    class Holder(Config):
        sink: Annotated[Sink, Plugins("tidemill_test.sinks", default="sink", sink=Sink)]

    assert Holder(sink={}).sink == Sink()
    holder = Holder(sink={"type": f"{HERE}:Table", "rows": "2"})
    assert holder.sink == Table(rows=2)
    assert holder.model_dump() == {"sink": {"type": f"{HERE}:Table", "path": "out", "rows": 2}}
    assert report(f"sink: {{type: '{HERE}:Table', row: 2, rows: true}}", Holder) == [
        "t.yaml:1:36  unknown key `row`; did you mean `rows`?  (integer >= 1, default 1)",
        "t.yaml:1:50  `sink.rows`: expected an integer >= 1, got true",
    ]


@pytest.mark.usefixtures("lion")
def test_a_dump_names_the_class_and_loads_back_equal() -> None:
    raw = [{"type": "lion", "inner": {"type": "lion"}}, {"type": f"{HERE}:Local"}, {"type": "sgd"}, {}]
    train = Train(stages=raw, optim=Local(), maybe={"type": "lion"})
    assert [each["type"] for each in train.model_dump()["stages"]] == ["lion", f"{HERE}:Local", "sgd", "adam"]
    choices: list[dict[str, Any]] = [{}, {"exclude_unset": True}, {"exclude_defaults": True}]
    for options in choices:
        assert Train(**train.model_dump(mode="json", **options)) == train
        assert Train.model_validate_json(train.model_dump_json(**options)) == train
    assert pickle.loads(pickle.dumps(Train(optim=Local()))) == Train(optim=Local())


@pytest.mark.usefixtures("lion")
def test_exports_say_every_tag() -> None:
    raw = [{"type": "lion", "licence": "abcdef123456"}, {"type": f"{HERE}:Local"}, {"type": "sgd"}, {}]
    train = Train(stages=raw, named={"a": Local()})
    assert yaml.safe_load(train.to_yaml(defaults=False)) == {
        "stages": [
            {"type": "lion"},  # a secret is a comment
            {"type": f"{HERE}:Local"},
            {"type": "sgd"},
            {"type": "adam"},
        ],
        "named": {"a": {"type": f"{HERE}:Local"}},
    }
    assert Train(**train.to_dict(secrets=True)) == train
    assert train.to_dict()["optim"]["type"] == "adam"

    @dataclasses.dataclass
    class Copy:
        stages: list[Optim]

    @dataclasses.dataclass
    class Sinks:
        sink: Annotated[Sink, Plugins("tidemill_test.sinks", default="sink", sink=Sink)]

    class Holder(Config):
        stages: list[Optim]

    class Sinking(Config):
        sink: Annotated[Sink, Plugins("tidemill_test.sinks", default="sink", sink=Sink)]

    assert Holder(stages=raw).to_dataclass(Copy).stages == train.stages
    assert Sinking(sink=Table(rows=2)).to_dataclass(Sinks).sink == Table(rows=2)
    assert Sinking(sink=Table(rows=2)).to_dict() == {"sink": {"type": f"{HERE}:Table", "path": "out", "rows": 2}}


@pytest.mark.usefixtures("lion")
def test_what_a_plug_in_takes_is_listed_and_explained(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("optim: {type: lion, lr: 3}\nstages: [{}]\n")
    document = load_document(Train, Sources((file,)))
    entries = {each.key: each.value for each in list_entries(document, shape_of(Train))}
    assert entries["optim.beta"] == 0.95
    assert entries["stages.0.type"] == "adam"
    assert entries["stages.0.betas"] == [0.9, 0.999]
    assert explain_key(document, shape_of(Train), "optim.beta").expected == "number >= 0 and < 1, default 0.95"
    without = load_document(Train, Sources(({"warmup": 1},)))
    entries = {each.key: each.value for each in list_entries(without, shape_of(Train))}
    assert entries["optim.type"] == "adam"
    assert check_value(Train, {"optim": {"type": "lion", "bta": 1}}).render() == (
        "$.optim.bta: unknown key; did you mean `beta`?  (number >= 0 and < 1, default 0.95)"
    )


def test_the_help_of_a_script_lists_the_members_that_are_given() -> None:
    sections = {each.title: [option.name for option in each.options] for each in list_sections(shape_of(Train))}
    assert sections["optim, type adam"] == ["--optim.type", "--optim.lr", "--optim.betas"]
    assert sections["optim, type sgd"] == ["--optim.type", "--optim.lr", "--optim.momentum"]
    assert sections["optim, another plug-in"] == ["--optim.type"]


@pytest.mark.usefixtures("lion")
def test_secrets_of_a_plug_in_are_masked() -> None:
    for text in (
        "optim: {type: lion, licence: abcdef123456, lr: 0}",
        "optim: {type: lion, licnce: abcdef123456}",
        f"optim: {{type: '{HERE}:Local', api_hash: abcdef123456, lr: 0}}",
    ):
        _, problems = validate_document(Train, Document.parse(text, "t.yaml"))
        assert problems
        assert "abcdef" not in render_report(problems)


@pytest.mark.usefixtures("lion")
def test_overrides_and_the_environment_reach_into_a_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("optim: {lr: 3, betas: [0, 0]}\n")
    overrides = ["optim.note=7", "optim.type=lion", "optim.beta=0.5"]
    with pytest.raises(ConfigError, match=r"--set optim\.note.*expected text, got 7"):
        load_config(Train, file, overrides=overrides)
    loaded = load_with_origins(Train, file, overrides=sorted(overrides, reverse=True))
    assert loaded.value.model_dump(exclude_defaults=True) == {"optim": {"type": "lion", "beta": 0.5, "note": "7"}}
    assert str(loaded.origins.find(("optim", "beta"))) == "--set optim.beta"
    for key, value in {"TYPE": "lion", "NOTE": "7", "BETA": "0.25", "INNER__LR": "2", "INNER__TYPE": "lion"}.items():
        monkeypatch.setenv(f"TP__OPTIM__{key}", value)
    train = load_config(Train, file, environment="TP")
    assert train.model_dump(exclude_defaults=True) == {
        "optim": {"type": "lion", "beta": 0.25, "note": "7", "inner": {"type": "lion", "lr": 2.0}}
    }
    monkeypatch.setenv("TP__OPTIM__BTA", "0.25")
    with pytest.raises(ConfigError, match=r"environment TP__OPTIM__BTA.* unknown key .*did you mean `optim\.beta`\?"):
        load_config(Train, file, environment="TP")


@pytest.mark.usefixtures("lion")
def test_a_reference_takes_the_default_of_the_plug_in(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("optim: {type: lion}\nwarmup: ${optim.beta}\n")
    assert load_config(Train, file).warmup == 0.95


@pytest.mark.usefixtures("lion")
def test_a_value_within_a_plug_in_can_be_replaced() -> None:
    train = Train(optim={"type": "lion"}).replace("optim.beta", 0.5)
    assert train.model_dump()["optim"]["beta"] == 0.5
    assert train.replace({"optim.type": "lion", "optim.beta": 0.25}).optim.model_dump()["beta"] == 0.25
    assert train.replace({"optim.type": "sgd", "optim.momentum": 1}).optim == Sgd(momentum=1)
    with pytest.raises(ConfigError, match=r"did you mean `optim\.beta`\?"):
        train.replace("optim", {"type": "lion", "bta": 1})
    with pytest.raises(ConfigError, match=r"`optim\.type`: expected .* did you mean `lion`\?"):
        train.replace("optim.type", "lino")


@pytest.mark.usefixtures("lion")
def test_the_json_schema_has_every_known_name_and_takes_import_paths() -> None:
    schema = json_schema(Train)
    by_name = {each["properties"]["type"].get("const"): each for each in schema["properties"]["optim"]["oneOf"]}
    assert list(by_name) == ["adam", "sgd", "broken", "foreign", "lion", "missing", None]
    assert by_name["lion"]["properties"]["beta"]["exclusiveMaximum"] == 1
    assert by_name["lion"]["description"] == "Evolved sign momentum."
    validator = Draft202012Validator(schema)
    Draft202012Validator.check_schema(schema)
    good: list[Any] = [{}, {"type": "sgd"}, {"type": "lion", "inner": {"type": "lion"}}, {"type": "a.b:C", "x": 1}]
    bad: list[Any] = [{"momentum": 1}, {"type": "lion", "bta": 1}, {"type": "lino"}]
    for value in good:
        validator.validate({"optim": value})
    for value in bad:
        assert not validator.is_valid({"optim": value})


def test_classes_that_are_no_plug_in_of_the_base_are_refused_where_they_are_declared() -> None:
    with pytest.raises(ConfigError, match="the plug-in `plain` is no `Optimizer`"):

        class Bad(Config):
            it: Annotated[Optimizer, Plugins(GROUP, plain=Plain)]

    with pytest.raises(ConfigError, match="plug-ins are of one class"):

        class Worse(Config):
            it: Annotated[Adam | Sgd, Plugins(GROUP)]
