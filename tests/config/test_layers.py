"""Several sources of one configuration: what wins, where each value stands, and what is wrong with each."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, SecretStr

from tidemill.config.loading import load_config, load_with_origins
from tidemill.config.model import Config
from tidemill.config.text.nodes import Text
from tidemill.errors import ConfigError


class Adam(Config):
    type: Literal["adam"] = "adam"
    lr: float = Field(1e-4, gt=0)
    beta: float = 0.9


class Sgd(Config):
    type: Literal["sgd"]
    lr: float = Field(1e-4, gt=0)
    momentum: float = 0.0


class Data(Config):
    path: str = "data"
    workers: int = Field(2, ge=0)


class Train(Config):
    learning_rate: float = Field(1e-4, gt=0)
    batch_size: int = Field(32, ge=1)
    seed: int = 0
    name: str = "run"
    out: str = "out"
    note: str | None = None
    tags: list[str] = Field([])
    optim: Annotated[Adam | Sgd, Field(discriminator="type")] = Adam()
    data: Data = Data()
    stages: list[Data] = Field([])
    extra: dict[str, Any] = Field({})
    include_all: bool = False
    api_key: SecretStr | None = None


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(**files: str) -> None:
    for name, text in files.items():
        path = Path(name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def report(*sources: Any, **options: Any) -> list[str]:
    """What is said of them, without source lines, carets and the count."""
    with pytest.raises(ConfigError, match="error") as caught:
        load_config(Train, *sources, **options)
    lines = str(caught.value).splitlines()[:-1]
    return [" ".join(line.split()) for line in lines if not line.startswith("    ")]


def origins(*sources: Any, **options: Any) -> dict[str, str]:
    return load_with_origins(Train, *sources, **options).origins.to_dict()


# What wins.


def test_later_sources_win_and_sections_merge() -> None:
    write(base="batch_size: 8\ndata: {path: /d, workers: 4}\ntags: [a, b]\n", train="data: {workers: 8}\ntags: [c]\n")
    train = load_config(Train, "base.yaml", {"seed": 3}, "train.yaml")
    assert (train.batch_size, train.seed, train.tags) == (8, 3, ["c"])
    assert train.data == Data(path="/d", workers=8)


def test_another_tag_replaces_the_whole_section_and_the_same_one_merges() -> None:
    write(base="optim: {type: adam, beta: 0.8, lr: 0.1}\n")
    assert load_config(Train, "base.yaml", {"optim": {"type": "sgd", "lr": 0.2}}).optim == Sgd(type="sgd", lr=0.2)
    assert load_config(Train, "base.yaml", {"optim": {"type": "adam", "lr": 0.2}}).optim == Adam(beta=0.8, lr=0.2)
    assert load_config(Train, "base.yaml", {"optim": {"lr": 0.3}}).optim == Adam(beta=0.8, lr=0.3)


def test_an_empty_file_changes_nothing() -> None:
    write(base="batch_size: 8\n", empty="# nothing\n")
    assert load_config(Train, "base.yaml", "empty.yaml").batch_size == 8


def test_no_source_at_all_gives_the_defaults() -> None:
    assert load_config(Train) == Train()


# Includes.


def test_an_include_lies_beneath_its_file_and_paths_start_at_the_file_that_names_them() -> None:
    write(
        conf__base="include: deep/lowest.yaml\nbatch_size: 8\nseed: 1\n",
        conf__deep__lowest="seed: 0\nname: lowest\n",
        train="include: [conf/base.yaml]\nseed: 2\n",
    )
    train = load_config(Train, "train.yaml")
    assert (train.seed, train.batch_size, train.name) == (2, 8, "lowest")
    assert origins("train.yaml")["seed"] == "train.yaml:2:7, over conf/base.yaml:3:7, conf/deep/lowest.yaml:1:7"


def test_a_section_may_include_a_file_of_its_own() -> None:
    write(adam="type: adam\nbeta: 0.7\n", train="optim:\n  include: adam.yaml\n  lr: 0.5\nstages:\n- include: d.yaml\n")
    write(d="workers: 7\n")
    train = load_config(Train, "train.yaml")
    assert train.optim == Adam(beta=0.7, lr=0.5)
    assert train.stages == [Data(workers=7)]
    assert origins("train.yaml")["optim.beta"] == "adam.yaml:2:7"


def test_a_free_mapping_may_hold_include_as_data() -> None:
    assert load_config(Train, Text("f", "extra: {include: [reasoning]}\n")).extra == {"include": ["reasoning"]}


def test_an_include_may_name_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZE", "big")
    write(big="batch_size: 512\n", train="include: ${env:SIZE}.yaml\n")
    assert load_config(Train, "train.yaml").batch_size == 512


def test_every_wrong_include_is_told_where_it_is_named_and_the_rest_is_checked() -> None:
    write(base="seed: x\n", a="include: b.yaml\n", b="include: a.yaml\n")
    write(train="include: [bse.yaml, a.yaml, {x: 1}, '${env:NO_SUCH}', base.yaml]\nbatch_size: 0\n")
    assert report("train.yaml") == [
        "b.yaml:1:10 these files include each other: `a.yaml` → `b.yaml` → `a.yaml`; leave out one of the includes",
        'base.yaml:1:7 `seed`: expected an integer, got "x"',
        f"train.yaml:1:11 there is no file `bse.yaml` in {Path.cwd()}; did you mean `base.yaml`?",
        "train.yaml:1:29 `include`: expected a file's path, or a list of them",
        "train.yaml:1:37 the environment has no `NO_SUCH`; set it, or give a default: `${env:NO_SUCH:-…}`",
        "train.yaml:2:13 `batch_size`: expected an integer >= 1, got 0",
    ]


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (
            "https://a.b/c.yaml",
            "`include`: expected a file's path, got an address; fetch it first, and include the file",
        ),
        ("${seed}", "`${seed}` is not known where files are included; `${env:NAME}` and `${file:path}` are"),
    ],
)
def test_an_include_of_what_is_no_file_says_so(named: str, told: str) -> None:
    write(train=f"include: {named}\nseed: 1\n")
    assert report("train.yaml") == [f"train.yaml:1:10 {told}"]


def test_an_include_may_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("seed: 7\n")
    write(train="include: ~/mine.yaml\n")
    assert load_config(Train, "train.yaml").seed == 7


def test_an_unknown_key_is_named_as_each_source_gives_it() -> None:
    write(train="data: {zzz: 1}\n")
    assert report("train.yaml", overrides=["data.zzz=2"]) == [
        "train.yaml:1:8 unknown key `zzz`; known: `path`, `workers`",
        "--set data.zzz unknown key `data.zzz`; known: `path`, `workers`",
    ]


def test_a_file_that_cannot_be_read_hides_no_mistake_of_the_others() -> None:
    write(base="batch_size: 0\n", train="seed: [1\n")
    assert report("base.yaml", "train.yaml") == [
        "base.yaml:1:13 `batch_size`: expected an integer >= 1, got 0",
        "train.yaml:1:7 the list opened here is not closed by `]`, or lacks a `,`",
    ]


def test_a_top_level_key_with_an_x_holds_what_anchors_name() -> None:
    text = "x-stage: &stage {workers: 3, path: /p}\nstages: [{<<: *stage, workers: 4}]\ndata: *stage\n"
    train = load_config(Train, Text("f", text))
    assert (train.stages, train.data) == ([Data(workers=4, path="/p")], Data(workers=3, path="/p"))
    assert report(Text("f", "data: {x-note: 1}\n")) == ["f:1:8 unknown key `x-note`; known: `path`, `workers`"]


def test_a_json_file_may_name_its_schema() -> None:
    assert load_config(Train, Text("f.json", '{"$schema": "train.schema.json", "seed": 4}')).seed == 4


def test_a_name_that_no_file_can_have_is_told() -> None:
    write(train='include: "a\\0b"\nname: ${file:~nosuchuser/x}\n')
    told = report("train.yaml")
    assert told[0] == "train.yaml:1:10 cannot open it: embedded null byte"
    assert told[1].startswith("train.yaml:2:7 `name`: there is no file `x` in ")


def test_a_variable_whose_bytes_are_no_text_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAIN__SEED", b"a\xff".decode("utf-8", "surrogateescape"))
    assert report(environment="TRAIN") == ["environment TRAIN__SEED bytes that are no UTF-8; give a text"]


def test_what_is_no_file_of_a_configuration_is_refused(folder: Path) -> None:
    (folder / "loop.yaml").symlink_to("loop.yaml")
    write(train="include: [loop.yaml, /dev/zero, .]\nout: ${file:/dev/zero}\nname: '${file:loop.yaml}'\n")
    assert [line.partition("; ")[0] for line in report("train.yaml")] == [
        "train.yaml:1:11 cannot open it: Too many levels of symbolic links",
        "train.yaml:1:22 cannot open it: it is larger than 16,777,216 bytes",
        "train.yaml:1:33 this is a folder",
        "train.yaml:2:6 `out`: cannot open it: it is larger than 16,777,216 bytes",
        "train.yaml:3:8 `name`: cannot open it: Too many levels of symbolic links",
    ]


# References.


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("seed: 7\nbatch_size: ${seed}\n", "batch_size", 7),
        ("name: ${out}-${seed}\nout: x\nseed: 3\n", "name", "x-3"),
        ("name: a $${seed} ${{ x }} $5 ${ y } ${\n", "name", "a ${seed} ${{ x }} $5 ${ y } ${"),
        ("optim: {type: adam, lr: 1e-3}\nname: lr-${optim.lr}\n", "name", "lr-1e-3"),
        ("name: '${batch_size}'\nbatch_size: 64\n", "name", REF := "refused"),
        ("name: x${batch_size}\n", "name", "x32"),
        ("name: lr ${optim.lr}\n", "name", "lr 0.0001"),
        ("tags: [a]\nextra: {again: '${tags}'}\n", "extra", {"again": ["a"]}),
        ("tags: [a, b]\nname: ${tags.1}\n", "name", "b"),
        ("batch_size: ${env:TM_N}\n", "batch_size", 8),
        ("name: ${env:TM_N}\n", "name", "8"),
        ("name: ${env:TM_EMPTY:-x}\n", "name", "x"),
        ("name: ${env:TM_NONE:-${out}/${env:TM_N}}\n", "name", "out/8"),
        ("name: ${no.such:-d}\n", "name", "d"),
        ("name: a\nout: ${file:secret.txt}\n", "out", "from the file"),
        ("out: 'in ${file:secret.txt}!'\n", "out", "in from the file!"),
        ("note: ${env:TM_NULL}\n", "note", None),
        ("extra: {a: '${env:TM_LIST}'}\n", "extra", {"a": [1, 2]}),
        ("out: |\n  ${seed}\n  ${seed}\nseed: 4\n", "out", "4\n4\n"),
    ],
)
def test_a_reference_stands_for(
    text: str, path: str, value: Any, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    for name, given in {"TM_N": "8", "TM_EMPTY": "", "TM_NULL": "null", "TM_LIST": "[1, 2]"}.items():
        monkeypatch.setenv(name, given)
    (folder / "secret.txt").write_text("from the file\n")
    if value == REF:
        assert report(Text("f", text)) == ["f:1:7 `name`: expected text, got 64; put it in quotes"]
    else:
        assert getattr(load_config(Train, Text("f", text)), path) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: ${sed}\n", "f:1:7 `name`: there is no key `sed`; did you mean `seed`?"),
        ("name: x-${optim.lrr}\n", "f:1:9 `name`: there is no key `optim.lrr`; did you mean `optim.lr`?"),
        ("name: ${opti.lr}\n", "f:1:7 `name`: there is no key `opti.lr`; did you mean `optim`?"),
        ("name: ${env:TM_TABEL}\n", "f:1:7 `name`: the environment has no `TM_TABEL`; did you mean `TM_TABLE`?"),
        ("name: a ${env:1}\n",
         "f:1:9 `name`: expected `${env:NAME}`, `${env:NAME:-default}` or `${file:path}`; write `$${` for it as text"),
        ("name: x${tags}\n",
         "f:1:8 `name`: an empty list cannot stand within a text; let the reference be the whole value"),
        ("name: ${out}\nout: ${note}\nnote: ${name}\n",
         "f:3:7 `note`: these refer to each other: `name` → `out` → `note` → `name`; write one of them out"),
        ("name: ${name}\n", "f:1:7 `name`: these refer to each other: `name` → `name`; write one of them out"),
    ],
)  # fmt: skip
def test_a_reference_to_nothing_is_told_once(text: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TM_TABLE", "x")
    assert report(Text("f", text)) == [told]


def test_every_reference_of_a_text_is_told() -> None:
    assert report(Text("f", "name: ${a1}-${seed}-${file:no.txt}\n")) == [
        "f:1:7 `name`: there is no key `a1`; write `$${` for it as text",
        f"f:1:21 `name`: there is no file `no.txt` in {Path.cwd()}",
    ]


def test_what_a_variable_holds_is_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TM_X", "${seed}")
    assert load_config(Train, Text("f", "name: a${env:TM_X}\n")).name == "a${seed}"


def test_a_value_from_python_is_data() -> None:
    assert load_config(Train, {"name": "${seed}"}, {"seed": 1}).name == "${seed}"


def test_a_variable_is_sought_in_the_env_file_beside() -> None:
    Path("conf").mkdir()
    Path("conf/.env").write_text("TM_ONLY_THERE=5\n")
    write(conf__train="seed: ${env:TM_ONLY_THERE}\n")
    assert load_config(Train, "conf/train.yaml").seed == 5


def bomb(first: str, link: str, joint: str) -> str:
    """Eleven keys, each made of ten times the one before."""
    links = "".join(f"  a{n}: {joint.replace('…', link.replace('N', str(n - 1)))}\n" for n in range(1, 12))
    return f"extra:\n  a0: {first}\n{links}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (bomb("[x]", '"${extra.aN}", ' * 10, "[…]"), "the references stand for more than 100,000 values"),
        (bomb("x" * 100, "${extra.aN}" * 10, "…"), "the references make texts of more than 10,000,000 characters"),
    ],
    ids=["values", "texts"],
)
def test_a_bomb_of_references_is_refused_once(text: str, told: str) -> None:
    (line,) = report(Text("f", text))
    assert told in line


# The environment.


def test_variables_with_the_prefix_set_keys_and_leave_the_rest_of_a_section(monkeypatch: pytest.MonkeyPatch) -> None:
    write(train="data: {path: /d, workers: 1}\nextra: {Big: {x: 1}}\nstages: [{workers: 1}]\n")
    for name, value in {
        "TRAIN__DATA__WORKERS": "8",
        "train__name": "007",
        "TRAIN__OPTIM": "{type: sgd, lr: 3e-4}",
        "TRAIN__OPTIM__MOMENTUM": "0.5",
        "TRAIN__EXTRA__BIG__X": "2",
        "TRAIN__EXTRA__NEW": "[1]",
        "TRAIN__STAGES__0__PATH": "/s",
        "TRAINING": "no prefix",
    }.items():
        monkeypatch.setenv(name, value)
    train = load_config(Train, "train.yaml", environment="TRAIN")
    assert (train.name, train.data) == ("007", Data(path="/d", workers=8))
    assert train.optim == Sgd(type="sgd", lr=3e-4, momentum=0.5)
    assert train.extra == {"Big": {"x": 2}, "new": [1]}
    assert train.stages == [Data(path="/s", workers=1)]


def test_a_wrong_variable_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TRAIN__SEEED": "1",
        "TRAIN__OPTIM__LRR": "1",
        "TRAIN__DATA__PATH__X": "1",
        "TRAIN__BATCH_SIZE": "0",
        "TRAIN__SEED": "1",
        "train__seed": "2",
    }.items():
        monkeypatch.setenv(name, value)
    assert sorted(report(environment="TRAIN")) == [
        "environment TRAIN__BATCH_SIZE `batch_size`: expected an integer >= 1, got 0",
        "environment TRAIN__DATA__PATH__X unknown; `data.path` is no section",
        "environment TRAIN__OPTIM__LRR unknown; did you mean TRAIN__OPTIM__LR?",
        "environment TRAIN__SEEED unknown; did you mean TRAIN__SEED?",
        "environment train__seed sets what environment TRAIN__SEED sets; keep one of them",
    ]


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("NAME", "123", "123"),
        ("NAME", "true", "true"),
        ("NAME", "Label: {{ text }}", "Label: {{ text }}"),
        ("NAME", "'quoted'", "quoted"),
        ("NAME", "", ""),
        ("NOTE", "null", None),
        ("NOTE", "5", "5"),
        ("SEED", "0x10", 16),
        ("TAGS", "[a, 'b']", ["a", "b"]),
        ("INCLUDE_ALL", "true", True),
        ("LEARNING_RATE", "1e-3", 0.001),
    ],
)
def test_a_variable_is_a_text_where_only_a_text_fits(
    key: str, text: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TRAIN__{key}", text)
    assert getattr(load_config(Train, environment="TRAIN"), key.lower()) == value


def test_the_prefix_may_be_given_with_its_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAIN__SEED", "7")
    assert [load_config(Train, environment=prefix).seed for prefix in ("TRAIN", "TRAIN_", "TRAIN__")] == [7, 7, 7]


def test_a_variable_with_one_underscore_too_few_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("train_Batch_size", "8")
    monkeypatch.setenv("TRAIN_SEED", "7")
    assert report(environment="TRAIN") == [
        "environment train_Batch_size sets nothing; did you mean train__Batch_size?",
        "environment TRAIN_SEED sets nothing; did you mean TRAIN__SEED?",
    ]


def test_such_a_variable_may_belong_to_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does where the key is set by its own variable, and where its name is not a whole key at the top."""
    monkeypatch.setenv("TRAIN_SEED", "7")
    monkeypatch.setenv("TRAIN__SEED", "8")
    monkeypatch.setenv("TRAIN_SEEED", "9")
    monkeypatch.setenv("TRAIN_DATA_PATH", "/data")
    monkeypatch.setenv("TRAIN_OPTIM__LR", "1")
    assert load_config(Train, environment="TRAIN") == Train(seed=8)


