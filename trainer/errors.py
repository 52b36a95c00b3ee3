"""What a user of the trainer did that cannot work; the command line says it in one line and ends with status 1."""


class TrainerError(Exception):
    """A mistake in what was asked for or in the data; the message says what was wrong and what is accepted."""

    exit_status = 1
