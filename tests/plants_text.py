"""Free text that mentions a person, in the ways that people write, among medical words that have to stay."""

from __future__ import annotations

import datetime as dt
import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from plants_people import Person, Study

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
GERMAN = (
    *("Januar", "Februar", "März", "April", "Mai", "Juni", "Juli"),
    *("August", "September", "Oktober", "November", "Dezember"),
)
MEDICAL = (
    *("CT", "MR", "head", "chest", "abdomen", "brain", "axial", "coronal", "sagittal", "contrast", "T1", "T2"),
    *("lateral", "left", "right", "spine", "knee", "venous", "arterial", "phase", "thorax", "liver", "lung", "FLAIR"),
)


@dataclass(frozen=True, slots=True)
class Mention:
    """How a text names somebody: `text` as planted, `needles` that may not stay in it (whole tokens, folded)."""

    form: str
    text: str
    needles: tuple[str, ...]


def plain(text: str) -> str:
    """Text without accents, as a keyboard without them would give it."""
    spelt = unicodedata.normalize("NFKD", text).translate({0xDF: "ss", 0xE6: "ae", 0xC6: "Ae", 0xF0: "d"})
    return spelt.encode("ascii", "ignore").decode()


@lru_cache(256)
def names_of(person: Person, study: Study) -> list[Mention]:
    """Ways to write the names, the numbers and the addresses."""
    family, given = person.family, person.given
    doctor = study.physician.split("^")[0]
    forms: dict[str, tuple[str, tuple[str, ...]]] = {
        "exact": (f"{family} {given}", (family, given)),
        "reversed": (f"{given} {family}", (family, given)),
        "comma": (f"{family}, {given}", (family, given)),
        "caret": (f"{family}^{given}", (family, given)),
        "underscore": (f"{given}_{family}", (family, given)),
        "upper": (f"{given} {family}".upper(), (family, given)),
        "lower": (f"{given} {family}".lower(), (family, given)),
        "no accents": (plain(f"{given} {family}"), (family, given)),
        "glued": (plain(family + given), (family, given)),
        "glued to a word": (f"Pat{plain(family)}CT", (family,)),
        "split by a line": (f"{given}\n{family}", (family, given)),
        "possessive": (f"{family}'s", (family,)),
        "initial and name": (f"{given[0]}. {family}", (family,)),
        "account": (f"{plain(given)[0]}{plain(family)}".lower(), (family,)),
        "id": (person.patient_id, (person.patient_id,)),
        "id without separators": (person.patient_id.replace("-", ""), (person.patient_id,)),
        "id spaced": (person.patient_id.replace("-", " "), (person.patient_id[4:],)),
        "other id": (person.other_id.replace("-", "/"), (person.other_id,)),
        "accession": (study.accession, (study.accession,)),
        "accession lower": (study.accession.lower(), (study.accession,)),
        "accession digits": (study.accession[3:], (study.accession[3:],)),
        "phone": (person.phone, (person.phone,)),
        "phone glued": (person.phone.replace(" ", ""), (person.phone,)),
        "address": (f"{person.street}, {person.town}", (person.street, person.town)),
        "physician": (f"Dr. {doctor}", (doctor,)),
        "operator": (study.operator.replace("^", " "), (study.operator.split("^")[0],)),
        "institution": (study.institution.upper(), (study.institution.split()[0],)),
        "station": (study.station.lower(), (study.station,)),
        "serial": (study.serial, (study.serial,)),
        "mother": (f"mother {person.mother.split('^')[0]}", (person.mother.split("^")[0],)),
    }
    return [Mention(form, text, needles) for form, (text, needles) in forms.items()]


@lru_cache(256)
def dates_of(person: Person, study: Study) -> list[Mention]:
    """The birth date or the day of the study, in the formats of several countries; ages over 89."""
    found = []
    for what, day in (("born", person.birth), ("study", study.day)):
        for form, write in FORMATS.items():
            text = write(day)
            found.append(Mention(f"{what} {form}", text, (text,)))
    if person.age > 89:
        found += [Mention("age", f"{person.age} years old", (str(person.age),))]
        found += [Mention("age glued", f"0{person.age}Y", (f"0{person.age}Y",))]
    return found


FORMATS: dict[str, Callable[[dt.date], str]] = {
    "yyyymmdd": lambda d: d.strftime("%Y%m%d"),
    "iso": lambda d: d.isoformat(),
    "dotted": lambda d: d.strftime("%d.%m.%Y"),
    "slashed us": lambda d: d.strftime("%m/%d/%Y"),
    "slashed short": lambda d: f"{d.day}/{d.month}/{d:%y}",
    "acr": lambda d: d.strftime("%Y.%m.%d"),
    "month name": lambda d: f"{d.day} {MONTHS[d.month - 1]} {d.year}",
    "month first": lambda d: f"{MONTHS[d.month - 1]} {d.day}th, {d.year}",
    "german": lambda d: f"{d.day}. {GERMAN[d.month - 1]} {d.year}",
    "ddmmmyyyy": lambda d: f"{d.day:02}{MONTHS[d.month - 1]}{d.year}".upper(),
    "underscored": lambda d: d.strftime("%d_%m_%Y"),
}


def sentence(rng: random.Random, person: Person, study: Study, most: int = 64) -> tuple[Mention, tuple[str, ...]]:
    """A description with one mention in it, at most `most` characters; returns it and the words that have to stay."""
    while True:
        mention = rng.choice(rng.choice((names_of(person, study), names_of(person, study), dates_of(person, study))))
        words = rng.sample(MEDICAL, 2)
        text = rng.choice(("{0} {m} {1}", "{m} {0} {1}", "{0} {1} {m}", "{0} {1} ({m})")).format(*words, m=mention.text)
        room = len(text.encode("utf-8")) <= most
        if room and ("\n" not in text or most > 64):
            return Mention(mention.form, text, mention.needles), tuple(words)
