"""Croissant metadata: what the files of a bundle are, for programs that load datasets by description.

https://docs.mlcommons.org/croissant/docs/croissant-spec.html, version 1.0
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medgan import digest as digests
from medgan.bundle import words
from medgan.bundle.report import Facts

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
MEDIA = {"png": "image/png", "dicom": "application/dicom", "nifti": "application/gzip"}
ENDINGS = {"png": "*.png", "dicom": "*.dcm", "nifti": "*.nii.gz"}


def croissant(data: Path, facts: Facts, *, cohort: str) -> bytes:
    """croissant.json of the bundle whose data folder is `data`: labels.csv and a file set for each format."""
    distribution = [_file_set(kind) for kind in MEDIA if (data / kind).is_dir()]
    records = []
    if (labels := data / "labels.csv").is_file():
        distribution.insert(0, _labels(labels))
        records.append(_records())
    count = words.number(words.figure(facts.card, "counts", "synthetic"), 0)
    described: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": f"synthetic-{facts.group}",
        "description": f"{count} synthetic {words.modality(facts.group)}; nobody in them exists. Not for clinical use.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "version": f"1.0.0+{cohort[:12]}",
        "license": facts.about["licence"],
        "isLiveDataset": False,
        "rai:dataUseCases": facts.about["intended_use"],
        "rai:dataLimitations": "Not for diagnosis or treatment. No attempt may be made to find out who a patient was.",
        "rai:dataCollection": "Sampled from a generator that learned from de-identified images.",
        "distribution": distribution,
        "recordSet": records,
    }
    return digests.canonical(described) + b"\n"


def _labels(path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": "labels.csv",
        "name": "labels.csv",
        "description": "The class of each file.",
        "contentUrl": "data/labels.csv",
        "encodingFormat": "text/csv",
        "sha256": digests.sha256_file(path),
    }


def _file_set(kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": kind,
        "name": kind,
        "description": f"The pictures as {kind}.",
        "encodingFormat": MEDIA[kind],
        "includes": f"data/{kind}/{ENDINGS[kind]}",
    }


def _records() -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"pictures/{column}",
            "name": column,
            "description": text,
            "dataType": "sc:Text",
            "source": {"fileObject": {"@id": "labels.csv"}, "extract": {"column": column}},
        }
        for column, text in (("file", "Path below data/."), ("label", "Class of the picture."))
    ]
    return {"@type": "cr:RecordSet", "@id": "pictures", "name": "pictures", "field": fields}
