"""``python -m modelserver``: serve models until SIGTERM or SIGINT."""

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from modelserver import STOP_SIGNALS
from modelserver.flags import Flags, parse
from modelserver.memory import share_arenas

_LOG = logging.getLogger("modelserver")


def main(arguments: Sequence[str] | None = None, prog: str = "breed-modelserver") -> NoReturn:
    """Runs the server until it is told to stop, and ends the process.

    The exit status is 0 after SIGTERM or SIGINT, 1 if it could not start, 2 for a wrong command line.
    """
    flags = parse(arguments, prog)
    _start_logging(flags)
    status = _run(flags)
    sys.stderr.flush()
    # Not sys.exit, which would wait for threads that still compute after the drain.
    os._exit(status)


def _start_logging(flags: Flags) -> None:
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        # Log to a copy of descriptor 2, because quiet.py suppresses what libraries write to descriptor 2 at the start.
        stream=os.fdopen(os.dup(2), "w"),
        level=logging.WARNING,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    _LOG.setLevel(flags.log_level.upper())
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    for name in flags.ignored:
        _LOG.warning("--%s has no effect on this server", name)


def _run(flags: Flags) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # in all threads that are started from now on
    share_arenas()
    # Import gRPC only now, so that a mistake on the command line is reported at once.
    from modelserver.errors import ConfigError, ServingError
    from modelserver.server import run

    try:
        run(flags)
    except (ConfigError, ServingError, OSError) as error:
        _LOG.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    main()
