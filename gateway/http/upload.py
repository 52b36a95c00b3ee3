"""An uploaded file."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.errors import GatewayError


@dataclass(slots=True)
class Upload:
    """An uploaded file, or the body of a request.

    Attributes:
        filename: File name that the client sent, without folders.
        data: The bytes, in the pieces in which they arrived. A worker process joins them.
        error: Set if the file is over its limit; `data` is then empty.
        fetched: Whether the gateway has fetched it from a URL that the client sent.
    """

    filename: str | None = None
    data: list[bytes] = field(default_factory=list)
    size: int = 0
    error: GatewayError | None = None
    fetched: bool = False

    def append(self, piece: bytes) -> None:
        """Add the next bytes."""
        self.size += len(piece)
        self.data.append(piece)

    def head(self, size: int) -> bytes:
        """The first bytes, at most `size` of them."""
        head = b""
        for piece in self.data:
            head += piece[: size - len(head)]
            if len(head) == size:
                break
        return head

    @property
    def content(self) -> list[bytes] | GatewayError:
        """The pieces, or the error."""
        return self.data if self.error is None else self.error
