import pytest

from gateway.images import (
    Target,
)


@pytest.mark.parametrize(
    "arguments", [(0, 8), (8, -1), (8, 8, "stretch"), (8, 8, "crop", "area")], ids=["height", "width", "fit", "filter"]
)
def test_a_target_that_makes_no_sense_is_refused(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Target(*arguments)
