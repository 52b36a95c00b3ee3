"""What is published where there is no model yet."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def first_model(models_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.first_model"],
        cwd=ROOT,
        env={**os.environ, "MODELS_DIR": str(models_dir), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_published_model_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "anything/1").mkdir(parents=True)
    done = first_model(tmp_path, WEIGHTS="/nowhere.h5")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["anything"]


def test_given_weights_that_cannot_be_read_are_an_error_and_no_sample_takes_their_place(tmp_path: Path) -> None:
    (tmp_path / "imagenet_class_index.json").write_text("{}")  # so that nothing is fetched
    refused = first_model(tmp_path / "models", WEIGHTS=str(tmp_path / "missing.weights.h5"))
    assert refused.returncode == 1
    assert "trainer imagenet-dogs ended with status" in refused.stderr.splitlines()[-1]
    assert not (tmp_path / "models").exists()
