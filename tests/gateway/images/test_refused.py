import base64
import struct

import pytest

from gateway.images import ACCEPTED_FORMATS, Target, UnsupportedImage, decode_image
from tests.gateway.images.samples import ORDINARY, encoded, photo

SVG_DOCTYPE = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
SENT = [
    (b"hello, I am no image", "This is text, not an image."),
    (b"hello\0", "This is not an image of a known format."),
    (encoded(photo(9, 9), "PPM"), "This is not an image of a known format."),
    (b"<html>", "This is a web page, not an image."),
    (b"\xef\xbb\xbf\n<!DOCTYPE html><html lang=en>", "This is a web page, not an image."),
    (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG images are not accepted."),
    (b'<?xml version="1.0"?>\n<!-- made by hand -->\n' + SVG_DOCTYPE + b"\n<svg/>", "SVG images are not accepted."),
    (SVG_DOCTYPE + b"<svg/>", "SVG images are not accepted."),
    (b'<?xml version="1.0"?><kml/>', "This is XML, not an image."),
    (b"%PDF-1.7", "This is a PDF document, not an image."),
    (b"%!PS-Adobe-3.0 EPSF-3.0", "This is a PostScript document, not an image."),
    (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "AVIF images are not accepted."),
    (encoded(photo(9, 9), "TIFF"), "TIFF (or RAW) images are not accepted."),
    (b"II*\0\x10\0\0\0CR\x02\0", "Canon RAW images are not accepted."),
    (b"\0\0\0\x18ftypcrx \0\0\0\1", "Canon RAW images are not accepted."),
    (b"FUJIFILMCCD-RAW 0201", "RAW images are not accepted."),
    (b"IIU\0\x18\0\0\0", "RAW images are not accepted."),
    (encoded(photo(32, 32), "ICO"), "Icon images are not accepted."),
    (encoded(photo(32, 32), "TGA"), "TGA images are not accepted."),
    (encoded(photo(32, 32), "TGA", compression="tga_rle"), "TGA images are not accepted."),
    (encoded(photo(32, 32).quantize(16), "TGA"), "TGA images are not accepted."),
    (encoded(photo(32, 32), "JPEG2000"), "JPEG 2000 images are not accepted."),
    (b"8BPS\0\1", "Photoshop images are not accepted."),
    (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "This is a QuickTime video, such as the moving part of a Live Photo, not"),
    (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "This is a video, not an image."),
    (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81", "This is a video, not an image."),
    (b"RIFF\0\0\0\0AVI LIST", "This is a video, not an image."),
    (b"PK\3\4\x14\0", "This is a ZIP archive, not an image."),
    (b"\x1f\x8b\x08", "This is compressed data, not an image."),
    (b"\x93NUMPY\1\0", "This is a NumPy array, not an image."),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "This is a Git LFS pointer, not an image:"),
    (b"data:image/jpeg;base64,/9j/4AAQSkZJRg==", "This is a data URL, not the bytes of an image:"),
    (b"data:application/octet-stream;base64,/9j/4AAQSkZJRg==", "This is a data URL, not the bytes of an image:"),
    (b"data:;base64,/9j/4AAQSkZJRg==", "This is a data URL, not the bytes of an image:"),
    (b"https://example.com/dog.jpg", "This is a URL, not an image:"),
    (b"content://media/external/images/1", "This is a URL, not an image:"),
    (b"blob:http://localhost:3000/9b2f", "This is a URL, not an image:"),
    *(
        (text, "This is the name of a value in a program,")
        for text in (
            *(b"[object Object]", b"[object File]\n", b"undefined", b"Array", b"None"),
            *(b"System.Byte[]", b"System.IO.MemoryStream", b"[B@1b6d3586", b"Instance of 'MultipartFile'"),
            *(b"<_io.BufferedReader name='dog.jpg'>", b"<PIL.JpegImagePlugin.JpegImageFile image mode=RGB size=9x9>"),
        )
    ),
    *(
        (before + ORDINARY[kind], "This is an image with other bytes in front of it, such as")
        for before in (b"\r\n", b"\xef\xbb\xbf", b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n")
        for kind in ("jpeg", "png")
    ),
    *(
        (damaged, "This is an image that was converted as if it were text, which destroys it:")
        for kind in ("jpeg", "png")
        for data in [ORDINARY[kind]]
        for damaged in (data.decode("latin-1").encode(), data.decode("utf-8", "replace").encode())
    ),
    (ORDINARY["png"].replace(b"\r\n", b"\n"), "This is an image that was converted as if it were text"),
    (ORDINARY["jpeg"].hex().encode(), "This is hexadecimal text, not the bytes of an image:"),
    (repr(ORDINARY["jpeg"]).encode(), "This is Python's notation of bytes, not the bytes of an image:"),
    (repr(base64.b64encode(ORDINARY["jpeg"])).encode(), "This is base64 text, not the bytes of an image:"),
    (b"\0\5\x16\7\0\2\0\0Mac OS X", "This is a file of macOS beside the image (its name begins with ._), not"),
    (bytes(4096), "This is a file of zeros, not an image."),
    (bytes(128) + b"DICM\2\0", "DICOM images are not accepted."),
    (b"photo.jpg", "This is a file name, not the file:"),
    (b"File: '/data/user/0/app/cache/IMG_1.jpg'", "This is a file name, not the file:"),
    (b"@C:\\Users\\me\\dog 1.JPEG\n", "This is a file name, not the file:"),
    (
        b'{"instances": [{"b64": "/9j/4AAQ"}]}',
        'This is JSON, not an image: send the bytes of the image, or {"inputs": "<the image in base64>"}.',
    ),
    (b'"{\\"inputs\\": \\"/9j/4AAQ\\"}"', "This is JSON, not an image:"),
    (
        b"[[0.1, 0.2]]",
        'This is JSON, not an image: send the bytes of the image, or {"inputs": "<the image in base64>"}.',
    ),
    (b'--boundary\r\nContent-Disposition: form-data; name="image"', "This is a multipart form without"),
    *((base64.b64encode(data), "This is base64 text, not the bytes of an image:") for data in ORDINARY.values()),
    (base64.b64encode(b"\0\0\0\x18ftypheic"), "This is base64 text, not the bytes of an image:"),
    (b'"' + base64.encodebytes(ORDINARY["png"]) + b'"', "This is base64 text, not the bytes of an image:"),
]


@pytest.mark.parametrize(("data", "message"), SENT, ids=[str(number) for number in range(len(SENT))])
def test_what_is_sent_by_mistake_is_named_by_its_content(data: bytes, message: str) -> None:
    with pytest.raises(UnsupportedImage) as caught:
        decode_image(data, Target(8, 8))
    assert str(caught.value).startswith(message)
    assert all(name in str(caught.value) for name in ACCEPTED_FORMATS)
    assert caught.value.code == "unsupported_image"


def test_a_windows_cursor_is_an_icon_and_a_black_tga_is_not() -> None:
    cursor = struct.pack("<HHH", 0, 2, 1) + bytes(16)
    with pytest.raises(UnsupportedImage, match="Icon"):
        decode_image(cursor, Target(8, 8))
