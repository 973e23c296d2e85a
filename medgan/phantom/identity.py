"""People who do not exist, and everything a hospital would write about them: the identifiers that are planted."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

import numpy as np

ROOT = "1.3.6.1.4.1.99999.7"  # an arc nobody holds: original UIDs of the phantoms
NATIONAL = "EASTMERE-NHI"  # who issues the other patient id
SHORTEST = 4  # shorter ASCII strings would be met by chance in a leak scan

FAMILIES = (
    "Abernathy",
    "Adebanjo",
    "Bartholdsen",
    "Belmonteiro",
    "Brannigan",
    "Castellanos",
    "Czerwinsky",
    "Delacroix",
    "Dragomirescu",
    "Eisenbichler",
    "Fitzgibbon",
    "Fontanarosa",
    "Gallowglass",
    "Ghirlanda",
    "Haverkamp",
    "Hjaltalin",
    "Ibekwezor",
    "Jankulovic",
    "Kaczmarowski",
    "Kerrigan",
    "Lindqvist",
    "Lombardozzi",
    "Macgillivray",
    "Montefiore",
    "Nakagawara",
    "Nwachukwu",
    "Oberholtzer",
    "Okonkwo",
    "Oyelaran",
    "Papadimos",
    "Petrossian",
    "Pfefferkorn",
    "Quartermaine",
    "Quintanilla",
    "Ravenscroft",
    "Rosenkrantz",
    "Saltonstall",
    "Szabolcsi",
    "Thorvaldsen",
    "Tregaskis",
    "Uusitalo",
    "Vandermeersch",
    "Vasconcelos",
    "Wetherington",
    "Wojnarowicz",
    "Xanthopoulos",
    "Yarborough",
    "Ybarrondo",
    "Zabriskie",
    "Zumwaltner",
)
WOMEN = (
    "Adaeze",
    "Annelise",
    "Beatrisa",
    "Bronwenna",
    "Clementine",
    "Desdemona",
    "Eleonora",
    "Evangeline",
    "Fiammetta",
    "Georgiana",
    "Henrietta",
    "Ingeborg",
    "Jacquetta",
    "Katarzyna",
    "Leocadia",
    "Marguerite",
    "Nzingha",
    "Ottoline",
    "Philippa",
    "Quenella",
    "Rosalinda",
    "Seraphine",
    "Theodora",
    "Ursuline",
    "Violetta",
    "Wilhelmina",
    "Xiomara",
    "Yolandra",
    "Zenaida",
)
MEN = (
    "Alasdair",
    "Bartholomew",
    "Cornelius",
    "Demetrius",
    "Ezekielus",
    "Ferdinand",
    "Godefroyd",
    "Hieronymus",
    "Ignatius",
    "Jeremiasz",
    "Kazimierz",
    "Leopoldo",
    "Maximilian",
    "Nathaniel",
    "Octavianus",
    "Percival",
    "Quintilian",
    "Reginaldo",
    "Sigismund",
    "Thaddeus",
    "Ulyssean",
    "Valentino",
    "Wolfgang",
    "Xavierus",
    "Yaroslavl",
    "Zachariasz",
    "Emmerich",
    "Barnabyus",
)
# SpecificCharacterSet, family, given, family and given in their own script, and again by sound
SCRIPTS: tuple[tuple[str, str, str, str, str], ...] = (
    ("ISO_IR 192", "Yamashiro", "Tarouji", "山城^太郎次", "やましろ^たろうじ"),
    ("\\ISO 2022 IR 87", "Takenouchi", "Hanakoya", "竹之内^花子", "たけのうち^はなこ"),
    ("GB18030", "Ouyangzhi", "Xiaodongli", "欧阳志^小东", ""),
    ("\\ISO 2022 IR 149", "Namgungho", "Gildongsu", "南宮浩^吉東洙", "남궁호^길동수"),
    ("ISO_IR 100", "Großmüller", "Jürgenhard", "", ""),
    ("ISO_IR 100", "Lefrançois", "Hélénore", "", ""),
    ("ISO_IR 126", "Παπαδημητρόπουλος", "Διονύσιος", "", ""),
    ("ISO_IR 144", "Верещагинский", "Всеволод", "", ""),
    ("ISO_IR 127", "القبانينزار", "عبداللطيف", "", ""),
    ("ISO_IR 192", "Þorgrímsdóttir", "Ljósbjörg", "", ""),
)
DOCTORS = (
    "Hollingbrook^Sabrina",
    "Vantongeren^Willemijn",
    "Achterberghe^Cosimo",
    "Moutsopoulou^Irenea",
    "Dunleavygate^Ronan",
)
OPERATORS = ("Kettlewellish^Jo", "Brzezickowa^Ola", "Ferreirinhas^Titozzo")
HOSPITALS = (
    ("Saint Brigid Infirmary of Eastmere", "14 Lindenhofgasse, Eastmere EM4 7QT"),
    ("Nordhavn Kommunehospital", "Kastanjealleen 221, 9999 Nordhavn"),
    ("Policlinico Monteverdino", "Viale dei Glicinini 88, 00999 Monteverdino"),
)
STREETS = ("Larkspurfield Road", "Old Tannery Walk", "Quayside Crescentum", "Rue des Mirabelliers", "Birkenwaldweg")


@dataclass(frozen=True, slots=True)
class Person:
    """One made-up patient. `name` is a DICOM person name in `charset`; `plain` its letters in ASCII, if any."""

    index: int
    sex: str
    birth: datetime.date
    family: str
    given: str
    name: str
    charset: str
    patient_id: str
    issuer: str
    other_id: str
    address: str
    phone: str
    hospital: tuple[str, str]
    doctor: str
    operator: str
    serial: str
    station: str

    @property
    def plain(self) -> bool:
        return (self.family + self.given).isascii()


@dataclass(slots=True)
class Planted:
    """Every identifying string put anywhere, gathered while writing."""

    strings: set[str] = field(default_factory=set)
    dates: set[str] = field(default_factory=set)  # of studies: another patient's shifted date may equal one

    def add(self, *values: str) -> None:
        self.strings |= {v for v in values if len(v) >= (SHORTEST if v.isascii() else 2)}

    def add_date(self, date: datetime.date) -> None:
        self.dates |= {date.strftime("%Y%m%d"), date.strftime("%d.%m.%Y"), date.isoformat()}


def draw_person(rng: np.random.Generator, index: int, sex: str, birth: datetime.date) -> Person:
    """A person of this sex and birth date; about one in eight writes the name in another script."""
    family, given = str(rng.choice(FAMILIES)), str(rng.choice(WOMEN if sex == "F" else MEN))
    name, charset = f"{family}^{given}", "ISO_IR 100"
    if rng.random() < 0.13:
        charset, family, given, own, sound = SCRIPTS[int(rng.integers(len(SCRIPTS)))]
        name = "=".join(part for part in (f"{family}^{given}", own, sound) if part)
    elif rng.random() < 0.2:
        name = f"{family}^{given}^{rng.choice(list('ABEKMRST'))}^^"
    hospital = HOSPITALS[int(rng.integers(len(HOSPITALS)))]
    number = f"{index:04d}{rng.integers(10_000, 99_999)}"
    return Person(
        index=index,
        sex=sex,
        birth=birth,
        family=family,
        given=given,
        name=name,
        charset=charset,
        patient_id=f"MRN-{number}" if index % 4 == 1 else number,
        issuer="EASTMERE-PAS" if index % 3 == 0 else "",
        other_id=f"NHI{rng.integers(1_000_000, 9_999_999)}{index:04d}",
        address=f"{rng.integers(2, 399)} {rng.choice(STREETS)}, Eastmere",
        phone=f"+999-{rng.integers(200, 999)}-{rng.integers(1_000_000, 9_999_999)}",
        hospital=hospital,
        doctor=str(rng.choice(DOCTORS)),
        operator=str(rng.choice(OPERATORS)),
        serial=f"SN{rng.integers(10_000_000, 99_999_999)}",
        station=f"EASTMERE-RM{rng.integers(10, 99)}",
    )


def plant_person(planted: Planted, person: Person) -> None:
    """Note everything about a person that must not be found later."""
    planted.add(
        person.name,
        person.family,
        person.family.upper(),
        person.given,
        person.patient_id,
        person.patient_id.removeprefix("MRN-"),
    )
    for group in person.name.split("="):
        planted.add(group, group.replace("^", " ").strip(), *(c for c in group.split("^") if len(c) > 1))
    planted.add(person.issuer, NATIONAL, person.other_id, person.address, person.phone, *person.hospital)
    planted.add(person.serial, person.station, person.birth.strftime("%Y%m%d"), person.birth.strftime("%d.%m.%Y"))
    for name in (person.doctor, person.operator):
        planted.add(name, *name.split("^"), name.replace("^", " "))


def original_uid(person: Person, date: datetime.date, *parts: int) -> str:
    """A UID as scanners make them: it gives away the device's serial number and the date."""
    return ".".join([ROOT, person.serial[2:], date.strftime("%Y%m%d"), str(person.index + 1), *map(str, parts)])