# Overrides.


def test_overrides_come_last_and_may_name_files() -> None:
    write(train="optim: {type: adam, lr: 0.1}\nseed: 1\n", other="seed: 2\nname: other\n", sgd="type: sgd\nlr: 0.7\n")
    overrides = ["@other.yaml", "optim=@sgd.yaml", "optim.lr=0.9", "out=${name}/x", "batch_size='64'"]
    train = load_config(Train, "train.yaml", overrides=overrides)
    assert (train.seed, train.optim, train.out, train.batch_size) == (2, Sgd(type="sgd", lr=0.9), "other/x", 64)
    found = origins("train.yaml", overrides=overrides)
    assert found["seed"] == "other.yaml:1:7, over train.yaml:2:7"
    assert found["optim.lr"] == "--set optim.lr, over sgd.yaml:2:5"
    assert found["out"] == "--set out (${name})"


def test_one_text_is_one_override() -> None:
    assert load_config(Train, overrides="seed=7").seed == 7


def test_a_wrong_value_says_what_it_was_laid_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAIN__SEED", "x")
    write(base="batch_size: 8\nbatchsize: 1\n", train="batch_size: 0\nbatchsize: 2\nseed: 1\n")
    assert report("base.yaml", "train.yaml", environment="TRAIN", overrides=["data.path=1", "batch_size=-1"]) == [
        "base.yaml:2:1 unknown key `batchsize`; did you mean `batch_size`? (integer >= 1, default 32)",
        "train.yaml:2:1 unknown key `batchsize`; did you mean `batch_size`? (integer >= 1, default 32)",
        'environment TRAIN__SEED `seed`: expected an integer, got "x"; it overrides train.yaml:3:7',
        "--set batch_size `batch_size`: expected an integer >= 1, got -1; it overrides train.yaml:1:13",
    ]


