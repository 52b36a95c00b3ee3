"""``python -m modelserver``: starts, follows the files, and ends cleanly on SIGTERM or SIGINT."""

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence

from modelserver.flags import parse

_LOG = logging.getLogger("modelserver")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server until it is told to stop.

    Returns:
        The exit status: 0 after SIGTERM or SIGINT, 1 if it could not start; a wrong command line exits with 2.
    """
    flags = parse(arguments)
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    _LOG.setLevel(flags.log_level.upper())
    # TensorFlow's own chatter, unless it was asked for.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    for name in flags.ignored:
        _LOG.warning("--%s has no effect on this server", name)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # Only now: it takes seconds, and a mistake on the command line should not.
        from modelserver.errors import ConfigError, ServingError
        from modelserver.server import run

        try:
            run(flags)
        except (ConfigError, ServingError, OSError) as error:
            _LOG.error("%s", error)
            return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that still compute after the drain would hold up a normal exit.
    os._exit(status)
