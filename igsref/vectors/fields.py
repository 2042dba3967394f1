"""Fields of a JSON file, read one by one: what is missing or of another kind is refused by name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from igsref.arguments import described


class VectorError(ValueError):
    """A reference vector's file is not what the format says; the message names file and field."""


@dataclass(frozen=True)
class Fields:
    """A JSON object. where: the file and the place in it, as errors name it."""

    where: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, where: str, value: Any) -> "Fields":
        """Of what was read. Raises VectorError unless it is an object."""
        if not isinstance(value, dict):
            raise VectorError(f"{where} must be an object; got {described(value)}")
        return cls(where, value)

    def only(self, *names: str) -> None:
        """Raise VectorError unless the object has exactly these fields."""
        if missing := [name for name in names if name not in self.values]:
            raise VectorError(
                f"{self.where} must have the field {missing[0]!r}; got {sorted(self.values)}"
            )
        if unknown := [name for name in self.values if name not in names]:
            raise VectorError(
                f"{self.where} must have the fields {sorted(names)}; got {unknown[0]!r} too"
            )

    def refuse(self, name: str, expected: str) -> VectorError:
        """The error for a field that is not what was expected."""
        return VectorError(
            f"{self.where}: {name} must be {expected}; got {described(self.values[name])}"
        )

    def text(self, name: str) -> str:
        """A string."""
        value = self.values[name]
        if not isinstance(value, str):
            raise self.refuse(name, "a string")
        return value

    def optional_text(self, name: str) -> str | None:
        """A string or null."""
        return None if self.values[name] is None else self.text(name)

    def number(self, name: str) -> float:
        """A finite number."""
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(name, "a number")
        if not math.isfinite(value):
            raise self.refuse(name, "a finite number")
        return float(value)

    def integer(self, name: str, least: int = 0) -> int:
        """An integer from ``least`` on."""
        value = self.values[name]
        if not _is_integer(value) or value < least:
            raise self.refuse(name, f"an integer from {least} on")
        return int(value)

    def integers(self, name: str, count: int, least: int = 0) -> tuple[int, ...]:
        """A list of so many integers from ``least`` on."""
        value = self.entries(name)
        if len(value) != count or not all(_is_integer(n) and n >= least for n in value):
            raise VectorError(
                f"{self.where}: {name} must be a list of {count} integers from {least} on; "
                f"got {value!r}"
            )
        return tuple(value)

    def entries(self, name: str) -> list[Any]:
        """A list."""
        value = self.values[name]
        if not isinstance(value, list):
            raise self.refuse(name, "a list")
        return value

    def objects(self, name: str) -> list["Fields"]:
        """A list of objects."""
        return [
            Fields.of(f"{self.where}: {name}[{index}]", value)
            for index, value in enumerate(self.entries(name))
        ]

    def object(self, name: str) -> "Fields":
        """An object."""
        return Fields.of(f"{self.where}: {name}", self.values[name])


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
