"""Derive the contract of a model without a model card from the names, shapes and dtypes of its signatures."""

from __future__ import annotations

from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from gateway.errors import InvalidTensor, UnsupportedModel
from gateway.images import Target
from gateway.images.pixel_format import PixelFormat
from gateway.model_options import ModelOptions
from gateway.pb.serving_pb2 import DataType, SignatureDef, TensorInfo
from gateway.serving import signature_names
from gateway.serving.contract import DEFAULT_SIGNATURE, Contract, described
from gateway.serving.fixed_inputs import FixedInput, fixed_inputs
from gateway.serving.signature_shapes import batch_and_row, layout_of, may_be_equal, number_of_classes, sizes_of
from gateway.tensors.wire import number_dtype

UNKNOWN_SIZE: Final = 224
"""Height and width if neither the signature nor the options set them: the input size of most ImageNet backbones."""

FLOAT_DTYPES: Final = (DataType.DT_HALF, DataType.DT_FLOAT, DataType.DT_DOUBLE)
INDEX_DTYPES: Final = (DataType.DT_INT32, DataType.DT_INT64)
PIXEL_DTYPES: Final = (DataType.DT_UINT8, *INDEX_DTYPES, *FLOAT_DTYPES)
SCORE_DTYPES: Final = (*FLOAT_DTYPES, DataType.DT_BFLOAT16)

ACCEPTED_INPUT: Final = (
    "a string input (n) of encoded images; or pixels (n, height, width, 3), also with channels first or grey, "
    "of uint8, int32, int64, half, float or double"
)
ACCEPTED_OUTPUT: Final = "scores (n, classes), or (n) or (n, 1) of a sigmoid, of float, half, bfloat16 or double"

EXAMPLE_METHODS: Final = frozenset(("tensorflow/serving/classify", "tensorflow/serving/regress"))
"""Methods of signatures whose string input takes serialised `tf.Example` messages, in exports of TensorFlow 1."""


def contract_from_signatures(
    model: str, version: int, signatures: Mapping[str, SignatureDef], options: ModelOptions
) -> Contract:
    """Contract of a model without a card.

    Raises:
        UnsupportedModel: Nothing of its signatures fits, or several do; the message says what was found, and which
            option decides.
    """
    name = f"The model {model!r} version {version}"
    if not signatures:
        raise UnsupportedModel(f"{name} has no signature. Export it with one, for example by model.export() of Keras.")
    listed = ", ".join(map(repr, sorted(signatures)))
    if options.signature is not None:
        if options.signature not in signatures:
            raise UnsupportedModel(
                f"{name} has no signature {options.signature!r}, which its option signature names; it has {listed}."
            )
        return _Reading(model, version, options.signature, signatures[options.signature], options).contract()
    readings = [_Reading(model, version, key, one, options) for key, one in sorted(signatures.items())]
    default = next((one for one in readings if one.key == DEFAULT_SIGNATURE and not one.takes_other_strings()), None)
    if default is not None or len(readings) == 1:
        return (default or readings[0]).contract()
    fitting = []
    for reading in readings:
        with suppress(UnsupportedModel):
            fitting.append(reading.contract())
    if len(fitting) == 1:
        return fitting[0]
    reason = "several of which classify images" if fitting else "none of which classifies images"
    raise UnsupportedModel(f"{name} has the signatures {listed}, {reason}: select one with the option signature.")


@dataclass(frozen=True, slots=True)
class _Input:
    name: str
    kind: Literal["pixels", "encoded"]
    batch_size: int
    row_shape: tuple[int, ...]
    target: Target
    pixel_format: PixelFormat
    certain: bool


