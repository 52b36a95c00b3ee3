"""Warm-up: the requests that a model brings along, replayed before the version is offered.

The first call of a graph is slow (memory is planned, kernels are chosen); with warm-up no client pays for it.
"""

from pathlib import Path

from tensorflow.python.lib.io.tf_record import tf_record_iterator
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from modelserver.errors import failed_precondition
from modelserver.predict import predict
from modelserver.servable import Servable

_RECORDS = Path("assets.extra") / "tf_serving_warmup_requests"
# The same bound as TensorFlow Serving's (WarmupConsts::kMaxNumRecords): more is a mistake, not a warm-up.
_MOST_RECORDS = 1000


def warm_up(servable: Servable, path: Path) -> int:
    """Replays the records of the version at ``path``; says how many there were (0 if it brings none).

    Raises:
        ServingError: A record is not a PredictionLog with a PredictRequest, or there are too many.
        OpError: A record failed.
    """
    if not (path / _RECORDS).is_file():
        return 0
    count = 0
    for record in tf_record_iterator(str(path / _RECORDS)):
        count += 1
        if count > _MOST_RECORDS:
            raise failed_precondition(f"more than {_MOST_RECORDS} warm-up records")
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except ValueError as error:
            raise failed_precondition(f"warm-up record {count} is not a PredictionLog") from error
        if log.WhichOneof("log_type") != "predict_log":
            raise failed_precondition(f"warm-up record {count} holds no PredictRequest")
        predict(servable, log.predict_log.request, predict_pb2.PredictResponse(), as_content=False)
    return count