def test_an_override_below_a_list_that_no_source_gives_says_so() -> None:
    assert report(overrides=["stages.0.workers=1", "data.=1", "data..path=1"]) == [
        "--set stages.0.workers `stages` is given by no source: it has no item 0 to set; give the whole list",
        "--set data. `data.` lacks a key beside a dot; write `section.key=value`",
        "--set data..path `data..path` lacks a key beside a dot; write `section.key=value`",
    ]


def test_a_wrong_override_is_told_as_given() -> None:
    assert set(report(overrides=["@no.yaml", "data.pth=1", "seed=@no2.yaml", "batch_size=0"])) == {
        f"--set @no.yaml there is no file `no.yaml` in {Path.cwd()}",
        f"--set seed there is no file `no2.yaml` in {Path.cwd()}",
        '--set data.pth unknown key `data.pth`; did you mean `data.path`? (text, default "data")',
        "--set batch_size `batch_size`: expected an integer >= 1, got 0",
    }


# Origins.


def test_an_origin_names_what_gave_the_value_and_what_it_was_laid_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAIN__DATA__WORKERS", "3")
    write(base="data:\n  workers: 1\n  path: /d\n", train="data: {workers: 2}\nseed: ${env:TM_SEED:-4}\n")
    loaded = load_with_origins(
        Train, "base.yaml", "train.yaml", {"batch_size": 4}, environment="TRAIN", overrides=["data.workers=9"]
    )
    assert loaded.origins.to_dict() == {
        "data.workers": "--set data.workers, over environment TRAIN__DATA__WORKERS, train.yaml:1:17, base.yaml:2:12",
        "data.path": "base.yaml:3:9",
        "seed": "train.yaml:2:7 (default of ${env:TM_SEED})",
        "batch_size": "Python",
    }
    assert str(loaded.origins.find(("name",))) == "default"
    copy = pickle.loads(pickle.dumps(loaded.origins))
    assert copy.to_dict() == loaded.origins.to_dict()


