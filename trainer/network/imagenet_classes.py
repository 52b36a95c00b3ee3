"""Names of the 1,000 ImageNet classes (ILSVRC 2012), in the order of the weights that networks come with."""

from pathlib import Path
from typing import Final

_LINES: Final = [
    line.split("\t") for line in Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
]
"""Each a name in plain English and, for a breed that ImageNet calls by another name, that name."""

NAMES: Final = tuple(names[0] for names in _LINES)

BREEDS: Final = range(151, 269)
"""The 118 dog breeds among the classes: Chihuahua to Mexican Hairless Dog."""

OTHERS: Final = tuple(number for number in range(len(NAMES)) if number not in BREEDS)
"""All classes that are not a breed of dog, in order."""

OTHER_NAMES: Final = {names[1]: names[0] for names in _LINES if len(names) > 1}
"""What data sets made from ImageNet call some of the breeds, such as `Japanese spaniel`, and the usual name."""
