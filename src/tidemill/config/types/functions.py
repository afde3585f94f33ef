"""Functions and Pydantic models named by import path: `my_steps:is_english`.

A description holds the object itself; a job file names it `module:name`. `Function` and `Schema` take either, so a
chain and a job file hold equal nodes.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import re
import symtable
import sys
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from importlib.abc import InspectLoader
from pathlib import Path
from types import MethodType, ModuleType
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from tidemill.config.types.fingerprints import fingerprint_function, fingerprint_schema
from tidemill.config.wording.suggest import find_near
from tidemill.config.wording.words import Says, describe_value
from tidemill.errors import ConfigError

__all__ = ["Function", "Schema", "fingerprint_function", "fingerprint_schema", "import_object", "to_import_path"]

_FORM = "`module:name`"


def import_object(path: str, folder: Path | None = None) -> Any:
    """The object at `module:attribute.attribute`.

    With `folder`, its modules are importable, and first: the folder joins `sys.path` for the rest of the process, as
    a script's own does, and a module of that name loaded from another such folder is imported anew.

    Raises:
        PydanticCustomError: of type `import_path`, a ValueError; its context has the `hint`, and `offset` and
            `length` of the part of `path` that is wrong.
    """
    module_name, colon, attributes = path.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), *attributes.split("."))):
        raise _path_error(f"expected an import path {_FORM}, got `{path}`", _suggest_form(path, folder))
    if folder is not None:
        _make_importable(folder, module_name)
    found: Any = _import_module(module_name, path, folder)
    walked = module_name
    offset = len(module_name) + 1
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            near = find_near(attribute, [name for name in dir(found) if not name.startswith("_")])
            hint = f"did you mean `{path[:offset]}{near}`?" if near else ""
            raise _path_error(f"`{walked}` has no `{attribute}`", hint, offset, len(attribute))
        found = getattr(found, attribute)
        walked = path[: offset + len(attribute)]
        offset = len(walked) + 1
    return found


def to_import_path(target: Any) -> str:
    """The import path under which another process finds `target`, a function, class or module-level instance.

    Raises:
        ConfigError: there is none: a lambda, a local function, a bound method, an object of the script being run.
    """
    module_name, qualname = _name(target)
    if module_name == "__main__":
        raise ConfigError(
            f"`{qualname}` stands in the script being run and has no import path",
            hint="move it to a module of its own and import it from there",
        )
    found: Any = sys.modules.get(module_name)
    for attribute in qualname.split("."):
        found = getattr(found, attribute, None)
    if found is None or not (found is target or found == target):
        raise ConfigError(
            f"`{module_name}:{qualname}` has no import path",
            hint="make it a function with a name of its own at the top of a module",
        )
    return f"{module_name}:{qualname}"


def show_object(target: Any) -> str:
    """`module:name` of a function, class or instance, whether or not another process finds it there."""
    return ":".join(_name(target))


def _name(target: Any) -> tuple[str, str]:
    """Module and qualified name; of an instance, those under which a module holds it, its class's own first."""
    qualname = getattr(target, "__qualname__", None)
    module_name = getattr(target, "__module__", None) or getattr(
        getattr(target, "__objclass__", None), "__module__", None
    )
    if qualname is not None:
        owner = getattr(target, "__self__", None)
        return module_name or getattr(owner, "__module__", None) or "builtins", qualname
    kind = type(target)
    own = sys.modules.get(kind.__module__, sys)
    places = {kind.__module__: own, **sys.modules}
    for module_name in sorted(places, key=["__main__"].count):  # last, as others cannot import from there
        for name, value in list(getattr(places[module_name], "__dict__", {}).items()):
            if value is target:
                return module_name, name
    return kind.__module__, kind.__qualname__


def _describe_function(function: Any) -> str:
    return _describe(function, fingerprint_function)


def _describe_schema(model: type[BaseModel]) -> str:
    return _describe(model, fingerprint_schema)


