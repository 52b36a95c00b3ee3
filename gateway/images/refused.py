"""Recognise files that users send by mistake, so that the error message can name them."""

import re
from typing import Final

_HEAD_BYTES: Final = 1024

_IMAGE: Final = "{} images are not accepted."
_TEXT: Final = "This is {}, not the bytes of an image: decode it before sending it."
_BASE64: Final = (
    "This is {}, not the bytes of an image: decode it before sending it, or send JSON: "
    '{{"inputs": "<base64>"}} to /api, {{"b64": "<base64>"}} in place of a string to /v1.'
)
_OTHER: Final = "This is {}, not an image."
_POINTER: Final = "This is {}, not an image: send the bytes of the image itself."

# Kind of file, its description, and a pattern for its first bytes. The first match counts. JPEG, PNG, GIF, WebP, BMP
# and HEIC each start with the same characters in base64.
_KINDS: Final = tuple(
    (message.format(name), re.compile(pattern, re.DOTALL))
    for name, message, pattern in (
        ("AVIF", _IMAGE, rb"....ftypavi[fs]"),
        ("Canon RAW", _IMAGE, rb"....ftypcrx |(?:II\x2a\x00....CR)"),
        ("RAW", _IMAGE, rb"FUJIFILMCCD-RAW|IIR[OS]|IIU\x00|MMOR"),
        ("TIFF (or RAW)", _IMAGE, rb"II\x2a\x00|MM\x00\x2a|II\x2b\x00|MM\x00\x2b"),
        ("JPEG 2000", _IMAGE, rb"\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
        ("JPEG XL", _IMAGE, rb"\xff\x0a|\x00\x00\x00\x0cJXL "),
        ("Photoshop", _IMAGE, rb"8BPS"),
        ("Icon", _IMAGE, rb"\x00\x00[\x01\x02]\x00(?!\x00\x00)"),
        ("TGA", _IMAGE, rb".(?:\x00[\x02\x03\x0a\x0b]|\x01[\x01\x09]).{13}[\x08\x0f\x10\x18\x20]"),
        ("SVG", _IMAGE, rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?\?>\s*|<!--.*?-->\s*|<!DOCTYPE\s+svg\b[^>]*>\s*)*<svg\b"),
        ("SVG", _IMAGE, rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?\?>\s*|<!--.*?-->\s*)*<!DOCTYPE\s+svg\b"),
        ("DICOM", _IMAGE, rb".{128}DICM"),
        (
            "an image that was converted as if it were text",
            "This is {}, which destroys it: send its bytes as they are.",
            # JPEG and PNG with replaced bytes, JPEG and PNG converted from Latin-1 to UTF-8, PNG with other line ends.
            rb"(?:\xef\xbf\xbd){3}|\xef\xbf\xbdPNG|\xc3\xbf\xc3\x98\xc3\xbf|\xc2\x89PNG|\x89PNG(?:\r\r\n|\n)",
        ),
        ("a PDF document", _OTHER, rb"%PDF-"),
        ("a PostScript document", _OTHER, rb"%!PS|\xc5\xd0\xd3\xc6"),
        ("a QuickTime video, such as the moving part of a Live Photo", _OTHER, rb"....(?:ftypqt  |moov|mdat|wide)"),
        ("a video", _OTHER, rb"....ftyp|\x1a\x45\xdf\xa3|RIFF....AVI |\x00\x00\x01[\xb3\xba]|FLV\x01"),
        ("an audio file", _OTHER, rb"RIFF....WAVE|ID3|OggS|fLaC"),
        ("a ZIP archive", _OTHER, rb"PK(?:\x03\x04|\x05\x06)"),
        ("compressed data", _OTHER, rb"\x1f\x8b|BZh|\xfd7zXZ\x00|7z\xbc\xaf|Rar!\x1a|\x28\xb5\x2f\xfd"),
        ("a NumPy array", _OTHER, rb"\x93NUMPY"),
        ("a file of macOS beside the image (its name begins with ._)", _OTHER, rb"\x00\x05\x16\x07"),
        ("a file of zeros", _OTHER, rb"\x00{512}"),
        ("a Git LFS pointer", _POINTER, rb"version https://git-lfs\.github\.com/spec/"),
        ("a data URL", _BASE64, rb"\s*data:[\w.+*/-]{0,100}[;,]"),
        (
            "base64 text",
            _BASE64,
            rb"(?:b'|b\")?\s*\"?(?:/9j/|iVBORw0KGgo|R0lGOD[dl]h|UklGR|Qk[\w+/]{14}|AAAA..Z0eX)",
        ),
        ("hexadecimal text", _TEXT, rb"(?i)\s*(?:0x)?(?:ffd8ff[0-9a-f]{6}|89504e470d0a)"),
        ("Python's notation of bytes", _TEXT, rb"b(?:'|\")(?:\\x|GIF8|RIFF|BM)"),
        (
            "the name of a value in a program",
            _POINTER,
            (  # of JavaScript, Python, C#, PHP, Java and Dart
                rb"\s*(?:\[object \w+\]|undefined|null|NaN|None|<(?:_io|PIL)\b.*>|System\.[\w.]+(?:\[\])?|Array|"
                rb"\[B@\w+|Instance of .*)\s*\Z"
            ),
        ),
        ("a web page", _OTHER, rb"(?i:(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html|head|body)\b)"),
        ("XML", _OTHER, rb"(?:\xef\xbb\xbf)?\s*<\?xml\b"),
        ("a URL", _POINTER, rb"\s*(?:(?:https?|file|s3|gs|content|ph|assets-library)://|blob:)"),
        ("a multipart form without its header Content-Type", _POINTER, rb"--[^\r\n]{1,70}\r?\nContent-"),
        (
            "JSON",
            'This is {}, not an image: send the bytes of the image, or {{"inputs": "<the image in base64>"}}.',
            rb"(?:\xef\xbb\xbf)?\s*\"?(?:\{\s*\\?[\"}]|\[\s*[\[{\"\d\]-])",
        ),
        (
            "a file name",
            "This is {}, not the file: send its content (with curl: -F image=@photo.jpg, not -F image=photo.jpg).",
            rb"(?i)@?[^\x00-\x1f<>\"|?*]{1,255}\.(?:jpe?g|png|gif|bmp|webp|hei[cf]|tiff?)'?\s*\Z",
        ),
        (
            "an image with other bytes in front of it",
            "This is {}, such as the output of a program or an HTTP header: send the image alone.",
            rb".{1,900}?(?:\xff\xd8\xff[\xc0-\xfe]|\x89PNG\r\n\x1a\n)",
        ),
        ("text", _OTHER, rb"[\t\r\n\x20-\x7e]+\Z"),
    )
)


def describe(data: bytes) -> str:
    """A sentence that describes bytes that are not an image of an accepted format, by their first kilobyte.

    Such as "TIFF images are not accepted." or "This is a web page, not an image."
    """
    head = bytes(data[:_HEAD_BYTES])
    descriptions = (sentence for sentence, pattern in _KINDS if pattern.match(head))
    return next(descriptions, "This is not an image of a known format.")
