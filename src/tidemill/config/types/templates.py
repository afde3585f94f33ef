"""`Template`: a prompt with the record's columns filled in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from operator import mod
from pathlib import Path
from typing import Any, cast

import jinja2
from jinja2 import nodes
from jinja2.lexer import TokenStream
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from tidemill.config.secrets import mask
from tidemill.config.subschemas import FILE, add_form
from tidemill.config.types.references import Reference, find_references, iter_needed
from tidemill.config.wording.suggest import find_near, find_near_file, list_names
from tidemill.config.wording.words import WORDS, describe_value
from tidemill.errors import DataError, Place

Render = Callable[[dict[str, Any]], str]


class _UndefinedName(jinja2.UndefinedError):
    """A name or attribute that is not there: which, and of what."""

    def __init__(self, name: str, owner: Any, message: str | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.owner = owner


class _Missing(jinja2.StrictUndefined):
    """Any use but `is defined` and `default` fails, and says what was missing."""

    __slots__ = ()

    def __init__(self, hint: str | None = None, obj: Any = missing, name: str | None = None, exc: Any = None) -> None:
        super().__init__(hint, obj, name, cast(Any, partial(_UndefinedName, name or "", obj)))


def _make_environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=_Missing, keep_trailing_newline=True)
    # A prompt is a function of the record: what differs from call to call is no part of the language.
    del environment.globals["lipsum"], environment.filters["random"]
    return environment


_ENVIRONMENT = _make_environment()


class Template:
    """A Jinja2 template over one record; called with the record it gives the text.

    Sandboxed and strict: it reaches nothing but the record, and a column that is not there is an error. Nothing is
    escaped, and a newline at the end stays. Compiled once per text and process. Equal by text; pickles by text.
    In a job file it is a text, or `{file: prompt.txt}`, read at load relative to the job file's folder.

    Attributes:
        text: the template as written.
        file: where it was read from, None when it stood in the job file or in code.
        variables: the columns it uses, each with the offset of its first use in `text`.
        needs: the columns, and fields of what stands in them, that it cannot do without, each at its first use.

    Raises (constructor): PydanticCustomError, a ValueError, of type `template`: the text is no valid template; its
    context has `hint`, `offset` and `length`.
    """

    __slots__ = ("_render", "file", "needs", "text", "variables")

    text: str
    file: str | None
    variables: Mapping[str, int]
    needs: tuple[Reference, ...]

    def __init__(self, text: str, *, file: str | None = None) -> None:
        self.text = text
        self.file = file
        self._render, references = _compile(text)
        self.variables = {each.column: each.offset for each in reversed(references) if each.field is None}
        self.needs = tuple(iter_needed(references))

    def render(self, record: dict[str, Any]) -> str:
        """The text for `record`.

        Raises:
            DataError: the record lacks a column the template uses, or an expression fails on its values.
        """
        try:
            return self._render(record)
        # An expression of the template may fail in any way on a record's values; it is that record's failure.
        except Exception as error:  # noqa: BLE001
            failure = _explain(error, record, self.variables)
        raise failure

    __call__ = render

    def place(self, offset: int = 0, length: int = 1) -> Place | None:
        """Where the character at `offset` stands in the template's file, None when it was not read from one."""
        return place_in_text(self.file, self.text, offset, length) if self.file else None

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Template, file=self.file), (self.text,)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            _to_template,
            metadata={WORDS: "text or `{file: path}`"},
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda template: template.text, return_schema=core_schema.str_schema()
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return add_form({"type": "string"}, FILE)


def place_in_text(file: str, text: str, offset: int, length: int = 1) -> Place:
    """The place of the character at `offset` of a file's text."""
    start = text.rfind("\n", 0, offset) + 1
    line = text[start:].partition("\n")[0]
    return Place(file, text.count("\n", 0, start) + 1, offset - start + 1, length, line)


def _to_template(value: Any, info: ValidationInfo) -> Template:
    if isinstance(value, Template):
        return value
    if isinstance(value, str):
        return Template(value)
    if isinstance(value, dict) and set(value) == {"file"} and isinstance(value["file"], (str, Path)):
        return _load_template(Path((info.context or {}).get("folder") or "."), Path(value["file"]))
    message = f"expected text or `{{file: path}}`, got {describe_value(value)}"
    raise PydanticCustomError("template", "{message}", {"message": message})


