"""Answer a PredictRequest with one loaded version.

Whatever contradicts the signature is refused here, before it joins a batch or reaches a kernel. Two checks are stricter
than in TensorFlow Serving on purpose. A wrong rank is INVALID_ARGUMENT; TensorFlow Serving aborts its process. A wrong
size of a fixed dimension, such as the height, is INVALID_ARGUMENT; TensorFlow Serving computes a result without an
error.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from gateway.pb import serving_pb2 as pb
from modelserver.errors import invalid
from modelserver.servable import Servable, Signature, TensorSpec
from modelserver.tensors import Array, dtype_name, is_listed, shape_of, to_array, to_proto

DEFAULT_SIGNATURE = "serving_default"


def predict(servable: Servable, request: pb.PredictRequest, response: pb.PredictResponse, *, as_content: bool) -> None:
    """Fill the outputs of ``response``.

    Args:
        servable: The version that answers.
        request: The request, with inputs, signature name and output filter.
        response: Filled in place.
        as_content: Write raw bytes instead of typed lists.

    Raises:
        ServingError: The request does not fit the signature, or the batching queue is full.
        Exception: What the engine raises when the model refuses it.
    """
    signature = servable.signature(request.model_spec.signature_name or DEFAULT_SIGNATURE)
    aliases = _output_aliases(signature, request.output_filter)
    arrays = _inputs(signature, request.inputs)
    for alias, array in zip(aliases, signature.run(arrays, aliases), strict=True):
        to_proto(array, signature.outputs[alias].dtype, response.outputs[alias], as_content=as_content)


def _output_aliases(signature: Signature, output_filter: Iterable[str]) -> Sequence[str]:
    aliases: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            accepted = _set(signature.outputs)
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set {accepted}."
            )
        if alias in aliases:
            raise invalid(f"duplicate output tensor alias: {alias}")
        aliases.append(alias)
    return aliases or list(signature.outputs)


def _inputs(signature: Signature, sent: Mapping[str, pb.Tensor]) -> dict[str, Array]:
    expected = signature.inputs
    if len(sent) != len(expected):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(expected)} "
            f"len({_set(sent)}) != len({_set(expected)}). Sent extra: {_set(sent.keys() - expected.keys())}. "
            f"Missing but required: {_set(expected.keys() - sent.keys())}."
        )
    for alias, spec in expected.items():
        if alias not in sent:
            raise invalid(
                f"Signature input alias: {alias}({spec.tensor}) not found in request and no default value provided. "
                f"Inputs expected to be in the set {_set(expected)}."
            )
    arrays: dict[str, Array] = {}
    for position, (alias, spec) in enumerate(expected.items()):
        try:
            shape = shape_of(sent[alias])
            _check(signature, position, spec, sent[alias].dtype, shape)
            arrays[alias] = to_array(sent[alias])
        except ValueError as error:
            raise invalid(f"tensor parsing error: {alias}: {error}") from error
    _check_rows(signature, arrays)
    return arrays


def _check(signature: Signature, position: int, spec: TensorSpec, dtype: int, shape: tuple[int, ...]) -> None:
    if dtype != spec.dtype:
        if not is_listed(dtype):
            raise ValueError(f"{dtype_name(dtype)} is not supported")
        expected, actual = dtype_name(spec.dtype), dtype_name(dtype)
        raise invalid(f"Expects arg[{position}] to be {_cpp(expected)} but {_cpp(actual)} is provided")
    if signature.batching is not None and not shape:
        raise invalid("Batching Run() input tensors must have at least one dimension")
    if spec.shape is None:
        return
    if len(shape) != len(spec.shape):
        raise invalid(
            f"Input {spec.alias} must have rank {len(spec.shape)}, shape {_sizes(spec.shape)}; "
            f"rank {len(shape)}, shape {_sizes(shape)} was sent"
        )
    if any(dim is not None and dim != size for dim, size in zip(spec.shape, shape, strict=True)):
        raise invalid(f"Input {spec.alias} must have shape {_sizes(spec.shape)}; {_sizes(shape)} was sent")
    if 0 in shape:
        raise invalid(f"Input {spec.alias} is empty: shape {_sizes(shape)}")


def _check_rows(signature: Signature, arrays: Mapping[str, Array]) -> None:
    batching = signature.batching
    if batching is None:
        return
    rows = {len(array) for array in arrays.values()}
    if len(rows) > 1:
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    size = rows.pop()
    if size > batching.max_batch_size:
        raise invalid(f"Task size {size} is larger than maximum input batch size {batching.max_batch_size}")


def _set(names: Collection[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _sizes(shape: Sequence[int | None]) -> str:
    return "[" + ",".join("?" if size is None else str(size) for size in shape) + "]"


def _cpp(name: str) -> str:
    # TensorFlow's C++ names, which its messages use: DataTypeString.
    return {"float32": "float", "float64": "double", "float16": "half"}.get(name, name)
