"""Multipart forms, byte by byte as they are sent."""

from __future__ import annotations

import httpx

BREED = "/api/v1/predict_breed"
BATCH = "/api/v1/predict_breed/batch"


def form(*parts: tuple[str, bytes], boundary: str = "X", closed: bool = True) -> tuple[bytes, dict[str, str]]:
    """A multipart body of parts with the given Content-Disposition parameters, byte by byte as it is sent."""
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
        for disposition, content in parts
    )
    if closed:
        body += f"--{boundary}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={boundary}"}


def posted(client: httpx.Client, path: str, sent: tuple[bytes, dict[str, str]]) -> tuple[int, str]:
    answer = client.post(path, content=sent[0], headers=sent[1])
    return answer.status_code, answer.json().get("code", "")
