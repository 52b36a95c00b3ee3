"""Names of the 1,000 ImageNet classes (ILSVRC 2012), in the order of the outputs of pretrained networks."""

from pathlib import Path
from typing import Final

_LINES: Final = [
    line.split("\t") for line in Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
]
"""The usual name of each class and, if ImageNet has another name for a breed, that name."""

NAMES: Final = tuple(names[0] for names in _LINES)

BREEDS: Final = range(151, 269)
"""The 118 dog breeds among the classes: Chihuahua to Mexican Hairless Dog."""

OTHERS: Final = tuple(number for number in range(len(NAMES)) if number not in BREEDS)
"""All classes that are not a breed of dog, in order."""

OTHER_NAMES: Final = {names[1]: names[0] for names in _LINES if len(names) > 1}
"""ImageNet's names of breeds, such as `Japanese spaniel`, and their usual names."""