def _load_template(folder: Path, file: Path) -> Template:
    path = folder / file
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        near = find_near_file(path)
        hint = f"did you mean `{file.with_name(near)}`?" if near else ""
        raise _file_error(f"there is no file `{file}` in {folder.resolve()}", hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _file_error(f"cannot read `{file}`: {error}", "") from None
    try:
        return Template(text, file=str(path))
    except PydanticCustomError as error:
        context = dict(error.context or {}) | {"file": str(path), "text": text}
        raise PydanticCustomError("template", "{message}", context) from None


def _file_error(message: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError("template", "{message}", {"message": message, "hint": hint, "path": ("file",)})


@lru_cache(maxsize=256)
def _compile(text: str) -> tuple[Render, Sequence[Reference]]:
    try:
        tree = _ENVIRONMENT.parse(text)
        render = _compile_plain(tree) or _compile_whole(text)
    except jinja2.TemplateSyntaxError as error:
        raise _syntax_error(error, text) from None
    plain = _with_plain_breaks(text)
    placed = _parse_placed(plain)
    _check_alone(placed, text)
    references = find_references(placed, plain, _ENVIRONMENT.globals)
    return render, [replace(each, offset=_with_breaks(text, each.offset)) for each in references]


def _compile_whole(text: str) -> Render:
    template = _ENVIRONMENT.from_string(text)
    root, new_context, join = template.root_render_func, template.new_context, "".join

    def render(record: dict[str, Any]) -> str:
        return join(root(new_context(record)))

    return render


def _compile_plain(tree: nodes.Template) -> Render | None:
    """For a template of nothing but text and bare columns: what Jinja2 would give, in a tenth of its time."""
    texts, names = [""], []
    for output in tree.body:
        for part in output.nodes if isinstance(output, nodes.Output) else [output]:
            if isinstance(part, nodes.TemplateData):
                texts[-1] += part.data
            elif isinstance(part, nodes.Name) and part.name not in _ENVIRONMENT.globals:
                names.append(part.name)
                texts.append("")
            else:
                return None
    if not names:
        return lambda record: texts[0]
    texts = [text.replace("%", "%%") for text in texts]
    form = texts[0] + "".join(f"%({name})s{text}" for name, text in zip(names, texts[1:], strict=True))
    return partial(mod, form)


def _explain(error: Exception, record: Any, variables: Mapping[str, int]) -> DataError:
    if not isinstance(record, dict):
        return DataError(f"a template needs a record with columns, got a {type(record).__name__}")
    name, owner = "", None
    if isinstance(error, KeyError) and error.args[0] in variables.keys() - record.keys():
        name, owner = error.args[0], record
    elif isinstance(error, _UndefinedName):
        name, owner = error.name, record if error.owner is missing else error.owner
    else:
        return DataError(mask(f"the template fails on this record: {type(error).__name__}: {str(error)[:200]}"))
    known = [str(key) for key in owner] if isinstance(owner, Mapping) else []
    near = find_near(str(name), known)
    hint = f"did you mean `{near}`?" if near else ""
    if owner is record:
        return DataError(f"no column `{name}`; this record has {list_names(known, ' and ') or 'none'}", hint=hint)
    return DataError(f"`{name}` is not in the {type(owner).__name__} the template looks in", hint=hint)


def _iter_tokens(text: str) -> Iterator[tuple[int, str, str]]:
    """The tokens of a template with their offsets; between two stands nothing but white space."""
    position = 0
    for _, kind, value in _ENVIRONMENT.lex(text):
        position = text.find(value, position)
        yield position, kind, value
        position += len(value)


def _parse_placed(text: str) -> nodes.Template:
    """The parsed template; where Jinja2 has the line of a token, its offset stands, which tells lines and columns."""
    parser = Parser(_ENVIRONMENT, text)
    parser.stream = TokenStream(_ENVIRONMENT.lexer.wrap(_iter_tokens(text)), None, None)
    return parser.parse()


_ELSEWHERE = {nodes.Include: "include", nodes.Import: "import", nodes.FromImport: "from", nodes.Extends: "extends"}


def _check_alone(placed: nodes.Template, text: str) -> None:
    """Refuse what names another template: there is none to be found, so each record would fail."""
    for node in placed.find_all(tuple(_ELSEWHERE)):
        word = _ELSEWHERE[type(node)]
        context = {
            "message": f"`{{% {word} %}}` names another template, and a prompt stands alone",
            "hint": "write its text here",
            "offset": _with_breaks(text, node.lineno),
            "length": len(word),
        }
        raise PydanticCustomError("template", "{message}", context)


def _with_plain_breaks(text: str) -> str:
    return re.sub(r"\r\n|\r", "\n", text)


def _with_breaks(text: str, offset: int) -> int:
    """The offset in `text` of what stands at `offset` once each carriage return and newline is one character."""
    for match in re.finditer("\r\n", text):
        if match.start() >= offset:
            break
        offset += 1
    return offset


_ENDS = {"'end of print statement'": "`}}`", "'end of statement block'": "`%}`"}


def _syntax_error(error: jinja2.TemplateSyntaxError, text: str) -> PydanticCustomError:
    """The error with its place: Jinja2 tells the line, and the column by the word its message names."""
    message = (error.message or "").rstrip(".")
    unclosed = re.search(r"innermost block that needs to be closed is '(\w+)'", message)
    if unclosed:
        message = f"`{{% {unclosed.group(1)} %}}` is never closed"
    for jargon, characters in _ENDS.items():
        message = message.replace(jargon, characters)
    lines = text.splitlines(keepends=True) or [""]
    number = min(error.lineno, len(lines)) - 1
    offset = sum(map(len, lines[:number]))
    column, word = _find_culprit(message, lines[number])
    if at := re.search(r" at (\d+)$", message):  # the lexer's errors end in the offset itself
        message, offset, column, word = message[: at.start()], int(at.group(1)), 0, " "
    hint = ""
    for start, known in (("No filter", _ENVIRONMENT.filters), ("No test", _ENVIRONMENT.tests)):
        if message.startswith(start) and (near := find_near(word, known)):
            hint = f"did you mean `{near}`?"
    message = f"the template is not valid: {message[:1].lower()}{message[1:]}"
    context = {"message": message, "hint": hint, "offset": offset + column, "length": len(word)}
    return PydanticCustomError("template", "{message}", context)


def _find_culprit(message: str, line: str) -> tuple[int, str]:
    """Column and text of the last word the message quotes, else of what opens the first expression."""
    for word in reversed(re.findall(r"['`]([^'`]+)['`]", message)):
        if (column := line.find(word.removeprefix("{% ").removesuffix(" %}"))) >= 0:
            return column, word.removeprefix("{% ").removesuffix(" %}")
    opening = re.search(r"\{[{%#]", line)
    return (opening.start(), opening.group()) if opening else (0, line.strip() or " ")
