"""What scanners and archives pushed here, waiting to be taken in: INBOX/SENDER/SHA256.dcm, written by reception.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pushed:
    """One file of the inbox: the only copy that anyone may have."""

    sender: str  # keyed hash of the calling AE title
    path: Path
    at: float  # when it arrived, seconds since the epoch


@dataclass(frozen=True, slots=True)
class Inbox:
    """The folder that reception.py writes; files appear in it whole."""

    folder: Path

    def files(self) -> list[Pushed]:
        """Everything that waits, a sender's files together, the oldest first."""
        found = []
        for path in self.folder.glob("*/*.dcm"):
            if path.is_file() and not path.is_symlink():
                found.append(Pushed(path.parent.name, path, path.stat().st_mtime))
        return sorted(found, key=lambda pushed: (pushed.sender, pushed.at, pushed.path.name))

    def oldest(self) -> float | None:
        """When the file that waits longest arrived."""
        return min((pushed.at for pushed in self.files()), default=None)
