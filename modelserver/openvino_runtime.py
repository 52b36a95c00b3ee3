"""OpenVINO without its converter, which sends usage data to its makers when it is imported.

``import openvino`` imports the converter if it is installed. Without it, a start also takes 0.1 s and 18 MB less.
"""

import sys

sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]  # None: an import raises ImportError

import openvino as ov  # noqa: E402

# The first access to a tensor's data fills a table and releases the GIL meanwhile. Two threads that do so at once would
# deadlock, so do it here, under the import lock.
ov.Tensor(ov.Type.u8, ov.Shape([1])).data  # noqa: B018

__all__ = ["ov"]
