"""C-MOVE from a real Orthanc into a home, against pynetdicom with a handler that only counts.

    ./run bench dimse_move [--studies 20] [--images 100] [--side 512] [--rounds 3]

"bare" moves the same studies one after the other to pynetdicom's own storage SCP, which answers success and keeps
nothing. "medgan" is the whole intake, ledger included. Then the same for C-GET.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelGet
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as Move

from benchmarks.dicomweb_pull import compare, fill, intake, timed
from medgan.recipes import IngestRecipe
from tests.orthanc_server import DICOM_PORT, MOVE_PORT, Orthanc, orthanc, unavailable


def bare(archive: Orthanc, images: int, retrieve: str) -> None:
    came = [0]

    def count(_: evt.Event) -> int:
        came[0] += 1
        return 0x0000

    uids = [row["0020000D"]["Value"][0] for row in archive.get("/dicom-web/studies")]
    ae, on = AE("MEDGAN"), [(evt.EVT_C_STORE, count)]
    ae.add_supported_context(CTImageStorage)
    ae.add_requested_context(Move if retrieve == "move" else StudyRootQueryRetrieveInformationModelGet)
    roles = []
    if retrieve == "get":
        ae.add_requested_context(CTImageStorage)
        roles = [build_role(CTImageStorage, scp_role=True)]
    listener = ae.start_server(("127.0.0.1", MOVE_PORT), block=False, evt_handlers=on)
    link = ae.associate("127.0.0.1", DICOM_PORT, ae_title="ORTHANC", ext_neg=roles, evt_handlers=on)
    assert link.is_established
    for uid in uids:
        wanted = Dataset()
        wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", uid
        model = ae.requested_contexts[0].abstract_syntax
        asked = link.send_c_move(wanted, "MEDGAN", model) if retrieve == "move" else link.send_c_get(wanted, model)
        assert [status.Status for status, _ in asked][-1] == 0x0000
    link.release()
    listener.shutdown()
    assert came[0] == images, came


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("studies", 20), ("images", 100), ("side", 512), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    if why := unavailable():
        raise SystemExit(why)
    total = asked.studies * asked.images
    with tempfile.TemporaryDirectory() as folder, orthanc(Path(folder)) as archive:
        fill(archive, asked.studies, asked.images, asked.side)
        ground = Path(folder) / "kept"
        ground.mkdir()
        for retrieve in ("move", "get"):
            print(
                f"C-{retrieve.upper()}, {total} images of {asked.side} x {asked.side}, medians of {asked.rounds} rounds"
            )
            address = f"{archive.dimse}?retrieve={retrieve}"
            recipe = IngestRecipe(stability_s=0)
            calls = {
                "medgan": (total, lambda: intake(address, total, recipe, ground)),  # noqa: B023
                "bare pynetdicom": (total, lambda: timed(lambda: bare(archive, total, retrieve))),  # noqa: B023
            }
            rates = compare(calls, asked.rounds)
            print(f"medgan / bare pynetdicom:  {rates['medgan'] / rates['bare pynetdicom']:.2f}   (goal: 0.9 or more)")


if __name__ == "__main__":
    main()
