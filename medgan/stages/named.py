"""Lists of patients that the house keeps in the identified zone: read whole or not at all, and never quoted."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from medgan import digest as digests
from medgan.errors import HomeError, UsageError
from medgan.home import Home

DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class Named:
    """A patient as a list names them. Without an issuer: whoever issued the id."""

    patient_id: str
    issuer: str = ""


def read_table(name: str, home: Home, *, needs: Iterable[str], may: Iterable[str] = ()) -> list[dict[str, str]] | None:
    """Rows of `identified/NAME` with these columns; None when there is no such file.

    UTF-8, a header line, commas, semicolons or tabs; blank lines are left out. Raises HomeError when it cannot be
    read, UsageError when anything in it is not as expected: half a list would let in who is on the other half.
    """
    place = home.root / "identified" / name
    if not os.path.lexists(place):
        return None
    try:
        text = place.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"identified/{name} is not UTF-8 text; save it as CSV in UTF-8. Nothing was done") from None
    except OSError:
        raise HomeError(f"identified/{name} cannot be read; expected a file of this user. Nothing was done") from None
    needs = tuple(needs)
    return list(_rows(name, text, needs, (*needs, *may)))


def _rows(name: str, text: str, needs: tuple[str, ...], columns: tuple[str, ...]) -> Iterable[dict[str, str]]:
    if "\0" in text:  # the csv module takes it for a letter
        raise UsageError(f"identified/{name} is no CSV: it holds bytes of nothing. Nothing was done")
    first = next((line for line in text.splitlines() if line.strip()), "")
    try:
        # not strict, a quote that is never closed would swallow the rest of the list
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=first.count), strict=True)
        filled = [(number, row) for number, row in enumerate(lines, start=1) if any(cell.strip() for cell in row)]
    except csv.Error:
        raise UsageError(f"identified/{name} is no CSV (an odd quote?). Nothing was done") from None
    header = [cell.strip().lower() for cell in filled[0][1]] if filled else []
    if missing := [column for column in needs if column not in header]:
        raise UsageError(
            f"identified/{name} has no column {missing[0]}; its first line must name the columns {','.join(columns)}. "
            "Nothing was done"
        )
    for number, cells in filled[1:]:
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        if len(cells) > len(header) or not all(row.get(column) for column in needs):
            raise UsageError(
                f"identified/{name}, line {number}: expected {len(header)} columns, with {' and '.join(needs)} filled "
                "in; quote what holds a comma. Nothing was done"
            )
        yield {column: row.get(column, "") for column in columns}


def pseudonyms(one: Named, home: Home) -> set[str]:
    """Keys of a patient: that of the id alone, and without an issuer also those under which issuers sent it."""
    plain = digests.patient_key(home.pseudonym_key, one.patient_id, one.issuer)
    return {plain} if one.issuer else {plain} | issued(one, home)


def issued(one: Named, home: Home) -> set[str]:
    """Keys under which the id of this patient arrived with an issuer."""
    known = home.identified_ledger.known_as(digests.id_key(home.pseudonym_key, one.patient_id))
    return known - {digests.patient_key(home.pseudonym_key, one.patient_id)}


def persons(keys: Iterable[str], same: Mapping[str, str]) -> set[str]:
    """The pseudonyms that stand for these, merged ones counted once."""
    return {same.get(key, key) for key in keys}
