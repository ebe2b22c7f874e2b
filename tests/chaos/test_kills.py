"""`make chaos`: 12,000 messages under random kills. `SEED=n` repeats a run."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.chaos.mayhem import Mayhem

RESULTS = Path(__file__).parents[2] / "docs" / "chaos.json"


@pytest.mark.timeout(400)
def test_nothing_is_lost_and_nothing_doubled_under_kills(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
    print(f"\nSEED={seed}")
    verdict = Mayhem(folder=tmp_path, seed=seed, count=12_000, pause_s=1.5).run()
    shown = {name: getattr(verdict, name) for name in verdict.__dataclass_fields__}
    print(json.dumps(shown, indent=2))
    RESULTS.write_text(json.dumps({"seed": seed, **shown}, indent=2) + "\n")
    assert verdict.is_clean, verdict
    assert sum(verdict.kills.values()) >= 5
