"""Presets of KerasHub in folders: tiny networks of random weights, because those of real ones are no package."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import keras
import pytest

from trainer.config import make
from trainer.network import assemble

needs_keras_hub = pytest.mark.skipif(
    importlib.util.find_spec("keras_hub") is None, reason="the extra kerashub is not installed: it takes 207 MB"
)

SIDE: Final = 64
"""Input size of the tiny networks, in pixels."""

Options = dict[str, Any]

OF_ALL_FAMILIES: Final[dict[str, Options]] = {
    "CSPNetBackbone": {
        "stem_filters": 8, "stem_kernel_size": 3, "stem_strides": 2, "stackwise_depth": [1, 1],
        "stackwise_strides": [2, 2], "stackwise_num_filters": [8, 16], "block_type": "dark_block", "stage_type": "dark",
    },
    "DeiTBackbone": {"patch_size": 16, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32},
    "DenseNetBackbone": {"stackwise_num_repeats": [1, 1, 1], "compression_ratio": 0.5, "growth_rate": 4},
    "DINOV2Backbone": {
        "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32,
        "num_register_tokens": 4, "position_embedding_shape": (48, 48),
    },
    "DINOV3Backbone": {
        "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32,
    },
    "EfficientNetBackbone": {
        "stackwise_kernel_sizes": [3, 3], "stackwise_num_repeats": [1, 1], "stackwise_input_filters": [8, 8],
        "stackwise_output_filters": [8, 16], "stackwise_expansion_ratios": [1, 4], "stackwise_strides": [2, 2],
        "stackwise_squeeze_and_excite_ratios": [0.25, 0.25], "stackwise_block_types": ["v1", "v1"],
        "stackwise_force_input_filters": [0, 0], "stackwise_nores_option": [False, False],
        "width_coefficient": 1.0, "depth_coefficient": 1.0, "stem_conv_padding": "same",
    },
    "HGNetV2Backbone": {
        "depths": [1, 1], "embedding_size": 8, "hidden_sizes": [16, 32], "stem_channels": [3, 8, 8],
        "hidden_act": "relu", "use_learnable_affine_block": True, "apply_downsample": [False, True],
        "stackwise_stage_filters": [[8, 8, 16, 1, 1, 3], [16, 8, 32, 1, 1, 3]],
        "use_lightweight_conv_block": [False, True],
    },
    "MiTBackbone": {
        "layerwise_depths": [1, 1], "num_layers": 2, "layerwise_num_heads": [1, 2], "layerwise_sr_ratios": [4, 2],
        "max_drop_path_rate": 0.1, "layerwise_patch_sizes": [7, 3], "layerwise_strides": [4, 2], "hidden_dims": [8, 16],
    },
    "MobileNetBackbone": {
        "stackwise_expansion": [[8], [16]], "stackwise_num_blocks": [1, 1], "stackwise_num_filters": [[8], [16]],
        "stackwise_kernel_size": [[3], [5]], "stackwise_num_strides": [[2], [2]], "stackwise_padding": [[1], [2]],
        "stackwise_activation": [["relu"], ["hard_swish"]], "stackwise_se_ratio": [[None], [0.25]],
        "output_num_filters": 32,
        "input_activation": "hard_swish", "output_activation": "hard_swish", "input_num_filters": 8,
        "depthwise_filters": 8, "depthwise_stride": 2, "depthwise_residual": False, "squeeze_and_excite": 0.5,
        "last_layer_filter": 32,
    },
    "MobileNetV5Backbone": {
        "stackwise_block_types": [["er"], ["uir"]], "stackwise_num_blocks": [1, 1],
        "stackwise_num_filters": [[8], [16]],
        "stackwise_strides": [[2], [2]], "stackwise_act_layers": [["relu"], ["relu"]],
        "stackwise_exp_ratios": [[2.0], [2.0]], "stackwise_se_ratios": [[0.0], [0.0]],
        "stackwise_dw_kernel_sizes": [[0], [3]], "stackwise_dw_start_kernel_sizes": [[0], [0]],
        "stackwise_dw_end_kernel_sizes": [[0], [0]], "stackwise_exp_kernel_sizes": [[3], [0]],
        "stackwise_pw_kernel_sizes": [[1], [0]], "stackwise_num_heads": [[0], [0]], "stackwise_key_dims": [[0], [0]],
        "stackwise_value_dims": [[0], [0]], "stackwise_kv_strides": [[0], [0]],
        "stackwise_use_cpe": [[False], [False]], "stem_size": 8, "use_msfa": False,
    },
    "ResNetBackbone": {
        "input_conv_filters": [64], "input_conv_kernel_sizes": [3], "stackwise_num_filters": [64, 64],
        "stackwise_num_blocks": [1, 1], "stackwise_num_strides": [1, 2], "block_type": "basic_block",
    },
    "SwinTransformerBackbone": {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
    "VGGBackbone": {"stackwise_num_repeats": [1, 1], "stackwise_num_filters": [8, 16]},
    "ViTBackbone": {"patch_size": 16, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32},
    "XceptionBackbone": {
        "stackwise_conv_filters": [[8, 8], [16, 16]], "stackwise_pooling": [True, False],
    },
}  # fmt: skip
"""Arguments of a tiny network of each family."""


def write(folder: Path, family: str, *, side: int = SIDE, **scaling: Any) -> str:
    """Writes a preset with its weights to a folder, and returns its name as a backbone."""
    import keras_hub

    keras.utils.set_random_seed(0)
    build: Callable[..., keras.Model] = getattr(keras_hub.models, family)
    build(image_shape=(side, side, 3), **OF_ALL_FAMILIES[family]).save_to_preset(folder)
    converter = next(
        one
        for one in vars(keras_hub.layers).values()
        if getattr(one, "backbone_cls", None) is build and issubclass(one, keras_hub.layers.ImageConverter)
    )
    converter(image_size=(side, side), **(scaling or {"scale": 1 / 127.5, "offset": -1.0})).save_to_preset(folder)
    return f"kerashub:{folder}"


def built(name: str, **more: str | int) -> assemble.Network:
    """The network for two classes on a backbone."""
    return assemble.build(make({"data": "x", "name": "x", "backbone": name, **more}), 2)
