"""The glossary names what there is: modules by their last name, and every state."""

import re
from collections import Counter
from pathlib import Path

from campaign_engine.rules.failures import ErrorClass
from campaign_engine.rules.states import CampaignStatus, MessageStatus

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return GLOSSARY.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_words(title: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE)


def test_every_module_that_the_glossary_names_is_there() -> None:
    folders = ("campaign_engine", "jobs", "ratelimit")
    modules = {path.stem for folder in folders for path in (ROOT / folder).rglob("*.py")}
    named = re.findall(r"\| `(\w+)` \|$", GLOSSARY, re.MULTILINE)
    assert len(named) > 40
    assert [name for name in named if name not in modules] == []


def test_no_word_is_explained_twice() -> None:
    words = re.findall(r"^\| ([a-z][^|`]*) \|", GLOSSARY, re.MULTILINE)
    headers = ("word", "state")
    assert [word for word, count in Counter(words).items() if count > 1 and word not in headers] == []


def test_the_glossary_has_every_state_and_class_and_no_other() -> None:
    assert first_words("States of a campaign") == list(CampaignStatus)
    assert first_words("States of a message") == list(MessageStatus)
    classes = section("What becomes of a call").rpartition("The classes of a refusal are")[2].partition(";")[0]
    assert re.findall(r"`(\w+)`", classes) == list(ErrorClass)
