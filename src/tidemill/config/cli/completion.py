"""Completion scripts for bash, zsh and fish: options, choices, and files.

A script holds all it completes, so that TAB runs no training script, and is printed anew when the options change.
What asks the program itself (click, typer, argcomplete) would run whatever stands above the call of `cli`; shtab's
scripts complete `train.py` but not `python train.py`, and no value after `=` or `@`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tidemill.config.cli.options import INDEX, KEY, Option
from tidemill.config.shapes.shape import Shape

SHELLS = ("bash", "zsh", "fish")

INTERPRETERS = ("python", "python3")
"""Commands that a script's options are completed after, besides the script itself."""


@dataclass(frozen=True, slots=True)
class _Word:
    """An option as a shell completes it.

    Attributes:
        name: as it is typed; up to where any key may stand, with `is_open`.
        values: what it may be set to; nothing where that is not a choice.
        takes_value: False where it stands alone.
    """

    name: str
    values: tuple[str, ...] = ()
    takes_value: bool = True
    takes_file: bool = False
    is_open: bool = False
    description: str = ""


def render_completion(shell: str, program: str, options: Iterable[Option]) -> str:
    """The script for a shell of `SHELLS`.

    Args:
        program: how the script is started: `train.py`, or `python -m package.train`.
    """
    words: dict[str, _Word] = {}
    for word in (each for option in options for each in _list_words(option)):
        known = words.get(word.name, word)  # a key that several members of a union have
        description = word.description if word.description == known.description else ""
        values = tuple(dict.fromkeys([*known.values, *word.values]))
        words[word.name] = replace(word, values=values, description=description)
    script = program.rsplit(maxsplit=1)[-1]
    start = program if program != script else f"python {program}"
    function = f"_tidemill_{re.sub(r'[^A-Za-z0-9_]', '_', script)}"
    render = {"bash": _render_bash, "zsh": _render_zsh, "fish": _render_fish}[shell]
    return render(script, function, [*words.values(), *_COMMON]).replace("{start}", start)


_COMMON = (
    _Word("--set", description="set a key: --set KEY=VALUE"),
    _Word("--completion", SHELLS, description="print the completion script of a shell"),
    _Word("--help", takes_value=False, description="show all options"),
)


def _list_words(option: Option) -> list[_Word]:
    description = re.sub(r"\s+", " ", option.shape.describe())
    if KEY in option.path or INDEX in option.path:
        return [_Word(re.split(rf"\b(?:{KEY}|{INDEX})\b", option.name)[0], takes_value=False, is_open=True)]
    if option.name.endswith("="):
        return []
    values = tuple(str(each) for each in option.shape.choices)
    if not option.is_flag:
        return [_Word(option.name, values, takes_file=_takes_path(option.shape), description=description)]
    negated = f"--no-{option.name.removeprefix('--')}"
    given = _Word(option.name, values, bool(values), description=description)
    return [given, _Word(negated, takes_value=False, description=description)]


def _takes_path(shape: Shape) -> bool:
    return shape.core.get("custom_error_type") == "path_type" or any(map(_takes_path, shape.members.values()))


def _render_bash(script: str, function: str, words: Sequence[_Word]) -> str:
    cases = [f"        {_label(word)}) values={_lines(word.values)} ;;" for word in words if word.values]
    files = [_label(word) for word in words if word.takes_file]
    if files:
        cases.append(f"        {'|'.join(files)}) files=1 ;;")
    others = [_label(word) for word in words if word.takes_value and not word.values and not word.takes_file]
    if others:
        cases.append(f"        {'|'.join(others)}) ;;")
    return _BASH.format(
        script=script,
        function=function,
        names=_lines([word.name for word in words if not word.is_open]),
        open=_lines([word.name for word in words if word.is_open]),
        cases="\n".join(cases),
        name=shlex.quote(script),
        interpreters=" ".join(INTERPRETERS),
    )


def _render_zsh(script: str, function: str, words: Sequence[_Word]) -> str:
    described = [f"        {shlex.quote(_describe_zsh(word))}" for word in words if not word.is_open]
    cases = []
    for word in words:
        if word.takes_value:
            action = "_files" if word.takes_file else f"compadd -- {shlex.join(word.values)}" if word.values else ":"
            cases.append(f"        {_label(word)}) {action}; return ;;")
    return _ZSH.format(
        script=script,
        function=function,
        described="\n".join(described),
        open=shlex.join(word.name for word in words if word.is_open),
        cases="\n".join(cases),
        name=shlex.quote(script),
    )


def _describe_zsh(word: _Word) -> str:
    name = word.name.replace(":", "\\:")
    return f"{name}:{word.description}" if word.description else name


