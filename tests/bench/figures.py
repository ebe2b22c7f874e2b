"""A measured figure, what is promised of it, and whether the promise holds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One result. `at_least` and `at_most` are the bounds, in the same unit; without one it is information."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def has_bound(self) -> bool:
        """Whether something is promised of it."""
        return self.at_least is not None or self.at_most is not None

    @property
    def passed(self) -> bool:
        """Whether every bound holds."""
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as it is kept; what has no bound has no verdict."""
        kept: dict[str, Any] = {"name": self.name, "value": round(self.value, 4), "unit": self.unit}
        if self.at_least is not None:
            kept["at_least"] = self.at_least
        if self.at_most is not None:
            kept["at_most"] = self.at_most
        return kept | ({"passed": self.passed} if self.has_bound else {})


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark found: its figures, and the details behind them as JSON values."""

    figures: tuple[Figure, ...]
    details: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return it as it is kept."""
        return {"figures": [figure.as_json() for figure in self.figures], "details": self.details}


def table(figures: Iterable[Figure]) -> str:
    """Return figures, bounds and verdicts as text."""
    return "\n".join(_line(figure) for figure in figures)


def _line(figure: Figure) -> str:
    value = f"{number(figure.value):>10} {figure.unit:<20}"
    return f"{figure.name:<64} {value} {bound(figure):<12} {verdict(figure)}".rstrip()


def number(value: float) -> str:
    """Return a value as people read it."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"


def bound(figure: Figure) -> str:
    """Return what is promised of a figure, in signs; empty when nothing is."""
    bounds = [("≥", figure.at_least), ("≤", figure.at_most)]
    return " ".join(f"{sign} {number(limit)}" for sign, limit in bounds if limit is not None)


def verdict(figure: Figure) -> str:
    """Return the word for whether the promise holds; empty when there is none."""
    if not figure.has_bound:
        return ""
    return "holds" if figure.passed else "MISSED"
