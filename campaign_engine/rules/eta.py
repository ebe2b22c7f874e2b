"""When a campaign will be through."""

import math


def seconds_left(count: int, *, per_s: float) -> float | None:
    """Return how long `count` messages take at `per_s` messages a second; None when nothing moves."""
    if count == 0:
        return 0.0
    if per_s <= 0:
        return None
    return 0.0 if math.isinf(per_s) else round(count / per_s, 1)
