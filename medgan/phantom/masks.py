"""The true lungs of a CT as a DICOM Segmentation, the same bytes every time."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from medgan.phantom.encode import meta


def write_lungs(path: Path, slices: list[Dataset], lungs: npt.NDArray[np.bool_]) -> None:
    """Write `lungs`, bool [S, R, C], as a SEG that refers to the CT `slices`, sorted alike."""
    import highdicom as hd  # slow to import, and few phantoms have a CT
    from pydicom.sr.codedict import codes

    series = f"{slices[0].SeriesInstanceUID}.800"  # above any instance number
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        description = hd.seg.SegmentDescription(
            segment_number=1,
            segment_label="Lungs",
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Lung,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                name="known anatomy", family=codes.DCM.ArtificialIntelligence, version="1"
            ),
        )
        seg = hd.seg.Segmentation(
            source_images=slices,
            pixel_array=lungs.astype(np.uint8),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[description],
            series_instance_uid=series,
            series_number=800,
            sop_instance_uid=f"{series}.1",
            instance_number=1,
            manufacturer="Phantom Works",
            manufacturer_model_name="Parametric truth",
            software_versions="1.0",
            device_serial_number="0",
            content_label="LUNGS",
            omit_empty_frames=False,
        )
        settle(seg, slices[0])
        seg.file_meta = meta(seg, ExplicitVRLittleEndian, "")
        seg.preamble = b"\0" * 128
        path.parent.mkdir(parents=True, exist_ok=True)
        dcmwrite(path, seg, enforce_file_format=True)


def settle(seg: Dataset, source: Dataset) -> None:
    """Replace what highdicom takes from the clock and from chance by the source's own."""
    for keyword in ("SeriesDate", "ContentDate", "InstanceCreationDate"):
        setattr(seg, keyword, source.StudyDate)
    for keyword in ("SeriesTime", "ContentTime", "InstanceCreationTime"):
        setattr(seg, keyword, source.StudyTime)
    if "ContributingEquipmentSequence" in seg:
        del seg.ContributingEquipmentSequence  # it names this moment
    dimension = f"{seg.SOPInstanceUID}.1"
    for organization in seg.get("DimensionOrganizationSequence", []):
        organization.DimensionOrganizationUID = dimension
    for index in seg.get("DimensionIndexSequence", []):
        if "DimensionOrganizationUID" in index:
            index.DimensionOrganizationUID = dimension
