"""The user's own line that gave values in Python: what an error about them points at."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import linecache
import os
import sys
import sysconfig
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import CodeType, FrameType

import pydantic

from tidemill.config.paths import KeyPath, shorten_path
from tidemill.config.report.literals import Module, Span, count_characters, hide_spans, parse_module
from tidemill.config.report.rendering import raise_problems
from tidemill.config.secrets import mask_in_place
from tidemill.config.shapes.shape import Shape
from tidemill.errors import Place, Problem

_STANDARD = sysconfig.get_path("stdlib") + os.sep
_NOT_THE_USERS = (f"{Path(__file__).parents[2]}{os.sep}", f"{Path(pydantic.__file__).parent}{os.sep}", "<frozen ")
_COMMANDS = "tidemill.commands"


@dataclasses.dataclass(frozen=True)
class Caller:
    """A call outside of Tidemill.

    Attributes:
        file: its file as messages name it; of a notebook the cell.
        span: where the call stands; None where Python does not tell.
        secret_names: keys whose values are no more shown than those that look like a secret's.
    """

    file: str
    line: int
    span: Span | None = None
    source: str = ""
    secret_names: frozenset[str] = frozenset()

    def place(self, path: KeyPath) -> Place:
        """Where the call gives what stands at `path`: its keyword, or a mapping's key; else the call."""
        if self._module is None or self.span is None:
            return Place(self.file, self.line)
        if self._call is None:
            return self._place(self.span)
        return self._place(self._module.find_value(self._call, path) or Span.of(self._call))

    @cached_property
    def _module(self) -> Module | None:
        return parse_module(self.source) if self.source else None

    @cached_property
    def _call(self) -> ast.Call | None:
        return self._module.find_call(self.span) if self._module and self.span else None

    @cached_property
    def _shown(self) -> dict[int, str]:
        """The lines that places are on, without their secrets: there may be thousands of places on a long one."""
        return {}

    @cached_property
    def _lines(self) -> list[str]:
        return self.source.splitlines()

    def _place(self, span: Span) -> Place:
        if not 0 < span.line <= len(self._lines):  # the file is no longer the one that runs
            return Place(self.file, self.line)
        line = self._lines[span.line - 1]
        start = count_characters(line, span.column)
        stop = count_characters(line, span.end_column) if span.end_line == span.line else len(line)
        if span.line not in self._shown:
            secrets = self._module.iter_secrets(span.line, self.secret_names) if self._module else ()
            self._shown[span.line] = mask_in_place(hide_spans(line, span.line, secrets))
        return Place(self.file, span.line, start + 1, max(1, stop - start), self._shown[span.line])


def find_caller(made: object = None, *, secret_names: frozenset[str] = frozenset()) -> Caller | None:
    """The innermost call on the stack that is neither Tidemill's, Pydantic's nor the standard library's.

    None where there is none, and where the `tidemill` command is what runs.

    Args:
        made: the object that is being made; the `__init__` of its own class is no caller.
        secret_names: as of `Caller`.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _is_users(frame, made):
        if str(frame.f_globals.get("__name__")).startswith(_COMMANDS):
            return None
        frame = frame.f_back
    if frame is None:
        return None
    name = frame.f_code.co_filename
    source = "".join(linecache.getlines(name, frame.f_globals))
    span = _find_span(frame.f_code, frame.f_lasti)
    return Caller(_show_file(name, frame), frame.f_lineno, span, source, secret_names)


def raise_at_caller(problems: Sequence[Problem], shape: Shape, *, made: object = None) -> None:
    """Raise one ConfigError with all the problems; those without a place get that of what the caller gave.

    Args:
        shape: of the type that the values were for.
        made: as of `find_caller`.
    """
    if any(not _is_placed(each) for each in problems):
        caller = find_caller(made, secret_names=shape.secret_names)
        problems = [each if _is_placed(each) or not caller else _put(each, caller) for each in problems]
    raise_problems(problems)


def _is_placed(problem: Problem) -> bool:
    return problem.place is not None and bool(problem.place.file)


def _put(problem: Problem, caller: Caller) -> Problem:
    return dataclasses.replace(problem, place=caller.place(problem.path))


def _is_users(frame: FrameType, made: object) -> bool:
    name = frame.f_code.co_filename
    if name.startswith(_NOT_THE_USERS) or (name.startswith(_STANDARD) and "-packages" not in name):
        return False
    if made is None or frame.f_code.co_name != "__init__" or not frame.f_code.co_argcount:
        return True
    return frame.f_locals.get(frame.f_code.co_varnames[0]) is not made


def _find_span(code: CodeType, offset: int) -> Span | None:
    """Where the instruction at `offset` bytes stands in the source (PEP 657)."""
    line, end_line, column, end_column = next(itertools.islice(code.co_positions(), offset // 2, None), (None,) * 4)
    if line is None or end_line is None or column is None or end_column is None:
        return None
    return Span(line, column, end_line, end_column)


def _show_file(name: str, frame: FrameType) -> str:
    shell = frame.f_globals.get("get_ipython")
    if callable(shell) and (compiler := getattr(shell(), "compile", None)):
        known = compiler.format_code_name(name) if hasattr(compiler, "format_code_name") else None
        if known:
            return " ".join(known)
    return name if name.startswith("<") else shorten_path(Path(name))