def _describe(target: Any, fingerprint: Callable[[Any], str]) -> str:
    try:
        return to_import_path(target)
    except ConfigError:
        module_name, qualname = _name(target)
        return f"{module_name}:{qualname}@{fingerprint(target)[:16]}"


def _to_function(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str) and re.match(r"\s*(async\s+)?(lambda|def)\b", value):
        hint = "give the function a name in a module beside the job file, and name it here"
        raise _path_error("a step is `module:function`; lambdas only in Python", hint)
    found = import_object(value, _folder(info)) if isinstance(value, str) else value
    if callable(found):
        check_no_forward(found)
        return found
    if isinstance(value, str):
        raise _path_error(f"`{value}` is not a function but {describe_value(found)}", "")
    raise _path_error(f"expected a function or its import path {_FORM}, got {describe_value(value)}", "")


def check_no_forward(function: Any) -> None:
    """Refuse a bound `forward` of a torch module: whoever has loaded no torch has none.

    Raises:
        PydanticCustomError: it is one.
    """
    kind = getattr(getattr(sys.modules.get("torch"), "nn", None), "Module", None)
    module = None if kind is None else _find_forwarding(function, kind)
    if module is not None:
        name = type(module).__qualname__
        hint = "pass the model itself: it is called as `model(x)`, so that its hooks run and gradients flow"
        raise _path_error(f"expected a callable model, got the bound `forward` of a `{name}`", hint)


def _find_forwarding(function: Any, kind: type) -> Any | None:
    """The module of that kind whose `forward` the function is."""
    while isinstance(function, partial):
        # accelerate puts a partial over the `forward` of each module that it places, with what it wraps (1.15).
        function = getattr(function, "__wrapped__", function.func)
    if isinstance(function, sys.modules["torch"].ScriptMethod):
        return function.owner if function.name == "forward" else None
    if not isinstance(function, MethodType) or not isinstance(function.__self__, kind):
        return None
    module: Any = function.__self__
    return module if function.__func__.__name__ == "forward" or function == module.forward else None


def _to_schema(value: Any, info: ValidationInfo) -> Any:
    found = import_object(value, _folder(info)) if isinstance(value, str) else value
    if isinstance(found, type) and issubclass(found, BaseModel):
        return found
    if isinstance(value, str):
        raise _path_error(f"`{value}` is not a Pydantic model", "derive it from pydantic.BaseModel")
    raise _path_error(f"expected a Pydantic model or its import path {_FORM}, got {describe_value(value)}", "")


def _folder(info: ValidationInfo) -> Path | None:
    folder = (info.context or {}).get("folder")
    return None if folder is None else Path(folder)


def _import_module(name: str, path: str, folder: Path | None) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _import_failure(name, error) from None
        raise _missing_module(path, error.name, folder) from None
    # A module is user code: whatever it raises, an exit included, is reported at the path that named it.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        raise _import_failure(name, error) from None


def _missing_module(path: str, missing: str, folder: Path | None) -> PydanticCustomError:
    parent, _, leaf = missing.rpartition(".")
    near = find_near(leaf, _modules_in(parent, folder))
    meant = f"{missing[: len(missing) - len(leaf)]}{near}{path[len(missing) :]}"
    hint = f"did you mean `{meant}`?" if near and _names_something(meant) else _where_sought(parent, leaf, folder)
    return _path_error(f"no module named `{missing}`", hint, len(missing) - len(leaf), len(leaf))


def _where_sought(parent: str, leaf: str, folder: Path | None) -> str:
    if parent:
        return f"the package `{parent}` has no {leaf}.py"
    return f"there is no {leaf}.py beside the job file, in {folder}" if folder else ""


