"""One table of a TOML file, read key by key with its types checked; a bad key adds a fault and reads as its default."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from config.faults import nearest, shown, suggestion

Choice = TypeVar("Choice", bound=str)


class Table:
    """A table of the file `where`; its sub-tables share `faults`. `name` is empty for the file's top."""

    def __init__(self, data: Mapping[str, Any], where: str, faults: list[str], name: str = "") -> None:
        self._data = data
        self._where = where
        self._name = name
        # The keys that were asked for: all others are unknown.
        self._known: list[str] = []
        self._below: list[Table] = []
        self.faults = faults

    def text(self, key: str, default: str | None = None, *, lines: bool = False) -> str:
        """A text with something in it; `lines` allows line ends and tabs. Without a default the key is required."""
        allowed = "a text" if lines else "a text of one line"
        value = self._take(key, None)
        if key not in self._data and default is not None:
            return default
        if value is None or (isinstance(value, str) and not value.strip()):
            self.refuse(key, "is missing", allowed)
        elif not isinstance(value, str):
            self.refuse(key, f"is {shown(value)}", allowed)
        elif any(unicodedata.category(c) == "Cc" and not (lines and c in "\n\t") for c in value):
            self.refuse(key, "has control characters", allowed)
        else:
            return value.strip()
        return default or ""

    def form(self, key: str, pattern: re.Pattern[str], allowed: str, default: str | None = None) -> str:
        """A text that `pattern` matches in full."""
        value = self._take(key, default)
        if isinstance(value, str) and pattern.fullmatch(value):
            return value
        self.refuse(key, "is missing" if value is None or value == "" else f"is {shown(value)}", allowed)
        return default or ""

    def optional_form(self, key: str, pattern: re.Pattern[str], allowed: str) -> str | None:
        """The same, or None when the key is missing."""
        return self.form(key, pattern, allowed) if self.has(key) else None

    def optional_text(self, key: str) -> str | None:
        """A text of one line, or None when the key is missing."""
        return self.text(key) if self.has(key) else None

    def flag(self, key: str) -> bool:
        """True or false, which is also the default."""
        value = self._take(key, False)
        if isinstance(value, bool):
            return value
        self.refuse(key, f"is {shown(value)}", "true, false")
        return False

    def choice(self, key: str, allowed: Sequence[Choice]) -> Choice:
        """One of `allowed`, of which the first is the default."""
        value = self._take(key, allowed[0])
        for choice in allowed:
            if value == choice:
                return choice
        self.refuse(key, f"is {shown(value)}{suggestion(str(value), allowed)}", ", ".join(allowed))
        return allowed[0]

    def texts(self, key: str, pattern: re.Pattern[str], allowed: str, known: Sequence[str] = ()) -> tuple[str, ...]:
        """A list of different texts that `pattern` matches in full; empty when the key is missing.

        A wrong one may have been meant to be one of `known`.
        """
        values = self._take(key, [])
        if not isinstance(values, list):
            self.refuse(key, f"is {shown(values)}", f"a list in [ ] of {allowed}")
            return ()
        good: list[str] = []
        for value in values:
            if not isinstance(value, str) or not pattern.fullmatch(value):
                self.refuse(key, f"has {shown(value)}{suggestion(str(value), known)}", allowed)
            elif value in good:
                self.refuse(key, f"has {shown(value)} twice", "each once")
            else:
                good.append(value)
        return tuple(good)

    def whole(self, key: str, default: int, low: int, high: int) -> int:
        value = self._take(key, default)
        # A TOML true is an int in Python.
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.refuse(key, f"is {shown(value)}", f"a whole number from {low} to {high}")
        return default

    def number(self, key: str, default: float, low: float, high: float) -> float:
        value = self._take(key, default)
        # NaN is in no range.
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        self.refuse(key, f"is {shown(value)}", f"a number from {low} to {high}")
        return default

    def optional_number(self, key: str, low: float, high: float) -> float | None:
        """A number from `low` to `high`, or None when the key is missing."""
        number = self.number(key, low, low, high)
        return number if key in self._data else None

    def optional_whole(self, key: str, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`, or None when the key is missing."""
        number = self.whole(key, low, low, high)
        return number if key in self._data else None

    def raw(self, key: str) -> Any:
        """The value as it stands in the file, for a caller that checks it; None when the key is missing."""
        return self._take(key, None)

    def table(self, key: str) -> "Table":
        """The sub-table `[key]`; an empty one when it is missing."""
        value = self._take(key, {})
        if not isinstance(value, dict):
            self.refuse(key, f"is {shown(value)}", f"a table that begins with the line [{self._path(key)}]")
            value = {}
        below = Table(value, self._where, self.faults, self._path(key))
        self._below.append(below)
        return below

    def names(self, pattern: re.Pattern[str], allowed: str) -> list[str]:
        """The keys of a table whose keys are names: those that `pattern` matches in full."""
        self._known += self._data
        for key in self._data:
            if not pattern.fullmatch(key):
                self.refuse(shown(key), "is no name", allowed)
        return [key for key in self._data if pattern.fullmatch(key)]

    def texts_by_key(self) -> dict[str, str]:
        """Every key of the table, whatever its name, with its text."""
        return {key: self.text(key) for key in self._data}

    def refuse(self, key: str, wrong: str, allowed: str) -> None:
        self.faults.append(f"{self._where}: {self._path(key)} {wrong}; allowed: {allowed}")

    def refuse_unknown(self) -> None:
        """One fault for each key, here and in the tables below, that was never asked for, with the nearest that was."""
        # A key of the file's top that stands below a [table] line belongs to that table: hence the look at the others.
        tables = self._all()
        paths = {key: table._path(key) for table in tables for key in table._known}
        for table in tables:
            table._refuse_unknown(paths)

    def has(self, key: str) -> bool:
        """Whether the file has this key; one that may be there."""
        return self._take(key, None) is not None

    def __len__(self) -> int:
        return len(self._data)

    def _all(self) -> "list[Table]":
        return [self, *(table for below in self._below for table in below._all())]

    def _refuse_unknown(self, paths: Mapping[str, str]) -> None:
        for key in self._data:
            if key not in self._known:
                meant = nearest(key, self._known)
                path = self._path(meant) if meant else paths.get(nearest(key, paths) or "")
                hint = f" (did you mean {path}?)" if path else ""
                self.refuse(shown(key).strip("'"), f"is unknown{hint}", ", ".join(self._known))

    def _take(self, key: str, default: Any) -> Any:
        if key not in self._known:
            self._known.append(key)
        return self._data.get(key, default)

    def _path(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key
