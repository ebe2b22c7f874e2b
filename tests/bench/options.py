"""What whoever runs the benchmarks may choose."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`seconds` is how long a run is measured, where the benchmark has no time of its own; `quick` asks for a small
    version of each, which shows that it works and whose figures mean nothing. `peer` is a command to compare with.
    """

    quick: bool = False
    seconds: float | None = None
    peer: str | None = None

    def seconds_or(self, usual: float, *, quick: float) -> float:
        """Return how long to measure."""
        return self.seconds if self.seconds is not None else quick if self.quick else usual