@dataclass(frozen=True, slots=True)
class _Reading:
    """A signature of a version, and the options of the model."""

    model: str
    version: int
    key: str
    signature: SignatureDef
    options: ModelOptions

    def takes_other_strings(self) -> bool:
        """Whether all inputs are strings that are not images."""
        return all(
            info.dtype == DataType.DT_STRING and self._is_other(name) for name, info in self.signature.inputs.items()
        )

    def contract(self) -> Contract:
        fixed = self._fixed_inputs()
        image = self._image(self.signature.inputs.keys() - {one.name for one in fixed})
        output_name, classes = self._scores(image.batch_size)
        label_output = self._label_output(output_name, image.batch_size)
        sigmoid = classes == 1 and label_output is None
        thresholds = self.options.thresholds if self.options.multi_label else None
        if thresholds is not None and sigmoid:
            raise self._unsupported("a score for each label, as the option multi_label says")
        if isinstance(thresholds, tuple) and label_output is not None:
            raise self._unsupported(
                "one number as the option thresholds, because the model names the label of each score"
            )
        return Contract(
            model=self.model,
            version=self.version,
            signature=self.key,
            input_name=image.name,
            input_kind=image.kind,
            input_dtype=self.signature.inputs[image.name].dtype,
            target=image.target,
            output_name=output_name,
            labels=self._labels(2 if sigmoid else classes, label_output),
            unknown_threshold=self.options.unknown_threshold,
            explains=False,
            card=None,
            sigmoid=sigmoid,
            pixel_format=image.pixel_format,
            row_shape=image.row_shape,
            batch_size=image.batch_size,
            label_output=label_output,
            fixed_inputs=fixed,
            certain_image=image.certain,
            thresholds=thresholds,
            activation=self.options.activation,
        )

    def _unsupported(self, requirement: str) -> UnsupportedModel:
        return UnsupportedModel(
            f"The model {self.model!r} version {self.version} cannot be served as an image classifier: its signature "
            f"{self.key!r} has {described(self.signature)}; it must have {requirement}."
        )

    def _fixed_inputs(self) -> tuple[FixedInput, ...]:
        """The inputs beside the image: those of the option, and the key of AutoML's exports, which it returns."""
        inputs = self.signature.inputs
        values = dict(self.options.fixed_inputs)
        if len(inputs) == 2:
            values |= {
                name: "0"
                for name, info in inputs.items()
                if name not in values
                and signature_names.KEY.fullmatch(name)
                and info.dtype == DataType.DT_STRING
                and sizes_of(info) in (None, (-1,))
            }
        unknown = ", ".join(map(repr, sorted(values.keys() - inputs.keys())))
        if unknown:
            raise self._unsupported(f"an input {unknown}, as the option fixed_inputs says")
        try:
            return fixed_inputs(inputs, values)
        except InvalidTensor as error:
            raise UnsupportedModel(
                f"The option fixed_inputs of the model {self.model!r} version {self.version} cannot be used: "
                f"{error.detail}"
            ) from error

    def _image(self, names: Set[str]) -> _Input:
        if len(names) != 1:
            hint = ". Set the values of the other inputs with the option fixed_inputs" if names else ""
            raise self._unsupported(f"one input, {ACCEPTED_INPUT}{hint}")
        [name] = names
        info = self.signature.inputs[name]
        if info.dtype == DataType.DT_STRING:
            return self._encoded(name, info)
        sizes = sizes_of(info)
        if info.dtype not in PIXEL_DTYPES or sizes is None or 0 in sizes or len(sizes) not in (3, 4):
            raise self._unsupported(ACCEPTED_INPUT)
        batch_size, row = batch_and_row(sizes)
        return self._pixels(name, info, batch_size, row)

    def _encoded(self, name: str, info: TensorInfo) -> _Input:
        sizes = sizes_of(info)
        if sizes is not None and (len(sizes) > 2 or 0 in sizes or (len(sizes) == 2 and sizes[1] != 1)):
            raise self._unsupported(ACCEPTED_INPUT)
        if self._is_other(name):
            reason = " because of the option encoded_image"
            if self.options.encoded_image is None:
                reason = "; if it is, set the option encoded_image"
            raise self._unsupported(f"{ACCEPTED_INPUT}. The string input {name!r} is not taken for images{reason}")
        batch_size, row_shape = (-1, ()) if sizes is None else (sizes[0], sizes[1:]) if sizes else (0, ())
        certain = self.options.encoded_image is True or signature_names.IMAGES.search(name) is not None
        return _Input(name, "encoded", batch_size, row_shape, self._target(-1, -1), PixelFormat(), certain)

    def _is_other(self, name: str) -> bool:
        """Whether a string input is not an image, as the option says, or else its name and the signature's method."""
        if self.options.encoded_image is not None:
            return not self.options.encoded_image
        return signature_names.NO_IMAGES.search(name) is not None or self.signature.method_name in EXAMPLE_METHODS

    def _pixels(self, name: str, info: TensorInfo, batch_size: int, row: tuple[int, ...]) -> _Input:
        options = self.options
        layout = options.layout or layout_of(row)
        if len(row) != (2 if layout == "nhw" else 3):
            raise self._unsupported(ACCEPTED_INPUT)
        height, width = {"nhwc": row[:2], "nchw": row[1:], "nhw": row}[layout]
        depth = {"nhwc": row[-1], "nchw": row[0], "nhw": 1}[layout]
        channels = options.channels or ("grey" if depth == 1 else "rgb")
        if depth not in (-1, 1 if channels == "grey" else 3):
            mismatch = f", not {options.channels} as its options say" if options.channels and depth in (1, 3) else ""
            raise self._unsupported(f"{ACCEPTED_INPUT}{mismatch}")
        dtype = number_dtype(info.dtype)
        assert dtype is not None
        if dtype.kind != "f" and options.normalize is not None:
            raise self._unsupported(f"a float input for the option normalize {options.normalize!r}")
        if channels == "grey" and options.normalize in ("caffe", "torch"):
            raise self._unsupported(f"an input of three channels for the option normalize {options.normalize!r}")
        target = self._target(height, width)
        form = PixelFormat(dtype.name, channels, layout, options.normalize, options.pixel_range)
        return _Input(name, "pixels", batch_size, form.shape(target.height, target.width), target, form, certain=True)

    def _target(self, height: int, width: int) -> Target:
        options = self.options
        return Target(
            height if height > 0 else options.height or UNKNOWN_SIZE,
            width if width > 0 else options.width or UNKNOWN_SIZE,
            options.fit,
            options.interpolation,
        )

    def _scores(self, batch_size: int) -> tuple[str, int]:
        """Name of the output of scores, and its number of classes; -1: any."""
        candidates = {
            name: classes
            for name, info in self.signature.outputs.items()
            if info.dtype in SCORE_DTYPES and (classes := number_of_classes(info, batch_size)) is not None
        }
        if self.options.output is not None:
            if self.options.output not in candidates:
                output = f"the output {self.options.output!r} of its options"
                raise self._unsupported(f"{ACCEPTED_OUTPUT}, and {output} is not that")
            return self.options.output, candidates[self.options.output]
        if any(signature_names.BOXES.search(name) for name in self.signature.outputs):
            raise self._unsupported(
                f"one output, {ACCEPTED_OUTPUT}; this is an object detector. If it also classifies, select its "
                "scores with the option output"
            )
        labels = len(self.options.labels)
        possible = (-1, labels, *([1] if labels == 2 else []))  # open, softmax and sigmoid
        for narrower in (
            {name: classes for name, classes in candidates.items() if labels and classes in possible},
            {name: classes for name, classes in candidates.items() if not signature_names.FEATURES.search(name)},
            {name: classes for name, classes in candidates.items() if labels and classes == labels},
            {name: classes for name, classes in candidates.items() if classes != 1},
            {name: classes for name, classes in candidates.items() if signature_names.SCORES.search(name)},
        ):
            if len(candidates) > 1 and narrower:
                candidates = {name: classes for name, classes in candidates.items() if name in narrower}
        if len(candidates) != 1:
            remedy = "select the scores" if candidates else "none of its outputs can be selected"
            raise self._unsupported(f"one output, {ACCEPTED_OUTPUT}; {remedy} with the option output")
        return next(iter(candidates.items()))

    def _label_output(self, output_name: str, batch_size: int) -> str | None:
        """The output with the class of each score, if scores are sorted, so that positions have no meaning."""
        shape = sizes_of(self.signature.outputs[output_name])
        single_score = number_of_classes(self.signature.outputs[output_name], batch_size) == 1
        candidates = {
            name: info.dtype
            for name, info in self.signature.outputs.items()
            if info.dtype in (DataType.DT_STRING, *INDEX_DTYPES)
            and name not in self.signature.inputs  # which only pass through
            and (count := number_of_classes(info, batch_size)) is not None
            and (count == 1 if single_score else count != 1 and may_be_equal(sizes_of(info), shape))
        }
        strings = [name for name, dtype in candidates.items() if dtype == DataType.DT_STRING]
        names = strings or list(candidates)
        if len(names) > 1:
            raise self._unsupported("one output of class names beside the scores")
        return names[0] if names else None

    def _labels(self, classes: int, label_output: str | None) -> tuple[str, ...]:
        labels = self.options.labels
        if label_output is not None:
            if labels and self.signature.outputs[label_output].dtype == DataType.DT_STRING:
                raise UnsupportedModel(
                    f"The model {self.model!r} version {self.version} names its classes itself, in its output "
                    f"{label_output!r}: leave out the option labels, or select another output with the option output."
                )
            return labels
        if labels and classes > 0 and len(labels) != classes:
            other = " If another output has the scores, select it with the option output."
            raise UnsupportedModel(
                f"The model {self.model!r} version {self.version} has {classes} classes, but its option labels has "
                f"{len(labels)} names, from {labels[0]!r} to {labels[-1]!r}."
                + (other if len(self.signature.outputs) > 1 else "")
            )
        return labels or tuple(str(index) for index in range(max(classes, 0)))