def _render_fish(script: str, function: str, words: Sequence[_Word]) -> str:
    lines = []
    for word in words:
        if word.is_open:
            lines.append(f"    complete -c $command -n {function} -a {_quote_fish(word.name)}")
            continue
        takes = ("-r -F" if word.takes_file else "-x") if word.takes_value else ""
        values = f"-a {_quote_fish(' '.join(map(_quote_fish, word.values)))}" if word.values else ""
        text = f"-d {_quote_fish(word.description)}" if word.description else ""
        parts = ["    complete -c $command -n", function, "-l", _quote_fish(word.name[2:]), takes, values, text]
        lines.append(" ".join(filter(None, parts)))
    return _FISH.format(
        script=script,
        function=function,
        options="\n".join(lines),
        name=_quote_fish(script),
        interpreters=" ".join(INTERPRETERS),
    )


def _label(word: _Word) -> str:
    return shlex.quote(word.name.removeprefix("--"))


def _lines(texts: Sequence[str]) -> str:
    return shlex.quote("\n".join(texts))


def _quote_fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_BASH = """\
# Completion of {script} in bash; in ~/.bashrc or by hand:  eval "$({{start}} --completion bash)"
{function}_earlier=${{{function}_earlier-$(complete -p python 2>/dev/null | sed -n 's/.* -F \\([^ ]*\\) .*/\\1/p')}}
{function}() {{
    local word found= key= current=$2 at= values= files= each
    COMPREPLY=()
    for word in "${{COMP_WORDS[@]:0:COMP_CWORD}}"; do
        [[ $word == {name} || $word == */{name} ]] && found=1
    done
    if [[ -z $found ]]; then
        [[ -n ${function}_earlier ]] && "${function}_earlier" "$@"
        return
    fi
    word=${{COMP_WORDS[COMP_CWORD-1]}}
    if [[ $current == "@"* ]]; then
        files=1 at=@ current=${{current#@}}
    elif [[ ${{COMP_WORDS[COMP_CWORD]}} == "=" ]]; then  # a word of its own to bash
        key=$word
    elif [[ $word == "=" ]]; then
        key=${{COMP_WORDS[COMP_CWORD-2]}}
    elif [[ $word == --* ]]; then
        key=$word
    fi
    case ${{key#--}} in
        "") ;;
{cases}
        *) key= ;;
    esac
    if [[ -n $values ]]; then
        while IFS= read -r each; do
            [[ $each == "$current"* ]] && COMPREPLY+=("$(printf %q "$each")")
        done <<< "$values"
    elif [[ -n $files || -z $key && $current != -* ]]; then
        [[ -z $at ]] && compopt -o filenames 2>/dev/null
        while IFS= read -r each; do
            if [[ -n $at ]]; then
                [[ -d $each ]] && each+=/ && compopt -o nospace 2>/dev/null
                each=$at$(printf %q "$each")
            fi
            COMPREPLY+=("$each")
        done < <(compgen -f -- "$current")
    elif [[ -z $key ]]; then
        while IFS= read -r each; do
            [[ $each == "$current"* ]] && COMPREPLY+=("$each")
        done <<< {names}
        while IFS= read -r each; do
            [[ -n $each && $each == "$current"* ]] && COMPREPLY+=("$each") && compopt -o nospace 2>/dev/null
        done <<< {open}
    fi
}}
complete -F {function} {name} {interpreters}
"""

_ZSH = """\
#compdef {script}
# Completion of {script} in zsh; after compinit in ~/.zshrc:  eval "$({{start}} --completion zsh)"
{function}() {{
    local key
    local -a options=(
{described}
    )
    if compset -P '@'; then
        _files
        return
    elif [[ $PREFIX == ?*=* ]]; then
        key=${{${{PREFIX%%=*}}#--}}
        compset -P '*='
    elif [[ $words[CURRENT-1] == --* ]]; then
        key=${{words[CURRENT-1]#--}}
    fi
    case $key in
{cases}
    esac
    if [[ $PREFIX == -* ]]; then
        _describe -o option options
        compadd -S '' -- {open}
    else
        _files
    fi
}}
compdef {function} {name}
"""

_FISH = """\
# Completion of {script} in fish; in config.fish or by hand:  {{start}} --completion fish | source
function {function}
    string match -q -r '(^|/)'(string escape --style=regex -- {name})'$' -- (commandline -opc)
end
for command in {name} {interpreters}
{options}
    complete -c $command -n "{function}; and string match -q '@*' -- (commandline -ct)" \\
        -a '(for file in (string sub -s 2 -- (commandline -ct))*; echo @$file; end)'
end
"""
