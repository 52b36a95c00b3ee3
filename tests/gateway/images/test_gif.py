import struct

from PIL import Image

from gateway.images import (
    Target,
    decode_image,
)
from tests.gateway.images.samples import (
    WHITE,
    encoded,
)


def test_a_gif_frame_smaller_than_its_canvas_lies_on_white() -> None:
    data = encoded(Image.new("P", (2, 1), 1), "GIF", transparency=0, optimize=False)
    data = data[:6] + struct.pack("<HH", 4, 1) + data[10:]
    pixels = decode_image(data, Target(1, 4, interpolation="nearest"))
    assert pixels[0, 2:].tolist() == [list(WHITE)] * 2
    assert pixels[0, :2].max() < 255
