"""What happens to a source over time, as scripts: corrections, deletions, merges, withdrawals, rebuilt archives.

The language is that of archive_cases.py; every script is played against a real archive.
"""

from __future__ import annotations

import pytest
from archive_cases import Stage
from orthanc_server import orthanc, unavailable

from medgan.home import Home

CASES = {
    "a study is taken in once": "put 1a 1b; ingest; states ingested=2; is 1 = a b",
    "an empty archive is no error": "ingest; states",
    "a late image opens a new version": "put 1a; ingest; put 1b; ingest; states ingested=2; is 1 = a b",
    "a late study leaves the others alone": "put 1a; ingest; put 2a; ingest; states ingested=2; is 1 = a; is 2 = a",
    "a corrected image takes the place of the old one": (
        "put 1a 1b; ingest; put 1a*; ingest; is 1 = a* b; states ingested=2 superseded=1"
    ),
    "a correction can be taken back": (
        "put 1a 1b; ingest; put 1a*; ingest; put 1a; ingest; is 1 = a b; states ingested=2 superseded=1"
    ),
    "a correction can be corrected": (
        "put 1a; ingest; put 1a*; ingest; put 1a**; ingest; is 1 = a**; states ingested=1 superseded=2"
    ),
    "a correction that is sent again is nothing new": (
        "put 1a; ingest; put 1a*; ingest; put 1a*; ingest; is 1 = a*; states ingested=1 superseded=1"
    ),
    "every image corrected at once": (
        "put 1a 1b 1c; ingest; put 1a* 1b* 1c*; ingest; is 1 = a* b* c*; states ingested=3 superseded=3"
    ),
    "a deleted image leaves its study": (
        "put 1a 1b; ingest; drop 1a; ingest; is 1 = b; states ingested=1 superseded=1"
    ),
    "a deleted study leaves": "put 1a 1b 2a; ingest; drop 1; ingest; is 1 =; is 2 = a; states ingested=1 superseded=2",
    "a deleted study can come back": (
        "put 1a 1b; ingest; drop 1; ingest; is 1 =; put 1a 1b; ingest; is 1 = a b; states ingested=2"
    ),
    "a deleted study can come back changed": (
        "put 1a 1b; ingest; drop 1; ingest; put 1a* 1b; ingest; is 1 = a* b; states ingested=2 superseded=1"
    ),
    "a deleted image can come back": (
        "put 1a 1b; ingest; drop 1a; ingest; put 1a; ingest; is 1 = a b; states ingested=2"
    ),
    "the last image deleted is the study deleted": "put 1a; ingest; drop 1a; ingest; is 1 =; states superseded=1",
    "deleted and corrected between two polls": (
        "put 1a 1b 1c; ingest; drop 1a; put 1b*; ingest; is 1 = b* c; states ingested=2 superseded=2"
    ),
    "deleted and stored again between two polls is nothing new": (
        "put 1a 1b; ingest; drop 1; put 1a 1b; ingest; is 1 = a b; states ingested=2"
    ),
    "a study that was moved to another patient at the archive": (
        "put 1a 1b; ingest; drop 1; put 1a@P9 1b@P9; ingest; of 1 = P9; is 1 = a b; states ingested=2 superseded=2"
    ),
    "an image that was moved to another study": (
        "put 1a 1b 2a; ingest; drop 1; put 2b; ingest; is 1 =; is 2 = a b; states ingested=2 superseded=2"
    ),
    "a rebuilt archive brings nothing new": (
        "put 1a 1b 2a; ingest; rebuild; ingest; is 1 = a b; is 2 = a; states ingested=3"
    ),
    "a rebuilt archive that lost a study": (
        "put 1a 2a 3a; ingest; drop 2; rebuild; ingest; is 2 =; is 3 = a; states ingested=2 superseded=1"
    ),
    "an archive that lost everything deletes nothing": (
        "recipe max_gone=0.1; put 1a 2a; ingest; lose; refuses gone at once; ingest; is 1 = a; states ingested=2"
    ),
    "an archive that lost everything and found it again": (
        "recipe max_gone=0.1; put 1a 2a; ingest; lose; refuses gone at once; ingest; rebuild; ingest; is 1 = a; "
        "is 2 = a; states ingested=2"
    ),
    "a few deletions are believed": (
        "recipe max_gone=0.1; put 1a 2a 3a; ingest; drop 1; ingest; is 1 =; states ingested=2 superseded=1"
    ),
    "the same image in a folder is a duplicate": (
        "put 1a; folder 1a; ingest; ingest folder; is 1 = a; states ingested=1 duplicate=1"
    ),
    "another content in a folder is a conflict": (
        "put 1a; folder 1a*; ingest; ingest folder; is 1 = a; states ingested=1 conflict=1"
    ),
    "a late image may come from elsewhere": ("put 1a; folder 1b; ingest; ingest folder; is 1 = a b; states ingested=2"),
    "what an archive deletes stays when a folder has the same": (
        "put 1a; folder 1a; ingest; ingest folder; drop 1; ingest; is 1 = a; states ingested=1 superseded=1"
    ),
    "what disagreed with a deleted image is believed then": (
        "put 1a; folder 1a*; ingest; ingest folder; drop 1; ingest; is 1 =; ingest folder; is 1 = a*; "
        "states ingested=1 superseded=1"
    ),
    "old copies of a corrected image are overtaken too": (
        "put 1a; folder 1a; ingest; ingest folder; put 1a*; ingest; is 1 = a*; states ingested=1 superseded=2; "
        "ingest folder; is 1 = a*; states ingested=1 superseded=2"
    ),
    "who disagreed and was right is a duplicate after the correction": (
        "put 1a; folder 1a*; ingest; ingest folder; put 1a*; ingest; states ingested=1 duplicate=1 superseded=1"
    ),
    "a copy that was overtaken counts again when the correction is taken back": (
        "put 1a; folder 1a; ingest; ingest folder; put 1a*; ingest; put 1a; ingest; states ingested=1 duplicate=1 "
        "superseded=1; drop 1; ingest; is 1 = a; states ingested=1 superseded=2"
    ),
    "what came back to its place is there when the heir goes": (
        "put 1a; folder 1a; ingest; ingest folder; drop 1; ingest; put 1a; ingest; is 1 = a; "
        "states ingested=1 duplicate=1"
    ),
    "what disagreed and is deleted is overtaken": (
        "folder 1a; put 1a*; ingest folder; ingest; states ingested=1 conflict=1; drop 1; ingest; is 1 = a; "
        "states ingested=1 superseded=1"
    ),
    "a deleted image does not count again by a correction elsewhere": (
        "put 1a 1b; folder 1a*; ingest; ingest folder; drop 1a; ingest; ingest folder; is 1 = a* b; "
        "folder 1a; ingest folder; is 1 = a b; states ingested=2 superseded=2"
    ),
    "a corrected file of a folder": (
        "folder 1a 1b; ingest folder; folder 1a*; ingest folder; is 1 = a* b; states ingested=2 superseded=1"
    ),
    "half a study of another patient is a conflict": (
        "folder 1a 1b; ingest folder; folder 1a@P9; ingest folder; of 1 = P1; is 1 = a b; states ingested=2 conflict=1"
    ),
    "when the rest of the study follows it changes hands": (
        "folder 1a 1b; ingest folder; folder 1a@P9; ingest folder; folder 1b@P9; twice; ingest folder; of 1 = P9; "
        "states ingested=2 superseded=2"
    ),
    "a study from two places changes hands when both say so": (
        "put 1a; folder 1b; ingest; ingest folder; drop 1; put 1a@P9; folder 1b@P9; ingest folder; twice; ingest; "
        "of 1 = P9; ingest folder; of 1 = P9; is 1 = a b"
    ),
    "a whole study of another patient changes hands": (
        "folder 1a 1b; ingest folder; folder 1a@P9 1b@P9; ingest folder; of 1 = P9; states ingested=2 superseded=2"
    ),
    "a file that vanished from a folder was delivered all the same": (
        "folder 1a 1b; ingest folder; clear 1a; ingest folder; is 1 = a b; states ingested=2"
    ),
    "a broken file that was mended": (
        "folder 1a; spoil 1b; ingest folder; is 1 = a; states ingested=1 quarantined=1; folder 1b; ingest folder; "
        "is 1 = a b; states ingested=2 quarantined=1"
    ),
    "a good file that was broken later stays as it was": (
        "folder 1a 1b; ingest folder; spoil 1a; ingest folder; is 1 = a b; states ingested=2 quarantined=1"
    ),
    "who opted out is refused": "optout P1; put 1a 2a; ingest; is 1 =; states ingested=1 refused=1",
    "who opts out later is withdrawn": (
        "put 1a 2a; ingest; optout P1; ingest; is 1 =; is 2 = a; states ingested=1 withdrawn=1"
    ),
    "who opted out and has a late image": (
        "put 1a; ingest; optout P1; ingest; put 1b; ingest; is 1 =; states withdrawn=1 refused=1"
    ),
    "who opted out and in again": "optout P1; put 1a 2a; ingest; optin; ingest; is 1 = a; states ingested=2",
    "who was withdrawn by a list and is allowed again": (
        "put 1a 2a; ingest; optout P1; ingest; is 1 =; optin; ingest; is 1 = a; states ingested=2"
    ),
    "without consent nobody enters": "consent P2; put 1a 2a; ingest; is 1 =; is 2 = a; states ingested=1 refused=1",
    "consent that comes later": ("consent P2; put 1a 2a; ingest; consent P1 P2; ingest; is 1 = a; states ingested=2"),
    "consent that is taken back": (
        "consent P1 P2; put 1a 2a; ingest; consent P2; ingest; is 1 =; is 2 = a; states ingested=1 withdrawn=1"
    ),
    "a consent list that is done away with": (
        "consent P2; put 1a 2a; ingest; noconsent; ingest; is 1 = a; states ingested=2"
    ),
    "who is withdrawn does not come back": (
        "put 1a 2a; ingest; withdraw P1; is 1 =; ingest; put 1a*; ingest; is 1 =; "
        "states ingested=1 withdrawn=1 refused=1"
    ),
    "who is withdrawn has a late image": (
        "put 1a; ingest; withdraw P1; put 1b; ingest; is 1 =; states withdrawn=1 refused=1"
    ),
    "who is withdrawn comes from elsewhere": (
        "put 1a; folder 1a; ingest; withdraw P1; ingest folder; is 1 =; states withdrawn=1 refused=1"
    ),
    "no list brings back who was withdrawn": (
        "put 1a; ingest; withdraw P1; optout P1; ingest; optin; ingest; is 1 =; states withdrawn=1"
    ),
    "a late image under the name a patient had before": (
        "put 1a; ingest; merge P9 P1; folder 1b@P9; ingest folder; is 1 = a b; states ingested=2"
    ),
    "without the merge it is a conflict": (
        "put 1a; ingest; folder 1b@P9; ingest folder; is 1 = a; states ingested=1 conflict=1"
    ),
    "a merge settles a conflict that there was": (
        "put 1a; ingest; folder 1b@P9; ingest folder; merge P9 P1; retry conflict; ingest folder; is 1 = a b; "
        "states ingested=2"
    ),
    "who was in conflict with a study of somebody who left takes its place": (
        "put 1a; ingest; folder 1b@P9; ingest folder; withdraw P1; ingest folder; is 1 = b; of 1 = P9; "
        "states ingested=1 withdrawn=1"
    ),
    "who was merged opts out under both names": (
        "put 1a 2a; ingest; merge P2 P1; optout P2; ingest; is 1 =; is 2 =; states withdrawn=2"
    ),
    "who was merged is withdrawn under both names": (
        "put 1a 2a 3a; ingest; merge P2 P1; ingest; withdraw P1; is 1 =; is 2 =; is 3 = a; "
        "states ingested=1 withdrawn=2"
    ),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory):
    if why := unavailable():
        pytest.skip(why)
    with orthanc(tmp_path_factory.mktemp("orthanc"), OverwriteInstances=True) as running:
        yield running


@pytest.mark.parametrize("script", CASES.values(), ids=CASES.keys())
def test_a_case(script, archive, tmp_path):
    home = Home.create(tmp_path / "home")
    stage = Stage(archive, archive.dicomweb, home, tmp_path / "folder")
    try:
        stage.play(script)
    finally:
        stage.play("lose")


BOTH = (
    "a study is taken in once",
    "a late image opens a new version",
    "a corrected image takes the place of the old one",
    "a deleted image leaves its study",
    "a deleted study can come back",
    "a rebuilt archive that lost a study",
    "who opts out later is withdrawn",
)


@pytest.mark.parametrize("retrieve", ["get", "move"])
@pytest.mark.parametrize("case", BOTH)
def test_the_same_over_dimse(case, retrieve, archive, tmp_path):
    stage = Stage(archive, f"{archive.dimse}?retrieve={retrieve}", Home.create(tmp_path / "home"), tmp_path / "folder")
    try:
        # C-FIND tells nothing of an image that was rewritten under its own UID
        stage.play(f"recipe refetch_s={0.001 if 'corrected' in case else 0}; {CASES[case]}")
    finally:
        stage.play("lose")
