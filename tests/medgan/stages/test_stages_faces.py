"""A profile that removes faces, from the bytes of a head CT to the audit."""

import io

import heads
import numpy as np
from heads import AXIAL
from pydicom import dcmread
from pydicom.filewriter import dcmwrite

from medgan.deid.draft import open_draft
from medgan.deid.profiles import own_profile
from medgan.stages.gate_one import prepare, settle

KEY = b"k" * 32
FACELESS = {"name": "faceless", "options": ["clean_pixel_data", "clean_recognizable_visual_features"]}


def test_a_head_leaves_without_its_face_and_says_so() -> None:
    stored = heads.stored_ct(heads.scan(heads.tissue(heads.draw_face(3), AXIAL.points()), heads.HU, 15))
    files = {str(n): written(one) for n, one in enumerate(heads.series(stored, AXIAL))}
    draft = open_draft(files, "ab" * 16)
    applied = own_profile.parse(FACELESS)
    prepare([draft], applied, 1024)
    result, told = settle(draft, applied, KEY, 1825)
    assert not draft.refused() and len(result.files) == len(files) == told["faceless"]
    changed = 0
    for uid, data in result.files.items():
        ds = dcmread(io.BytesIO(data))
        codes = [item.CodeValue for item in ds.DeidentificationMethodCodeSequence]
        assert "113102" in codes and ds.RecognizableVisualFeatures == "NO"
        before = dcmread(io.BytesIO(files[result.origins[uid]]))
        changed += int(np.any(ds.pixel_array != before.pixel_array))
    assert changed > len(files) // 4


def written(picture: heads.Picture) -> bytes:
    out = io.BytesIO()
    dcmwrite(out, picture.ds, enforce_file_format=True)
    return out.getvalue()
