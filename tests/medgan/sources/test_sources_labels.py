"""Label tables, class folders, and images/ beside labels/."""

from __future__ import annotations

import pytest

from medgan.sources.labels import Hints, class_folders, companions, parse_table, table_names

TABLES = [
    (b"file,label,patient_id\na/x.png,nodule,7\n", "a/x.png", Hints("nodule", "7"), "ours"),
    ("\ufefffile;label\nx.png;Lungenentzündung\n".encode(), "sub/x.png", Hints("Lungenentzündung"), "semicolons, BOM"),
    (b"Image Index,Finding Labels,Patient ID\n1.png,No Finding,12\n", "1.png", Hints("No Finding", "12"), "NIH"),
    (b"image_id,patient_id,sex\nb34,p1,m\n", "images/b34.png", Hints(None, "p1", sex="m"), "by stem"),
    (b"file\tlabel\n.\\a\\x.png\tb\n", "a/x.png", Hints("b"), "tabs, windows paths"),
    (b"file,label\na/x.png,one\nb/x.png,two\n", "c/x.png", Hints(), "an ambiguous name says nothing"),
    (b"file,label\na/x.png,one\nb/x.png,two\n", "b/x.png", Hints("two"), "the whole path tells apart"),
    (b"file,label\nx.png,  many   words\there \n", "x.png", Hints("many words here"), "one line"),
]


@pytest.mark.parametrize(("data", "name", "expected"), [row[:3] for row in TABLES], ids=[row[3] for row in TABLES])
def test_a_table_is_understood_under_common_headers(data, name, expected):
    table = parse_table(data)
    assert table is not None
    assert table.find(name) == expected


@pytest.mark.parametrize("data", [b"", b"colour,size\n1,2\n", b"file,size\nx,2\n", bytes(range(256))])
def test_what_is_no_label_table_is_none(data):
    assert parse_table(data) is None


def test_paths_of_a_table_count_from_its_own_folder():
    table = parse_table(b"file,label\nx/1.png,a\n", "data/")
    assert table is not None
    assert table.find("data/x/1.png").label == "a"


def test_a_table_is_looked_for_at_the_top_and_one_folder_down():
    names = ["b/labels.csv", "b/c/labels.csv", "data.csv", "labels.csv", "b/x.png"]
    assert table_names(names) == ["labels.csv", "data.csv", "b/labels.csv"]


def test_folders_are_classes_when_they_are_few_and_full():
    pictures = [f"{kind}/{n}.png" for kind in ("CXR", "Hand") for n in range(3)]
    assert class_folders(pictures)["Hand/1.png"] == "Hand"
    assert class_folders([f"train/{name}" for name in pictures])["train/Hand/1.png"] == "Hand"


@pytest.mark.parametrize(
    "pictures",
    [["a/1.png", "b/1.png"], [f"a/{n}.png" for n in range(9)], [f"p{n % 40}/{n}.png" for n in range(400)], ["1.png"]],
    ids=["folders of one", "one folder", "as many folders as patients", "no folder"],
)
def test_other_folders_are_not_classes(pictures):
    assert class_folders(pictures) == {}


def test_only_what_lies_in_images_is_a_picture_where_there_is_such_a_folder():
    names = ["images/1.png", "lung_masks/1.png", "masked/1.png", "imagesTr/2.nii.gz", "labelsTr/2.nii.gz"]
    assert companions(names) == {"lung_masks/1.png", "masked/1.png", "labelsTr/2.nii.gz"}


def test_volumes_named_as_masks_are_companions():
    assert companions(["ct.nii.gz", "ct_seg.nii.gz", "mask.nii", "labelled.nii"]) == {"ct_seg.nii.gz", "mask.nii"}
