"""Random augmentation for fine-tuning: rotation, shift, shear, zoom and flip in one resampling."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from trainer.config import Config


@dataclass(frozen=True)
class Augmentation:
    """Limits of the augmentation.

    `rotation` is in degrees, `shift` and `zoom` are shares of the size, `shear` is in radians; with `flip`, every
    second photo is mirrored. Areas outside of the photo repeat its nearest edge.
    """

    rotation: float
    shift: float
    shear: float
    zoom: float
    flip: bool

    @classmethod
    def of(cls, config: Config) -> "Augmentation":
        """Returns the augmentation of a configuration."""
        return cls(config.rotation, config.shift, config.shear, config.zoom, config.flip)

    def apply(self, images: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
        """Returns one random view of each photo: uint8 (n, height, width, 3) in and out."""
        count, height, width = images.shape[:3]
        moved = tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=self.transforms(count, height, width, generator),
            output_shape=[height, width],
            interpolation="BILINEAR",
            fill_mode="NEAREST",
            fill_value=0.0,
        )
        return np.asarray(moved)

    def transforms(self, count: int, height: int, width: int, generator: np.random.Generator) -> NDArray[np.float32]:
        """Returns random affine maps from the pixels of a view to those of the photo, around its centre.

        Returns:
            float32 (count, 8), the rows a0 a1 a2 / b0 b1 b2 / 0 0 of x' = a0 x + a1 y + a2, y' = b0 x + b1 y + b2.
        """
        angle = np.deg2rad(generator.uniform(-self.rotation, self.rotation, count))
        slant = generator.uniform(-self.shear, self.shear, count)
        scale = generator.uniform(1 - self.zoom, 1 + self.zoom, (count, 2))
        move = generator.uniform(-self.shift, self.shift, (count, 2)) * (width, height)
        mirror = np.where(self.flip & (generator.random(count) < 0.5), -1.0, 1.0)

        linear = np.empty((count, 2, 2))
        linear[:, 0, 0], linear[:, 0, 1] = np.cos(angle), -np.sin(angle + slant)
        linear[:, 1, 0], linear[:, 1, 1] = np.sin(angle), np.cos(angle + slant)
        linear *= scale[:, np.newaxis, :]
        linear[:, :, 0] *= mirror[:, np.newaxis]
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        offset = middle + move - linear @ middle
        last = np.zeros((count, 2))
        rows = [linear[:, 0], offset[:, :1], linear[:, 1], offset[:, 1:], last]
        return np.concatenate(rows, axis=1).astype(np.float32)
