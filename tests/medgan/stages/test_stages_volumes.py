from pathlib import Path

import numpy as np
import pytest
import zarr
from dicom_series import ct_slice, film, write

from medgan.errors import SourceError
from medgan.stages.volumes import preprocess_volumes


def test_a_series_becomes_a_volume_of_cubes_in_hu(tmp_path: Path) -> None:
    feet_first = [ct_slice(i, ImagePositionPatient=[0, 0, -2.0 * i], PixelSpacing=[0.5, 0.5]) for i in range(10)]
    write(tmp_path / "src", [*feet_first, film("f", np.eye(8, dtype=np.uint8))])
    report = preprocess_volumes(tmp_path / "src", tmp_path / "dst", spacing_mm=1.0)
    assert report["films"] == 1 and not report["refused"]
    array = zarr.open_array(tmp_path / "dst" / "0000.zarr", mode="r")
    assert array.shape == (20, 8, 8) and array.dtype == np.int16
    assert array.attrs["spacing_mm"] == [1.0, 1.0, 1.0] and array.attrs["values"] == "HU"
    column = array[:, 4, 4]
    assert column[0] == 90 and column[-1] == 0 and (np.diff(column) <= 0).all()
    assert np.array(array.attrs["affine_lps"])[2, 3] == -18.5


def test_padding_holds_air_and_does_not_bleed(tmp_path: Path) -> None:
    slices = []
    for i in range(6):
        pixels = np.full((16, 16), 1024, "<i2")
        pixels[:, :8] = -2000
        one = ct_slice(i, PixelData=pixels.tobytes(), PixelRepresentation=1, BitsStored=16, HighBit=15)
        one.add_new("PixelPaddingValue", "SS", -2000)
        slices.append(one)
    write(tmp_path / "src", slices)
    preprocess_volumes(tmp_path / "src", tmp_path / "dst", spacing_mm=2.0)
    array = zarr.open_array(tmp_path / "dst" / "0000.zarr", mode="r")
    assert set(np.unique(array[:])) == {-1024, 0}


def test_a_folder_without_a_volume_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "src", [film("f", np.eye(8, dtype=np.uint8))])
    with pytest.raises(SourceError, match="no volume in 1 files; 1 films, refused: none"):
        preprocess_volumes(tmp_path / "src", tmp_path / "dst", spacing_mm=1.0)
