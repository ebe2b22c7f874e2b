"""Nobody outside `providers/` asks for a provider by name, so that another one is a folder and a line."""

from tools.structure import files_that_name_a_provider


def test_no_file_outside_its_folder_names_a_provider() -> None:
    assert list(files_that_name_a_provider()) == []
