"""What the trainer does around the import of TensorFlow."""

import subprocess
import sys
from pathlib import Path

TENSORFLOW = """
import gc
collects = gc.isenabled()
try:
    import matplotlib
    plots = True
except ImportError:
    plots = False
"""

PROGRAM = """
import gc
from trainer.memory import import_tensorflow
import_tensorflow()
import tensorflow
import matplotlib
print(tensorflow.collects, tensorflow.plots, gc.isenabled(), gc.get_freeze_count() > 0)
"""


def test_only_the_import_of_tensorflow_does_without_garbage_collection_and_plots(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW)
    (tmp_path / "matplotlib.py").write_text("")
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{PROGRAM}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["False", "False", "True", "True"]
