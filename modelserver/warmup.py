"""Replay the warm-up requests of a model before the version becomes available.

The first call of a graph is slow, because memory is planned and kernels are chosen.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError

from gateway.pb import serving_pb2 as pb
from modelserver.errors import failed_precondition
from modelserver.pb import saved_model_pb2
from modelserver.predict import predict
from modelserver.servable import Servable

_RECORDS = Path("assets.extra") / "tf_serving_warmup_requests"
# The limit of TensorFlow Serving (WarmupConsts::kMaxNumRecords).
_MAX_RECORDS = 1000
_MAX_BYTES = 2**31 - 1


def warm_up(servable: Servable, path: Path) -> int:
    """Replays the records of the version at ``path``; returns their number.

    Only the first record is replayed for a signature that is computed row by row, and none for a signature that is
    prepared on demand.

    Raises:
        ServingError: A record is not a PredictionLog with a PredictRequest, or there are too many.
        Exception: What the engine raises when a record fails.
    """
    if not (path / _RECORDS).is_file():
        return 0
    count = 0
    warm: set[str] = set()
    with (path / _RECORDS).open("rb") as file:
        for record in _records(file):
            count += 1
            if count > _MAX_RECORDS:
                raise failed_precondition(f"more than {_MAX_RECORDS} warm-up records")
            try:
                log = saved_model_pb2.PredictionLog.FromString(record)
                request = pb.PredictRequest.FromString(log.predict_log.request)
            except DecodeError as error:
                raise failed_precondition(f"warm-up record {count} is not a PredictionLog") from error
            if not log.HasField("predict_log"):
                raise failed_precondition(f"warm-up record {count} holds no PredictRequest")
            name = request.model_spec.signature_name
            if name in servable.on_demand or (servable.row_by_row and name in warm):
                continue
            predict(servable, request, pb.PredictResponse(), as_content=False)
            warm.add(name)
    return count


def _records(file: BinaryIO) -> Iterator[bytes]:
    """The records of a TFRecord file: length, checksum of the length, data, checksum of the data, each little-endian.

    The checksums are not verified. Corrupt records fail when they are parsed.
    """
    while head := file.read(12):
        length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else 0
        data = file.read(length) if length <= _MAX_BYTES else b""
        if len(head) < 12 or len(data) != length or len(file.read(4)) < 4:
            raise failed_precondition("the file of warm-up records is damaged")
        yield data
