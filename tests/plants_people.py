"""Made-up people and their studies, with every form in which their identity is written down."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass

# Longer than six letters and no medical word: a hit in the result is a leak, not chance. All fit Latin-1.
FAMILIES = (
    *("Gonçalvesova", "Björnhedin", "Wiedergrün", "Åkervallsten", "Castañedano", "Großhennig", "Delacroixel"),
    *("O'Flanaghan", "Lüdenscheider", "Niewiadomska", "Popescuella", "Thunderberry", "Kowaltschik", "Ærenlundson"),
)
GIVENS = ("Zoëlline", "José-Ángel", "Jürgenette", "Wilhelmina", "Françoiska", "Thorvaldine", "Bartholomé", "Sigríðura")
ASIAN = {  # declared character sets: (ideographic, phonetic)
    "ISO_IR 192": ("王^小東仁", "わんじ^しおとんにん"),
    "GB18030": ("王^小东仁", ""),
    "JP": ("山田^太郎助", "やまだや^たろうすけ"),
    "KR": ("洪^吉洞민", "홍길자^길동이"),
}
STREETS = ("Rosengartenweg", "Quellenbachgasse", "Rue-des-Acacias", "Larkspurlane", "Fjordkanten")
HOUSES = ("Hohenwartheim", "Saint-Aurelienne", "Northwickham", "Lindenfelsburg", "Vallombrosetta")
STATIONS = ("QUASARCT", "NORDLICHT", "PELIKANMR", "ZEPHYROS", "KASTANIE")


@dataclass(frozen=True, slots=True)
class Study:
    """One visit: what the order, the people who worked and the machine gave it."""

    accession: str
    physician: str
    operator: str
    station: str
    serial: str
    day: dt.date
    time: str
    institution: str
    study_id: str

    @property
    def secrets(self) -> tuple[str, ...]:
        names = *parts(self.physician), *parts(self.operator)
        return (*names, self.accession, self.station, self.serial, self.institution, self.study_id)


@dataclass(frozen=True, slots=True)
class Person:
    """A made-up patient. `name` is alphabetic, Family^Given^Middle; `hidden` are the values no result may hold."""

    name: str
    patient_id: str
    other_id: str
    birth: dt.date
    sex: str
    age: int
    phone: str
    street: str
    town: str
    mother: str
    studies: tuple[Study, ...]

    @property
    def secrets(self) -> tuple[str, ...]:
        mine = (
            *parts(self.name),
            self.patient_id,
            self.other_id,
            self.phone,
            self.street,
            self.town,
            *parts(self.mother),
        )
        return (*mine, self.birth.strftime("%Y%m%d"), *(value for study in self.studies for value in study.secrets))

    @property
    def family(self) -> str:
        return self.name.split("^")[0]

    @property
    def given(self) -> str:
        return self.name.split("^")[1]


def parts(name: str) -> tuple[str, ...]:
    """The parts of a DICOM name that identify alone: those of five letters and more."""
    return tuple(part for part in name.split("^") if len(part) >= 5)


def person(rng: random.Random, n_studies: int) -> Person:
    """A patient with `n_studies` visits; every number is drawn anew, so none is shared by chance."""
    families = rng.sample(FAMILIES, 6)
    age = rng.choice((7, 34, 47, 68, 91, 96))
    first = dt.date(2015, 1, 1) + dt.timedelta(days=rng.randrange(2500))
    birth = first - dt.timedelta(days=age * 365 + age // 4 + rng.randrange(60, 300))
    return Person(
        name=f"{families[0]}^{rng.choice(GIVENS)}^{rng.choice('ABCDEFG')}",
        patient_id=f"MRN-{digits(rng, 8)}",
        other_id=f"{digits(rng, 4)}-{digits(rng, 5)}",
        birth=birth,
        sex=rng.choice("FM"),
        age=age,
        phone=f"+49 {digits(rng, 3)} {digits(rng, 7)}",
        street=f"{rng.choice(STREETS)} {digits(rng, 3)}",
        town=f"{rng.choice(HOUSES)}stadt",
        mother=f"{families[1]}^{rng.choice(GIVENS)}",
        studies=tuple(_study(rng, first, families[2:]) for _ in range(n_studies)),
    )


def _study(rng: random.Random, first: dt.date, families: list[str]) -> Study:
    day = first + dt.timedelta(days=rng.randrange(1, 900))
    return Study(
        accession=f"ACC{digits(rng, 8)}",
        physician=f"{families[0]}^{rng.choice(GIVENS)}^^Dr",
        operator=f"{families[1]}^{rng.choice(GIVENS)}",
        station=f"{rng.choice(STATIONS)}{digits(rng, 3)}",
        serial=f"SN{digits(rng, 8)}",
        day=rng.choice((day, dt.date(2016, 2, 29), dt.date(2019, 12, 31))),
        time=rng.choice(("235959.999900", "101530.250000", "000000", "0715", "142233.5")),
        institution=f"{rng.choice(HOUSES)} Klinik",
        study_id=f"ST{digits(rng, 7)}",
    )


def digits(rng: random.Random, count: int) -> str:
    return "".join([rng.choice("123456789"), *(rng.choice("0123456789") for _ in range(count - 1))])