def test_no_secret_of_any_source_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAIN__API_KEY", "canary-environment")
    monkeypatch.setenv("TM_API_KEY", "canary-variable")
    write(base="{api_key: canary-base, seed: x}\n", train="out: 'k=${env:TM_API_KEY}'\nbatch_size: ${env:TM_API_KEY}\n")
    with pytest.raises(ConfigError, match="errors") as caught:
        load_config(Train, "base.yaml", "train.yaml", environment="TRAIN", overrides=["apikey=canary-override"])
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(caught.value.problems)


def test_a_config_knows_its_origins_and_so_do_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAIN__SEED", "3")
    write(base="optim: {type: adam, lr: 0.1}\nstages: [{workers: 1}]\n")
    train = load_config(Train, "base.yaml", environment="TRAIN", overrides=["optim.lr=0.2"])
    shown = {key: str(train.origin(key)) for key in ("optim.lr", "seed", "stages.0.workers", "stages.0.path", "name")}
    assert shown == {
        "optim.lr": "--set optim.lr, over base.yaml:1:25",
        "seed": "environment TRAIN__SEED",
        "stages.0.workers": "base.yaml:2:20",
        "stages.0.path": "default",
        "name": "default",
    }
    assert str(train.optim.origin("lr")) == shown["optim.lr"]
    assert str(train.stages[0].origin("workers")) == shown["stages.0.workers"]
    assert str(pickle.loads(pickle.dumps(train)).origin("seed")) == shown["seed"]
    assert train == load_config(Train, "base.yaml", {"seed": 3, "optim": {"lr": 0.2}})


