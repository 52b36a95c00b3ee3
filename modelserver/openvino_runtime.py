"""OpenVINO without its converter, which sends usage data to its makers as soon as it is imported.

``import openvino`` imports the converter if it can be had. Without it, a start takes 0.1 s and 18 MB less as well.
"""

import sys

sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]  # None: an import raises ImportError

import openvino as ov  # noqa: E402

__all__ = ["ov"]
