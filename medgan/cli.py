"""The command line's front door: every error ends in one sentence and its exit code."""

from __future__ import annotations

import signal
import sys
import traceback

import typer

from medgan import console, parallel
from medgan.commands import analyze, deidentify, house, intake, road, stages  # noqa: F401 - each adds its verbs to the app
from medgan.commands.app import app
from medgan.errors import MedganError, Stopped, UsageError


def _on_sigterm(*_: object) -> None:
    raise Stopped("stopped by SIGTERM; run the same command again to go on")


def main() -> None:
    """Entry point: run a verb; every error ends in one sentence and its exit code."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        code = app(standalone_mode=False, prog_name="medgan")
    except MedganError as error:
        (console.note if error.exit_code in (0, 143) else console.fail)(str(error))
        code = error.exit_code
    except typer.TyperException as error:
        if str(error):  # empty when no verb was given and the help was shown
            console.fail(f"{str(error).rstrip('.')}; see `medgan --help`")
        code = UsageError.exit_code
    except ConnectionError:
        console.fail("a service did not answer (MLflow, Prefect or a database); nothing is lost: run it again")
        code = MedganError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        console.note("interrupted; run the same command again to go on")
        code = 130
    except Exception as error:  # noqa: BLE001 - the last door: a message could quote a patient, a frame cannot
        frames = "\n".join(f"  {f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__))
        console.fail(f"internal error {type(error).__name__}; this is a bug, please report these lines:\n{frames}")
        code = 1
    finally:
        parallel.close()  # left to the end of the interpreter, a cluster complains
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
