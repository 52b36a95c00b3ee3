"""Import OpenVINO and NNCF without the parts that send usage data to their makers.

`import openvino` imports its converter, and `import nncf` imports the package `openvino_telemetry`, if they are
installed.
"""

import sys

for _name in ("openvino.tools.ovc", "openvino_telemetry"):
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]  # None: an import raises ImportError

import openvino as ov  # noqa: E402

__all__ = ["ov"]
