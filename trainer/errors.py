"""Errors that the command line reports in one line."""


class TrainerError(Exception):
    """A mistake in the arguments or the data. The message says what is wrong and what is accepted."""

    exit_status = 1


class GatewayUnavailableError(TrainerError):
    """A gateway cannot be reached, or has been busy for longer than the command waits."""
