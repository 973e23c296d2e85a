"""The phantom's pictures obey anatomy and physics: sides, densities, posture, visibility, conservation of mass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medgan.phantom import anatomy, bones, lesions, radiograph, tomography, truth
from medgan.phantom.head import draw_head, scan_head
from medgan.phantom.vessels import vessels

KINDS = ("nodule", "opacity", "effusion")


def chest(seed: int, sex: str = "M", age: int = 50) -> tuple[anatomy.Body, bones.Cloud]:
    body = anatomy.draw_body(np.random.default_rng(seed), sex, age)
    return body, bones.join([bones.skeleton(body), vessels(body)])


def shot_of(body: anatomy.Body, view: str = "PA") -> radiograph.Shot:
    shot = radiograph.draw_shot(np.random.default_rng(1), body, view)
    return replace(shot, shift=(0.0, -6.0), turn=0.0)


def small(film: np.ndarray, side: int = 64) -> np.ndarray:
    return radiograph.shrink(film, side)


def test_lungs_are_darker_than_mediastinum_and_brighter_than_air() -> None:
    for seed in range(4):
        body, fine = chest(seed)
        film = radiograph.expose(body, fine, None, shot_of(body), 128)
        lung = np.median(film[50:70, 30:42])
        assert film[:4, :4].mean() < lung < film[50:70, 60:68].mean() - 0.2


def test_heart_points_to_the_right_edge_of_the_film() -> None:
    body, fine = chest(3)
    film = radiograph.expose(body, fine, None, shot_of(body), 128)
    band = film[72:84]
    assert band[:, 72:90].mean() > band[:, 38:56].mean() + 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_lesion_is_seen_at_64_pixels_inside_its_box_and_not_outside(kind: str) -> None:
    for seed in range(4):
        body, fine = chest(10 + seed, "FM"[seed % 2])
        shot = shot_of(body)
        lesion = lesions.draw_lesion(np.random.default_rng(seed), body, kind)
        assert lesion is not None
        ill, well = (small(radiograph.expose(body, fine, found, shot, 128)) for found in (lesion, None))
        box = truth.box_in_film(body, lesion, shot, 64)
        assert box is not None
        x0, y0, x1, y1 = box
        change = ill - well
        inside = change[y0:y1, x0:x1]
        assert inside.max() > 0.08
        assert inside.max() > 2 * np.abs(np.percentile(change[:, : x0 - 2] if x0 > 32 else change[:, x1 + 2 :], 99))


def test_bigger_body_has_less_dose_behind_it() -> None:
    body, _ = chest(5)
    shot = shot_of(body)
    thin, stout = (
        radiograph.soft_integral(replace(body, fat_mm=fat), None, shot, 64)[20:40, 25:39].mean() for fat in (6, 40)
    )
    assert stout > thin + 0.5


def test_heart_is_larger_on_a_bedside_film() -> None:
    body, _ = chest(6)
    near, far = (anatomy.heart(body, *grid) for grid in grids(body))
    assert near.sum() > 1.1 * far.sum()


def grids(body: anatomy.Body) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    found = []
    for view in ("AP", "PA"):
        shot = replace(shot_of(body, view), field_mm=400.0)
        y = np.linspace(-100, 100, 20, dtype=np.float32)
        lateral = np.linspace(-200, 200, 64, dtype=np.float32)[:, None] * radiograph.magnification(shot, y)[None]
        shadow = (lateral[None], y[None, None], -lateral[:, None])
        found.append(shadow)
    return found


def test_splat_conserves_mass_whatever_the_pixel_size() -> None:
    rng = np.random.default_rng(0)
    row, column = rng.uniform(5, 55, (2, 500)).astype(np.float32)
    weight = rng.uniform(0, 1, 500).astype(np.float32)
    assert radiograph.splat(row, column, weight, 64).sum() == pytest.approx(weight.sum(), rel=1e-4)


def test_bone_has_the_same_mass_on_film_and_in_ct() -> None:
    body, _ = chest(8)
    ball = bones.ball((0.0, 0.0, 0.0), 20.0)
    shot, scan = shot_of(body), tomography.draw_scan(np.random.default_rng(0), body)
    _, _, pixel_mm = radiograph.film_place(body, ball.places, shot, 256)
    on_film = radiograph.fine_integral(body, ball, shot, 256).sum() * float(np.mean(pixel_mm)) ** 2
    voxel = scan.pixel_mm**2 * scan.slice_mm
    in_ct = tomography.deposit(body, ball, scan).sum() * voxel
    assert on_film == pytest.approx(in_ct, rel=0.02)


def test_ct_has_the_right_hounsfield_units() -> None:
    body, _ = chest(9)
    scan = tomography.draw_scan(np.random.default_rng(0), body)
    volume = tomography.scan_chest(body, tomography.fine_structure(body), None, scan)
    lung = tomography.lungs_of(body, scan)
    assert volume.shape == lung.shape == (scan.slices, 128, 128)
    assert -870 < np.median(volume[lung]) < -620
    assert np.median(volume[:, 2:8, 2:8]) == pytest.approx(-1000, abs=15)
    x, y, z = tomography.axes(scan, body)
    heart = anatomy.heart(body, x, y, z) > 0.99
    assert 0 < np.median(volume[heart]) < 90
    assert 0.002 < (volume > 250).mean() < 0.05
    assert 1.2e6 < lung.sum() * scan.pixel_mm**2 * scan.slice_mm < 9e6  # mm^3: 1.2 to 9 litres


def test_fluid_lies_at_the_back_in_ct_and_at_the_base_on_film() -> None:
    body, _ = chest(12)
    lesion = lesions.draw_lesion(np.random.default_rng(3), body, "effusion")
    assert lesion is not None
    up = truth.lesion_points(body, lesion, supine=False)
    lying = truth.lesion_points(body, lesion, supine=True)
    assert lying[:, 1].min() > 20 and lying[:, 2].max() > up[:, 2].max()
    assert np.median(up[:, 2]) < body.dome_mm + 30
    assert (np.sign(up[:, 0]) == lesion.side).mean() > 0.98


def test_normal_chest_has_no_lesion() -> None:
    body, _ = chest(1)
    assert lesions.draw_lesion(np.random.default_rng(0), body, "normal") is None


def test_squircle_stays_outside_far_away() -> None:
    far = np.asarray([3.0, 30.0, 300.0])
    assert (anatomy.squircle(far, far, 0.55) > 1).all()


def test_head_has_bright_white_matter_dark_ventricles_and_rician_air() -> None:
    head = draw_head(np.random.default_rng(2), "F", 60)
    volume = scan_head(head)
    middle = volume[np.argmin(np.abs(head.origin_mm[2] + np.arange(head.slices) * head.slice_mm - 20))]
    assert middle.dtype == np.uint16 and middle.shape == (128, 128)
    assert 0 < middle[:8, :8].mean() < 150
    assert middle[45:90, 45:83].max() > 2.5 * middle[45:90, 45:83].min()


def test_same_seed_gives_the_same_film_and_another_does_not() -> None:
    films = []
    for seed in (1, 1, 2):
        body, fine = chest(seed)
        films.append(radiograph.expose(body, fine, None, shot_of(body), 64))
    assert (films[0] == films[1]).all() and not (films[0] == films[2]).all()
