"""OpenVINO and NNCF without what sends usage data to their makers, which they do unless the user has forbidden it.

`import openvino` imports its converter, and `import nncf` the package `openvino_telemetry`, if they can be had.
"""

import sys

for _name in ("openvino.tools.ovc", "openvino_telemetry"):
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]  # None: an import raises ImportError

import openvino as ov  # noqa: E402

__all__ = ["ov"]
