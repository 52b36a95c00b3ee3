"""How failed jobs are reported to callers."""

from __future__ import annotations

import logging
import signal
from dataclasses import dataclass

from gateway.errors import (
    GatewayError,
    ImageTooLarge,
    InternalError,
    InvalidImage,
    InvalidTensor,
    Overloaded,
    UploadTooLarge,
    error_from_code,
)
from gateway.workers.messages import Message
from gateway.workers.worker import CRASHED, OUT_OF_MEMORY, OUT_OF_MEMORY_STATUS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """How a pool reports failures to callers.

    Attributes:
        subject: What callers send, such as "image".
        out_of_memory: Raised if a job needs more memory than a worker may use.
        killed: Raised if the system killed a worker that exceeded its limits.
        crashed: Raised if a worker crashed; None if only lack of memory makes it crash.
    """

    subject: str
    out_of_memory: type[GatewayError]
    killed: type[GatewayError]
    crashed: type[GatewayError] | None

    def result(self, reply: Message) -> Message:
        """The result in a reply.

        Raises:
            GatewayError: The job failed.
        """
        header = reply.header
        code = header.get("error")
        if code is None:
            result = header["result"]
            assert isinstance(result, dict)
            return Message(result, reply.buffers)
        if code == OUT_OF_MEMORY:
            raise self.out_of_memory(self._needs_more_memory())
        if code == CRASHED:
            logger.error("a job failed: %s", header.get("traceback"))
            raise InternalError
        extra = header.get("extra")
        raise error_from_code(str(code), str(header.get("detail", "")), extra if isinstance(extra, dict) else {})

    def error_of_exit(self, status: int | None, cpu_seconds: int) -> GatewayError:
        """The error for a job whose worker has ended.

        Args:
            status: How it ended, as `ForkServer.end` returns it.
            cpu_seconds: Its limit on CPU time.
        """
        logger.warning("a worker process ended with status %s during a job", status)
        if status is None:
            return Overloaded(f"The process that worked on this {self.subject} was ended. Send it again.")
        if status == -signal.SIGXCPU:
            return self.killed(f"Processing the {self.subject} takes more than {cpu_seconds} s of CPU time.")
        if status == -signal.SIGKILL:
            return self.killed(self._needs_more_memory())
        if status == OUT_OF_MEMORY_STATUS or self.crashed is None:
            return self.out_of_memory(self._needs_more_memory())
        return self.crashed(f"The {self.subject} is corrupt and cannot be processed.")

    def _needs_more_memory(self) -> str:
        return f"The {self.subject} needs more memory to process than a request may use."


SMALL_IMAGES = Work("image", ImageTooLarge, InvalidImage, InvalidImage)
"""`ImageTooLarge` is tried again in a large worker, `InvalidImage` is not.

A decoder that runs out of memory raises `InvalidImage` too: the image is of an accepted size, so the file is not what
its header says."""

LARGE_IMAGES = Work("image", ImageTooLarge, ImageTooLarge, InvalidImage)
SMALL_TENSORS = Work("request", UploadTooLarge, InvalidTensor, None)
LARGE_TENSORS = Work("request", UploadTooLarge, UploadTooLarge, None)
"""orjson crashes when memory runs out."""
