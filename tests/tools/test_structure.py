"""The house stays in order: what `tools/structure.py` prints has bounds."""

import pytest

from tools.structure import House, circles_on, files_that_name_a_provider


@pytest.fixture(scope="module")
def house() -> House:
    return House.read()


def test_no_arrow_between_rooms_goes_back(house: House) -> None:
    assert [circle for floor in house.floors for circle in circles_on(floor, house.imports)] == []


def test_a_turn_is_understood_with_a_dozen_modules(house: House) -> None:
    assert len(house.of_a_turn) <= 12, house.of_a_turn


def test_every_public_function_says_what_it_gives(house: House) -> None:
    assert house.bare == []


def test_no_file_outside_its_folder_names_a_provider() -> None:
    assert list(files_that_name_a_provider()) == []


def test_a_circle_is_seen() -> None:
    imports = {"a.b.x": {"a.c"}, "a.c": {"a.b.y"}, "a.b.y": set[str]()}
    assert circles_on("a", imports) == [["a.b", "a.c"]]
    assert circles_on("a.b", imports) == []
