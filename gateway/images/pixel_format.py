"""The format of pixels for a model: dtype, channels, layout and normalisation."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Channels = Literal["rgb", "bgr", "grey"]
Layout = Literal["nhwc", "nchw", "nhw"]
Normalization = Literal["caffe", "torch", "tf"]

# ITU-R BT.601, as Pillow converts RGB to L.
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)
# The means and deviations of ImageNet in `keras.applications.imagenet_utils.preprocess_input`: of BGR from 0 to 255
# for "caffe", of RGB from 0 to 1 for "torch".
_CAFFE_MEAN: Final = np.array([103.939, 116.779, 123.68], np.float32)
_TORCH_MEAN: Final = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_DEVIATION: Final = np.array([0.229, 0.224, 0.225], np.float32)


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How decoded pixels are converted to a row of the input.

    Attributes:
        dtype: NumPy's name: uint8, int32, float16, float32 or float64.
        channels: Which channels, in which order; `normalize="caffe"` always means BGR.
        layout: ``nhwc`` for (height, width, channels), ``nchw`` for (channels, height, width), ``nhw`` for
            (height, width), grey without an axis of channels.
        normalize: A mode of Keras' `preprocess_input`, for float dtypes: ``tf`` scales to -1 to 1, ``caffe`` subtracts
            ImageNet's mean from BGR, ``torch`` scales to 0 to 1, subtracts ImageNet's mean and divides by its standard
            deviation.
        pixel_range: Values of black and white in a float dtype if `normalize` is None.
    """

    dtype: str = "uint8"
    channels: Channels = "rgb"
    layout: Layout = "nhwc"
    normalize: Normalization | None = None
    pixel_range: tuple[float, float] = (0.0, 255.0)

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """Shape of one row."""
        if self.layout == "nhw":
            return height, width
        depth = 1 if self.channels == "grey" else 3
        return (depth, height, width) if self.layout == "nchw" else (height, width, depth)

    def convert(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.generic]:
        """Convert one image.

        Args:
            pixels: uint8 (height, width, 3), RGB.

        Returns:
            An array of `dtype` and of `shape(height, width)`, C-contiguous.
        """
        values: npt.NDArray[np.generic] = pixels
        if self.channels == "grey":
            values = (pixels.astype(np.float32) @ _LUMA)[..., np.newaxis]
        elif self.channels == "bgr" or self.normalize == "caffe":
            values = pixels[..., ::-1]
        dtype = np.dtype(self.dtype)
        if dtype.kind == "f":
            values = self._normalized(values.astype(np.float32)).astype(dtype)
        elif values.dtype != dtype:
            values = np.rint(values).astype(dtype)
        if self.layout == "nchw":
            values = values.transpose(2, 0, 1)
        elif self.layout == "nhw":
            values = values[..., 0]
        return np.ascontiguousarray(values)

    def _normalized(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self.normalize == "caffe":
            return values - _CAFFE_MEAN
        if self.normalize == "torch":
            return (values / np.float32(255) - _TORCH_MEAN) / _TORCH_DEVIATION
        low, high = (-1.0, 1.0) if self.normalize == "tf" else self.pixel_range
        return values * np.float32((high - low) / 255) + np.float32(low)
