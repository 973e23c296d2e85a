"""What is pushed here is never lost: it lies in the inbox, then in a study, or it is set aside with its reason."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from factories import dicom, dicom_bytes
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage

from medgan import digest
from medgan.errors import HomeError, SourceError, UsageError
from medgan.home import Home
from medgan.recipes import IngestRecipe
from medgan.records import Intake
from medgan.sources.inbox import Inbox
from medgan.stages import quarantine
from medgan.stages.desk import ASIDE
from medgan.stages.ingest import ingest, pending
from medgan.stages.receive import open_reception
from medgan.stages.status import oldest_unprocessed_seconds
from medgan.stages.withdraw import withdraw


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def send(home: Home, datasets: Iterable[Dataset], sender: str = "SCANNER") -> list[int]:
    """Push over the network to a reception of this home; returns the status of each."""
    reception = open_reception(
        home, allowed=["SCANNER", "OTHER"], port=0, host="127.0.0.1", ae_title="MEDGAN", tls=False
    )
    reception.start()
    try:
        client = AE(ae_title=sender)
        client.add_requested_context(CTImageStorage)
        link = client.associate("127.0.0.1", reception.port, ae_title="MEDGAN")
        assert link.is_established
        found = [link.send_c_store(dataset).Status for dataset in datasets]
        link.release()
        return found
    finally:
        reception.stop()


def study(*images: str, patient: str = "P1", **more: object) -> list[Dataset]:
    return [dicom(image, PatientID=patient, **more) for image in images]


def take(home: Home, **recipe: float) -> Intake:
    return ingest(Inbox(home.inbox), IngestRecipe(**{"stability_s": 0, **recipe}), home)


def counts(intake: Intake) -> dict[str, int]:
    return {state: n for state, n in intake.states.items() if n}


def test_what_was_pushed_becomes_a_study_and_leaves_the_inbox(home: Home) -> None:
    assert send(home, study("1.2.3.1", "1.2.3.2")) == [0, 0]
    assert oldest_unprocessed_seconds(home) > 0
    assert counts(take(home)) == {"received": 2, "ingested": 2}
    (found,) = pending(home)
    files = sorted((home.identified.store.path(found.digest) / "instances").iterdir())
    assert sorted(dcmread(file).SOPInstanceUID for file in files) == ["1.2.3.1", "1.2.3.2"]
    assert Inbox(home.inbox).files() == [] and counts(take(home)) == {}


def test_a_study_that_is_still_arriving_waits_whole(home: Home) -> None:
    send(home, study("1.2.3.1"))
    intake = take(home, stability_s=60)
    assert (counts(intake), intake.waiting) == ({}, 1)
    send(home, study("1.2.3.2"))
    assert take(home, stability_s=60).waiting == 1 and pending(home) == []
    assert counts(take(home)) == {"received": 2, "ingested": 2}
    assert [s.n_instances for s in pending(home)] == [2]


def test_what_is_pushed_late_opens_a_new_version(home: Home) -> None:
    for image in ("1.2.3.1", "1.2.3.2"):
        send(home, study(image))
        take(home)
    assert [s.n_instances for s in pending(home)] == [2]


def test_pushed_again_it_is_nothing_new(home: Home) -> None:
    for _ in range(2):
        send(home, study("1.2.3.1"))
        intake = take(home)
    assert counts(intake) == {"unchanged": 1} and Inbox(home.inbox).files() == []


def test_pushed_again_with_another_content_it_is_a_correction(home: Home) -> None:
    send(home, study("1.2.3.1", "1.2.3.2"))
    take(home)
    send(home, study("1.2.3.1", PixelData=bytes(96)))
    assert take(home).superseded == 1
    assert home.identified_ledger.input_states() == {"ingested": 2, "superseded": 1}


def test_another_sender_that_disagrees_is_a_conflict_and_its_bytes_are_kept(home: Home) -> None:
    send(home, study("1.2.3.1"))
    take(home)
    send(home, study("1.2.3.1", PixelData=bytes(96)), sender="OTHER")
    assert counts(take(home)) == {"received": 1, "conflict": 1}
    (entry,) = home.identified_ledger.entries(ASIDE)
    kept = dcmread(io.BytesIO((home.identified.store.path(entry.digest) / "input").read_bytes()))
    assert kept.PixelData == bytes(96) and Inbox(home.inbox).files() == []
    assert entry.digest in home.identified_ledger.artefacts_of(digest.patient_key(home.pseudonym_key, "P1", ""))


def test_what_cannot_be_used_is_set_aside_and_can_be_tried_again(home: Home) -> None:
    broken = dicom("1.2.3.9", Rows=9)  # more rows than there are pixels for
    send(home, [*study("1.2.3.1"), broken])
    assert counts(take(home)) == {"received": 2, "ingested": 1, "quarantined": 1}
    (row,) = home.identified_ledger.inputs(state="quarantined")
    assert quarantine.find(home, "inconsistent_length")[0]["key"] == row.sha256
    quarantine.retry(home, row.sha256[:12])
    assert len(Inbox(home.inbox).files()) == 1 and home.identified_ledger.entries(ASIDE) == []
    assert counts(take(home)) == {"unchanged": 1}  # tried again, with the same end, and set aside again
    assert len(home.identified_ledger.entries(ASIDE)) == 1
    quarantine.drop(home, row.sha256)
    assert home.identified_ledger.entries(ASIDE) == [] and home.identified_ledger.input_states()["quarantined"] == 1


def test_killed_between_the_record_and_the_inbox_nothing_comes_twice(home: Home) -> None:
    send(home, study("1.2.3.1"))
    (pushed,) = Inbox(home.inbox).files()
    data = pushed.path.read_bytes()
    take(home)
    pushed.path.write_bytes(data)  # as if the kill had come before it was removed
    assert counts(take(home)) == {"unchanged": 1} and Inbox(home.inbox).files() == []


def test_without_room_nothing_is_accepted_and_nothing_taken_in(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    send(home, study("1.2.3.1"))
    monkeypatch.setenv("MEDGAN_RESERVE_GIB", "1e9")
    assert send(home, study("1.2.3.2")) == [0xA700]
    with pytest.raises(HomeError, match="less room than its reserve"):
        take(home)
    monkeypatch.delenv("MEDGAN_RESERVE_GIB")
    assert counts(take(home)) == {"received": 1, "ingested": 1}


def test_the_inbox_names_nobody(home: Home) -> None:
    send(home, study("1.2.3.1"))
    names = [path.relative_to(home.inbox).as_posix() for path in home.inbox.rglob("*")]
    assert not [name for name in names if "SCANNER" in name or "1.2.3" in name or "P1" in name]
    assert home.inbox.stat().st_mode & 0o077 == 0


def test_an_opted_out_patient_is_refused_and_not_kept(home: Home) -> None:
    (home.root / "identified" / "opt-out.csv").write_text("patient_id\nP1\n")
    send(home, [*study("1.2.3.1"), *study("1.3.1", patient="P2", StudyInstanceUID="1.3")])
    assert counts(take(home)) == {"received": 2, "ingested": 1, "refused": 1}
    assert Inbox(home.inbox).files() == [] and home.identified_ledger.entries(ASIDE) == []


def test_a_certificate_that_nobody_named_is_asked_for(home: Home) -> None:
    with pytest.raises(UsageError, match="connections.json"):
        open_reception(home, allowed=["A"], port=1, host="127.0.0.1", ae_title="M", tls=True)


def test_the_age_of_what_waits_is_that_of_the_oldest(home: Home) -> None:
    assert oldest_unprocessed_seconds(home) == 0
    folder = home.inbox / "sender"
    folder.mkdir(parents=True)
    (folder / "x.dcm").write_bytes(dicom_bytes())
    before = time.time() - (folder / "x.dcm").stat().st_mtime
    assert before <= oldest_unprocessed_seconds(home) <= before + 60


def test_what_waits_of_a_withdrawn_patient_leaves_the_inbox(home: Home) -> None:
    send(home, [*study("1.2.3.1", IssuerOfPatientID="WEST"), *study("1.3.1", patient="P2", StudyInstanceUID="1.3")])
    assert withdraw(["P1"], home).deleted["inbox"] == 1 and withdraw(["P1"], home).deleted["inbox"] == 0
    assert counts(take(home)) == {"received": 1, "ingested": 1}


def test_a_pushed_file_that_cannot_be_used_leaves_with_its_patient(home: Home) -> None:
    send(home, [dicom("1.2.3.9", Rows=9), *study("1.3.1", patient="P2", StudyInstanceUID="1.3")])
    take(home)
    assert len(home.identified_ledger.entries(ASIDE)) == 1
    assert withdraw(["P1"], home).deleted["aside"] == 1
    held = [file.read_bytes() for file in home.identified.store.root.rglob("*") if file.is_file()]
    assert home.identified_ledger.entries(ASIDE) == [] and not [data for data in held if b"P1 " in data]
    send(home, [dicom("1.2.3.9", Rows=9)])
    assert withdraw(["P1"], home).deleted["inbox"] == 1


def test_what_was_in_conflict_is_judged_again_when_the_other_side_goes(home: Home) -> None:
    send(home, study("1.2.3.1"))
    take(home)
    send(home, study("1.2.3.1", PixelData=bytes(96)), sender="OTHER")
    take(home)
    (live,) = home.identified_ledger.inputs(state="ingested")
    home.identified_ledger.reconsider(instance_key=live.instance_key or "", state="conflict")
    home.identified_ledger.settle([replace(live, state="superseded", stamp="gone")])
    assert counts(take(home)) == {"received": 1, "ingested": 1}
    assert home.identified_ledger.entries(ASIDE) == []


def test_what_other_limits_set_aside_is_tried_again_with_new_ones(home: Home) -> None:
    send(home, [*study("1.2.3.1"), *study("1.2.3.2", ImageComments="x" * 2000)])
    assert counts(take(home, max_bytes=2000)) == {"received": 2, "ingested": 1, "quarantined": 1}
    assert counts(take(home)) == {"received": 1, "ingested": 1} and home.identified_ledger.entries(ASIDE) == []


def test_the_last_that_was_pushed_before_an_intake_is_what_its_sender_says(home: Home) -> None:
    first, other = study("1.2.3.1"), study("1.2.3.1", PixelData=bytes(96))
    for datasets in (first, other, first):
        send(home, datasets)
        time.sleep(0.02)
    take(home)
    (live,) = pending(home)
    (file,) = (home.identified.store.path(live.digest) / "instances").iterdir()
    assert dcmread(file).PixelData == first[0].PixelData


def test_two_senders_of_the_same_broken_bytes_have_theirs_set_aside_each(home: Home) -> None:
    for sender in ("SCANNER", "OTHER"):
        send(home, [dicom("1.2.3.9", Rows=9)], sender=sender)
    with pytest.raises(SourceError):
        take(home)
    assert len(home.identified_ledger.entries(ASIDE)) == 2
    quarantine.retry(home, "inconsistent_length")
    assert len(Inbox(home.inbox).files()) == 2