def test_an_origin_is_carried_through_a_replacement() -> None:
    write(base="optim: {type: adam, lr: 0.1}\nseed: 1\n")
    changed = load_config(Train, "base.yaml").replace("optim.lr", 0.2)
    assert str(changed.origin("optim.lr")) == "Python, over base.yaml:1:25"
    assert str(changed.optim.origin("lr")) == "Python, over base.yaml:1:25"
    assert str(changed.origin("seed")) == "base.yaml:2:7"


def test_what_is_made_in_python_says_so() -> None:
    for train in (Train(seed=4, data={"path": "x"}), load_config(Train, {"seed": 4, "data": {"path": "x"}})):
        shown = [str(train.origin(key)) for key in ("seed", "name", "data.path", "data.workers")]
        assert shown == ["Python", "default", "Python", "default"]
    with pytest.raises(ConfigError, match=r"there is no key `optim.lrr`\n  did you mean `optim.lr`\?"):
        train.origin("optim.lrr")


SLIPS = [
    pytest.param({"overrides": ["api_key C4n"]}, "got `api_key …`", id="blank for an equals sign"),
    pytest.param({"overrides": ["api_key:C4n"]}, "got `api_key …`", id="colon for an equals sign"),
    pytest.param({"overrides": ["api_key=@C4n"]}, """no such file; .* quote it: `'"@…"'`""", id="file"),
    pytest.param({"text": "api_key: ${env:C4n}"}, "has no `[*]+`; set it", id="variable"),
    pytest.param({"text": "api_key: ${C4n}"}, "no key `[*]+`", id="key"),
    pytest.param({"text": "seed: ${env:TM_NO_TOKEN:-C4n-C4n}"}, "an integer, got", id="default of a variable"),
    pytest.param({"text": "api_key C4n"}, "a mapping, got [*]{3}", id="no colon"),
    pytest.param({"text": "data: {path: '${env:TM_NO}', api_key: C4n}"}, "has no `TM_NO`", id="on one line"),
    pytest.param({"text": "data:\n  path: x\napi_key C4n"}, "a key without", id="no colon below others"),
]


@pytest.mark.parametrize(("given", "told"), SLIPS)
def test_a_secret_in_the_wrong_place_is_not_told(given: dict[str, Any], told: str) -> None:
    write(f=given.get("text", "{}"))
    with pytest.raises(ConfigError, match=told) as caught:
        load_config(Train, "f.yaml", overrides=given.get("overrides", []))
    assert "C4n" not in str(caught.value) + repr(caught.value.problems)


def test_a_secret_may_begin_with_an_at_sign_where_it_is_quoted() -> None:
    key = load_config(Train, overrides=["""api_key="@C4n\""""]).api_key
    assert key is not None
    assert key.get_secret_value() == "@C4n"


def test_a_variable_in_capitals_is_named_for_a_secret() -> None:
    write(f="api_key: ${env:TM_NO_SUCH_KEY}")
    (line,) = report("f.yaml")
    assert line.startswith("f.yaml:1:10 `api_key`: the environment has no `TM_NO_SUCH_KEY`; set it, or give a default")
