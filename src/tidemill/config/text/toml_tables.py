"""TOML's tables (TOML 1.0, "Keys", "Table", "Array of Tables"): which header and which dotted key may add to which."""

from __future__ import annotations

from collections.abc import Sequence as Keys
from dataclasses import dataclass
from typing import Literal

from tidemill.config.text.nodes import Mapping, Node, Scalar, Sequence
from tidemill.config.text.scanner import Scanner


@dataclass(slots=True)
class Table(Mapping):
    """A table that may still grow.

    Attributes:
        opened_by: a header of its own, that of a table within it, dotted keys, or braces.
        depth: how deep it stands.
        reopened: True when it was wrongly given again: keys that it has already are no faults of their own.
    """

    opened_by: Literal["header", "inner header", "dots", "braces"] = "header"
    depth: int = 0
    reopened: bool = False


@dataclass(slots=True)
class TableList(Sequence):
    """An array of tables, one for each `[[header]]`."""


class Tables:
    """Where the keys of a document go."""

    def __init__(self, scanner: Scanner) -> None:
        self.scanner = scanner
        self.root = Table(0, 0, source=scanner.source)

    def open_table(self, keys: Keys[Scalar], start: int) -> Table:
        """The table that the header `[keys]`, which starts at `start`, opens."""
        parent = self._enter_header(keys, start)
        key = keys[-1]
        found = parent.pairs.get(key.value)
        if found is None:
            return self._add_table(parent, key, start)
        node = found[1]
        if isinstance(node, Table) and node.opened_by == "inner header":
            parent.pairs[key.value] = (key, node)
            node.opened_by = "header"
            return node
        if isinstance(node, TableList):
            hint = f"write `[[{_join(keys)}]]`"
            self._refuse(keys, f"is a list of tables since line {self._line_of(found)}", hint)
            return self._add_item(node, parent.depth + 2, start)
        if isinstance(node, Table) and node.opened_by != "braces":
            self._refuse_again(keys, found, node, silent=parent.reopened)
            return node
        self._refuse_entry(keys, found)
        return self._detach(parent, key, start)

    def open_item(self, keys: Keys[Scalar], start: int) -> Table:
        """The table that the header `[[keys]]`, which starts at `start`, opens."""
        parent = self._enter_header(keys, start)
        key = keys[-1]
        found = parent.pairs.get(key.value)
        if found is None:
            tables = TableList(start, start, start, source=self.scanner.source)
            parent.pairs[key.value] = (key, tables)
            return self._add_item(tables, parent.depth + 2, start)
        if isinstance(found[1], TableList):
            return self._add_item(found[1], parent.depth + 2, start)
        if isinstance(found[1], Table) and found[1].opened_by != "braces":
            hint = "give one of them another name, or write both as a list of tables"
            self._refuse(keys, f"is a single table since line {self._line_of(found)}", hint)
        else:
            self._refuse_entry(keys, found)
        return self._detach(parent, key, start)

    def enter_dots(self, table: Table, keys: Keys[Scalar]) -> Table:
        """The table that holds the last of dotted keys given in `table`."""
        for index, key in enumerate(keys[:-1], start=1):
            found = table.pairs.get(key.value)
            if found is None:
                table = self._add_table(table, key, key.start, "dots")
                continue
            node = found[1]
            if isinstance(node, Table) and node.opened_by in ("dots", "inner header"):
                node.opened_by = "dots"
                table = node
            elif isinstance(node, Table) and node.opened_by == "header":
                hint = "write its keys below that"
                self._refuse(keys[:index], f"has a header of its own on line {self._line_of(found)}", hint)
                table = node
            else:
                self._refuse_entry(keys[:index], found)
                table = self._detach(table, key, key.start)
        return table

    def add(self, table: Table, key: Scalar, value: Node) -> None:
        """Add a pair; of a key given twice the first stays."""
        if table.reopened and key.value in table.pairs:
            table.repeated.append((key.value, value))
        else:
            self.scanner.add_pair(table, key, value)

    def _enter_header(self, keys: Keys[Scalar], start: int) -> Table:
        """The table that holds what a header's last key names."""
        table = self.root
        for index, key in enumerate(keys[:-1], start=1):
            found = table.pairs.get(key.value)
            if found is None:
                table = self._add_table(table, key, start, "inner header")
                continue
            node = found[1]
            last = node.items[-1] if isinstance(node, TableList) else node
            if isinstance(last, Table) and last.opened_by != "braces":
                table = last
            else:
                self._refuse_entry(keys[:index], found)
                table = self._detach(table, key, start)
        return table

    def _add_table(
        self, parent: Table, key: Scalar, start: int, opened_by: Literal["header", "inner header", "dots"] = "header"
    ) -> Table:
        table = self._make(parent.depth + 1, start)
        table.opened_by = opened_by
        parent.pairs[key.value] = (key, table)
        return table

    def _add_item(self, tables: TableList, depth: int, start: int) -> Table:
        table = self._make(depth, start)
        tables.items.append(table)
        return table

    def _detach(self, parent: Table, key: Scalar, start: int) -> Table:
        """A table for what cannot be added where it was meant to go."""
        table = self._make(parent.depth + 1, start)
        parent.repeated.append((key.value, table))
        return table

    def _make(self, depth: int, start: int) -> Table:
        self.scanner.check_depth(depth, start)
        return Table(start, start, start, depth=depth, source=self.scanner.source)

    def _line_of(self, found: tuple[Node, Node]) -> int:
        return self.scanner.line_of(found[0].start)

    def _refuse(self, keys: Keys[Scalar], predicate: str, hint: str) -> None:
        self.scanner.fault(f"`{_join(keys)}` {predicate}", hint, keys[-1].start, keys[-1].stop)

    def _refuse_again(self, keys: Keys[Scalar], found: tuple[Node, Node], node: Table, *, silent: bool) -> None:
        """The fault of a table opened again; none when it stands in one that is at fault itself."""
        node.reopened = True
        if silent:
            return
        line = self._line_of(found)
        if node.opened_by == "dots":
            self._refuse(keys, f"is given by dotted keys on line {line}", "write all its keys in one of the two ways")
            return
        message = f"the table `{_join(keys)}` is given twice, first on line {line}"
        self.scanner.fault(message, "keep one of them, or put their keys together", keys[-1].start, keys[-1].stop)

    def _refuse_entry(self, keys: Keys[Scalar], found: tuple[Node, Node]) -> None:
        """The fault of adding to what takes nothing more."""
        line = self._line_of(found)
        node = found[1]
        if isinstance(node, TableList):
            hint = f"write the key below one of its `[[{_join(keys)}]]`"
            self._refuse(keys, f"is a list of tables since line {line}", hint)
        elif isinstance(node, Table):
            self._refuse(keys, f"ends with its `}}` on line {line}", "write what belongs to it within the braces")
        elif isinstance(node, Sequence):
            self._refuse(keys, f"ends with its `]` on line {line}", "write what belongs to it within the brackets")
        else:
            hint = "give one of them another name"
            self._refuse(keys, f"has a value of its own on line {line}, so that it holds no keys", hint)


def _join(keys: Keys[Scalar]) -> str:
    return ".".join(key.text for key in keys)


def settle(node: Node) -> None:
    """Give tables, which have grown, their ends and sizes."""
    inner: list[Node] = []
    if isinstance(node, Table):
        inner = [*(value for _, value in node.pairs.values()), *(value for _, value in node.repeated)]
    elif isinstance(node, TableList):
        inner = node.items
    else:
        return
    for each in inner:
        settle(each)
    node.size = 1 + sum(each.size for each in inner)
    node.stop = max(node.stop, *(each.stop for each in inner), node.start)