def _names_something(path: str) -> bool:
    """Whether the module of an import path has the name at its top; the module is not imported for this."""
    module, _, attributes = path.partition(":")
    name = attributes.partition(".")[0]
    if (loaded := sys.modules.get(module)) is not None:
        return hasattr(loaded, name)
    if (package := module.rpartition(".")[0]) and package not in sys.modules:
        return False
    try:
        spec = importlib.util.find_spec(module)
        text = spec.loader.get_source(module) if spec and isinstance(spec.loader, InspectLoader) else None
        symbols = symtable.symtable(text or "", module, "exec")
        return symbols.lookup(name).is_assigned() or symbols.lookup(name).is_imported()
    except (ImportError, SyntaxError, ValueError, AttributeError, KeyError):  # unreadable, or without the name
        return False


def _modules_in(parent: str, folder: Path | None) -> Iterable[str]:
    if parent:
        return [module.name for module in pkgutil.iter_modules(getattr(sys.modules.get(parent), "__path__", []))]
    own = [module.name for module in pkgutil.iter_modules([str(folder)])] if folder else []
    installed = sorted(module.name for module in pkgutil.iter_modules()) + sorted(sys.stdlib_module_names)
    return own + [name for name in installed if not name.startswith("_")]


def _import_failure(name: str, error: BaseException) -> PydanticCustomError:
    last = traceback.format_exception_only(error)[-1].strip()
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    else:
        own = [frame for frame in frames if not frame.filename.startswith("<frozen") and frame.filename != __file__]
        own = [frame for frame in own if frame.filename != importlib.__file__]
        place = f"{own[-1].filename}:{own[-1].lineno}" if own else ""
    return _path_error(f"importing `{name}` fails: {last}", f"see {place}" if place else "", 0, len(name))


def _suggest_form(path: str, folder: Path | None) -> str:
    """For `module.name` with a dot where the colon belongs: the path with the colon."""
    module_name, dot, attribute = path.rpartition(".")
    if not dot or ":" in path or not all(part.isidentifier() for part in path.split(".")):
        return ""
    if folder is not None:
        _make_importable(folder, module_name)
    try:
        known = importlib.util.find_spec(module_name) is not None
    except (ImportError, ValueError, AttributeError):
        known = False
    return f"did you mean `{module_name}:{attribute}`?" if known else ""


def _path_error(message: str, hint: str, offset: int = 0, length: int = 0) -> PydanticCustomError:
    context: dict[str, Any] = {"hint": hint}
    if length:
        context.update(offset=offset, length=length)
    return PydanticCustomError("import_path", "{message}", {"message": message, **context})


_importable: set[str] = set()


def _make_importable(folder: Path, module_name: str) -> None:
    entry = str(folder.resolve())
    top = module_name.partition(".")[0]
    _importable.add(entry)
    if entry not in sys.path or sys.path[0] in _importable - {entry}:
        sys.path[:] = [entry, *(other for other in sys.path if other != entry)]
    home = find_home(top)
    if module_name in sys.modules and home == entry:
        return
    importlib.invalidate_caches()
    if not home or home == entry or not any((Path(entry) / name).exists() for name in (f"{top}.py", top)):
        return
    if home in _importable:
        for name in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
            del sys.modules[name]


def find_home(name: str) -> str:
    """The folder that the top module of that name was imported from; empty when it is from no file, or not loaded."""
    origin: str | None = getattr(sys.modules.get(name), "__file__", None)
    if origin is None:
        return ""
    parent, name = os.path.split(origin)
    return os.path.dirname(parent) if name == "__init__.py" else parent


Function = Annotated[
    Callable[..., Any],
    BeforeValidator(_to_function),
    PlainSerializer(_describe_function, return_type=str),
    Says("a function's import path"),
    WithJsonSchema({"type": "string", "description": "An import path, `module:name`."}),
]
"""A callable or its import path; holds the callable."""

Schema = Annotated[
    type[BaseModel],
    BeforeValidator(_to_schema),
    PlainSerializer(_describe_schema, return_type=str),
    Says("a Pydantic model's import path"),
    WithJsonSchema({"type": "string", "description": "The import path of a Pydantic model, `module:name`."}),
]
"""A Pydantic model class or its import path; holds the class."""
