"""A contacts file (CSV): decide once how it is written and what its columns mean, then read it row by row.

    ContactFileError(ValueError)    the file as a whole cannot be read, or the mapping does not fit it

A row that cannot be read is not an error but a `BadRow` in the stream. `phone.py` decides whether a number can be used,
`csv_records.py` makes records of bytes. Text that looks like a formula stays as it is: whoever writes a CSV escapes it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Final, NamedTuple

from campaign_engine.json_types import Json
from campaign_engine.rules.files.csv_records import BadRow, Record, bad_row, detect_encoding, lines_of, records
from campaign_engine.rules.texts.rendering import variable_name

SAMPLE_BYTES: Final = 64 * 1024  # what `inspect` wants to see of a file
MAX_FILE_BYTES: Final = 256 * 1024 * 1024  # about four million rows; beyond it a file is a mistake
MAX_TAG_CHARS: Final = 100  # tags are indexed, and an index of PostgreSQL takes no long ones
DELIMITERS: Final = (",", ";", "\t", "|")

# Column names we understand, in the form of `variable_name`. The second set counts only if no column is in the first:
# beside a `celular`, `numero` is the number of a house. phone_1_value is Google's export.
_PHONE_WORDS: Final = (
    "phone telefone celular whatsapp tel mobile movil telefono fone cel cell cellphone telephone telemovel "
    "phone_number phonenumber mobile_phone mobile_number cell_phone phone_1_value msisdn wa_id whats wpp zap "
    "whatsapp_number numero_whatsapp numero_do_whatsapp numero_de_telefone numero_de_celular telefone_celular"
)
_ROLES: Final = {
    "phone": (frozenset(_PHONE_WORDS.split()), frozenset({"number", "numero", "num"})),
    "name": (frozenset({"name", "nome", "nombre"}), frozenset({"full_name", "nome_completo", "nombre_completo"})),
    "tags": (frozenset({"tags", "etiquetas"}), frozenset({"tag", "etiqueta"})),
}

_FILE_SENTENCES: Final = {
    "empty_file": "The file is empty.",
    "file_too_large": f"The file is larger than {MAX_FILE_BYTES >> 20} MiB: import it in parts.",
    "spreadsheet": "The file is a spreadsheet (XLSX, XLS) or an archive: save it as CSV UTF-8.",
    "not_text": "The file is not a text file: save the contacts as CSV UTF-8.",
    "unknown_delimiter": "The columns must be separated by comma, semicolon, tab or vertical bar.",
    "unreadable_header": "The line with the column names cannot be read.",
    "no_header": "The first line is a contact: write a line of column names, such as phone,name, above it.",
    "no_contacts": "The file has column names but no contacts.",
    "duplicate_columns": "Several columns have the same name: {}. Rename them.",
    "no_phone_column": "No column is known to hold the phone number. Found: {}. Understood: phone, telefone, "
    "celular, whatsapp, tel, móvil, teléfono, número and the like; or say which one with a mapping.",
}
_MAPPING_SENTENCES: Final = {
    "unknown_column": "The mapping names a column that is not in the file: {}. Found: {}.",
    "nameless_target": "The mapping gives the column {} no name.",
    "mapped_twice": "The mapping gives two columns the name {}, or one column two names.",
    "ambiguous_column": "Several columns could be the {}: {}. Say which one with a mapping.",
}
_ROW_SENTENCES: Final = {
    "too_many_cells": "The row has more cells than there are column names: put a cell that holds a delimiter "
    "into quotation marks.",
    "tag_too_long": f"A tag has more than {MAX_TAG_CHARS} characters: write , ; or | between tags.",
}

_SPREADSHEETS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # XLSX and every other ZIP; XLS
_OTHER_FILES: Final = (b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"\x1f\x8b", b"GIF8", b"Rar!", b"7z\xbc\xaf")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f]")
_LOOKS_LIKE_A_PHONE: Final = re.compile(r"['\"=]*\+?(?:[\s().-]*[0-9]){8,}[\s\"]*")
_SEP_LINE: Final = re.compile(r'"?sep=(.)"?', re.I)
_TAG_SEPARATOR: Final = re.compile(r"[,;|]")


class ContactFileError(ValueError):
    """The file cannot be imported; `field` is "file" or "mapping", `reason_code` is stable."""

    def __init__(self, field: str, reason_code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field
        self.reason_code = reason_code
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How a file is written and what its columns mean; made by `inspect`, survives a trip through JSON.

    `headers` are the columns as written; `phone`, `name` and `tags` are positions among them, `variables`
    pairs of position and variable name. A column without a name is in none of them: it is not read.
    `header_lines` counts the lines above the first contact.
    """

    encoding: str
    delimiter: str
    header_lines: int
    headers: tuple[str, ...]
    phone: int
    name: int | None
    tags: int | None
    variables: tuple[tuple[int, str], ...]

    def to_json(self) -> Json:
        """Return the format as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Json) -> "FileFormat":
        """Make the format again from what `to_json` gave, after JSON turned tuples into lists."""
        variables = tuple((int(position), str(name)) for position, name in value["variables"])
        return cls(**{**value, "headers": tuple(value["headers"]), "variables": variables})


@dataclass(frozen=True, slots=True)
class Row:
    """One contact as the file has it. `line` is where its record starts, counted from 1.

    Cells are stripped. `phone` may be blank. A blank cell gives no name, tag or variable.
    """

    line: int
    phone: str
    name: str | None
    tags: tuple[str, ...]
    variables: dict[str, str]


def inspect(sample: bytes, *, size: int, mapping: Mapping[str, str] | None, encoding: str | None = None) -> FileFormat:
    """Decide how a file is written from its first 64 KiB (`SAMPLE_BYTES`) and its `size` in bytes.

    `mapping` tells columns that we would not recognise: {"phone": "Contato 1", "name": "Cliente"}; a key is
    phone, name, tags or a variable's name, a value is a column as the header writes it. `encoding` is what
    `detect_encoding` found in the whole file; without it the sample decides.

    Raises ContactFileError, whose sentence says what to do.
    """
    _refuse_other_formats(sample, size)
    is_whole = size <= len(sample)
    encoding = encoding or detect_encoding([sample], complete=is_whole)
    lines = list(lines_of([sample], encoding))
    _refuse_what_is_no_text(lines)

    stated = _SEP_LINE.fullmatch(lines[0].rstrip("\n"))  # Excel's first line sep=;
    if stated and stated[1] not in DELIMITERS:
        raise _file_error("unknown_delimiter")
    first_line = 2 if stated else 1
    headers = [_header(lines, each, first_line) for each in ([stated[1]] if stated else DELIMITERS)]
    # The delimiter that makes the most columns is the likeliest, unless none of them is one we look for.
    faults: list[ContactFileError] = []
    for header in sorted(headers, key=lambda each: len(each.cells), reverse=True):
        try:
            fmt = _understand(header, encoding, mapping or {})
        except ContactFileError as fault:
            faults.append(fault)
            if fault.reason_code not in ("no_phone_column", "unknown_column"):
                break
        else:
            if is_whole and next(read_rows([sample], fmt), None) is None:
                raise _file_error("no_contacts")
            return fmt
    raise faults[0]


def read_rows(chunks: Iterable[bytes], fmt: FileFormat) -> Iterator[Row | BadRow]:
    """Yield every record under the header, in order, from the bytes of the whole file; memory stays constant.

    How the bytes are cut into chunks makes no difference. Blank records are skipped; cells missing at the end
    of a row are blank. A record that cannot be read costs only itself: after an unclosed quotation mark
    reading goes on with the next line. A line end inside a quoted cell comes out as a line feed.
    """
    lines = islice(lines_of(chunks, fmt.encoding), fmt.header_lines, None)
    for record in records(lines, fmt.delimiter, fmt.header_lines + 1):
        row = record if isinstance(record, BadRow) else _row(record, fmt)
        if row is not None:
            yield row


def _row(record: Record, fmt: FileFormat) -> Row | BadRow | None:
    cells = [cell.strip() for cell in record.cells]
    if not any(cells):
        return None
    width = len(fmt.headers)
    if any(cells[width:]):
        return _refused(record, "too_many_cells")
    cells += [""] * (width - len(cells))
    written_tags = () if fmt.tags is None else _TAG_SEPARATOR.split(cells[fmt.tags])
    tags = tuple(dict.fromkeys(tag.strip() for tag in written_tags if tag.strip()))
    if any(len(tag) > MAX_TAG_CHARS for tag in tags):
        return _refused(record, "tag_too_long")
    return Row(
        record.line,
        cells[fmt.phone],
        None if fmt.name is None else cells[fmt.name] or None,
        tags,
        {name: cells[position] for position, name in fmt.variables if cells[position]},
    )


def _refused(record: Record, reason_code: str) -> BadRow:
    return bad_row(record.line, record.lines, reason_code=reason_code, sentence=_ROW_SENTENCES[reason_code])


def _refuse_other_formats(sample: bytes, size: int) -> None:
    if not size or not sample:
        raise _file_error("empty_file")
    if size > MAX_FILE_BYTES:
        raise _file_error("file_too_large")
    if sample.startswith(_SPREADSHEETS):
        raise _file_error("spreadsheet")
    if sample.startswith(_OTHER_FILES):
        raise _file_error("not_text")


def _refuse_what_is_no_text(lines: Sequence[str]) -> None:
    text = "".join(lines)
    if not text.strip():
        raise _file_error("empty_file")
    # A few control characters are a fault of their rows. In the header, or in number, they mean that it is not a text.
    control_count = len(_CONTROL.findall(text))
    header = text.lstrip().partition("\n")[0]
    if _CONTROL.search(header) or control_count > max(8, len(text) // 50):
        raise _file_error("not_text")


class _Header(NamedTuple):
    delimiter: str
    cells: list[str]
    line_count: int  # up to the header's last line


def _header(lines: Sequence[str], delimiter: str, first_line: int) -> _Header:
    for record in records(lines[first_line - 1 :], delimiter, first_line):
        if isinstance(record, BadRow):
            break
        cells = [cell.strip() for cell in record.cells]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            return _Header(delimiter, cells, record.line + len(record.lines) - 1)
    return _Header(delimiter, [], 0)


def _understand(header: _Header, encoding: str, mapping: Mapping[str, str]) -> FileFormat:
    headers = header.cells
    if not headers:
        raise _file_error("unreadable_header")
    if any(_LOOKS_LIKE_A_PHONE.fullmatch(cell) for cell in headers):
        raise _file_error("no_header")
    names = [variable_name(cell) for cell in headers]
    if repeated := [cell for cell, name in zip(headers, names, strict=True) if name and names.count(name) > 1]:
        raise _file_error("duplicate_columns", _listed(repeated))

    mapped = _mapped(headers, names, mapping)
    free = [position for position in range(len(names)) if position not in mapped.values()]
    roles = {role: mapped[role] if role in mapped else _recognised(role, headers, names, free) for role in _ROLES}
    phone = roles["phone"]
    if phone is None:
        if len(headers) == 1 and not _ROLES["phone"][0].isdisjoint(names[0].split("_")):
            raise _file_error("unknown_delimiter")
        raise _file_error("no_phone_column", _listed(headers))
    given_names = {position: target for target, position in mapped.items()}
    named = [(position, given_names.get(position, name)) for position, name in enumerate(names)]
    return FileFormat(
        encoding=encoding,
        delimiter=header.delimiter,
        header_lines=header.line_count,
        headers=tuple(headers),
        phone=phone,
        name=roles["name"],
        tags=roles["tags"],
        variables=tuple(each for each in named if each[1] and each[0] not in roles.values()),
    )


def _mapped(headers: Sequence[str], names: Sequence[str], mapping: Mapping[str, str]) -> dict[str, int]:
    """Return the position of each column that the mapping names, by its role or variable name."""
    mapped: dict[str, int] = {}
    for target, column in mapping.items():
        name = variable_name(target)
        if not name:
            raise _mapping_error("nameless_target", column)
        name = next((role for role, words in _ROLES.items() if name in words[0]), name)
        wanted = variable_name(column)
        if not wanted or wanted not in names:
            raise _mapping_error("unknown_column", column, _listed(headers))
        if name in mapped or names.index(wanted) in mapped.values():
            raise _mapping_error("mapped_twice", target)
        mapped[name] = names.index(wanted)
    for name in mapped:
        if name not in _ROLES and name in names and names.index(name) not in mapped.values():
            raise _mapping_error("mapped_twice", name)
    return mapped


def _recognised(role: str, headers: Sequence[str], names: Sequence[str], free: Sequence[int]) -> int | None:
    for words in _ROLES[role]:
        found = [position for position in free if names[position] in words]
        if len(found) > 1:
            raise _mapping_error("ambiguous_column", role, _listed([headers[position] for position in found]))
        if found:
            return found[0]
    return None


def _file_error(reason_code: str, *details: str) -> ContactFileError:
    return ContactFileError("file", reason_code, _FILE_SENTENCES[reason_code].format(*details))


def _mapping_error(reason_code: str, *details: str) -> ContactFileError:
    return ContactFileError("mapping", reason_code, _MAPPING_SENTENCES[reason_code].format(*details))


def _listed(headers: Sequence[str]) -> str:
    shown = ", ".join(header[:40] for header in headers[:20])
    return f"{shown} and {len(headers) - 20} more" if len(headers) > 20 else shown
