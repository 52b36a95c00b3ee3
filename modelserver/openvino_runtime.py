"""OpenVINO without its converter, which sends usage data to its makers as soon as it is imported.

``import openvino`` imports the converter if it can be had. Without it, a start takes 0.1 s and 18 MB less as well.
"""

import sys

sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]  # None: an import raises ImportError

import openvino as ov  # noqa: E402

# The first use of a tensor's data fills a table, and gives up Python's lock meanwhile. Two threads that do it at once
# wait for each other for ever, so it is done here, where imports let one thread in.
ov.Tensor(ov.Type.u8, ov.Shape([1])).data  # noqa: B018

__all__ = ["ov"]
