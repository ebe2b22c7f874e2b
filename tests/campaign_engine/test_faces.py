"""Every face opens its transactions in one place, which says in whose name and what a Redis that is away means."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPENED_BY = {"web": "web/transactions.py", "cli": "cli/context.py", "jobs": "jobs/runtime.py"}


@pytest.mark.parametrize("face", OPENED_BY)
def test_a_face_opens_its_transactions_in_one_place(face: str) -> None:
    opening = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / face).rglob("*.py")
        if any(map(_is_of_the_database, ast.walk(ast.parse(path.read_text()))))
    ]
    assert opening == [OPENED_BY[face]]


def _is_of_the_database(node: ast.AST) -> bool:
    """Say whether this takes `transaction`, or the module that has it, out of `campaign_engine.db`."""
    if isinstance(node, ast.Import):
        return any(name.name == "campaign_engine.db" for name in node.names)
    if not isinstance(node, ast.ImportFrom):
        return False
    taken = {name.name for name in node.names}
    return (node.module == "campaign_engine" and "db" in taken) or (
        node.module == "campaign_engine.db" and "transaction" in taken
    )
