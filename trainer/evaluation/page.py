"""What the pages of the trainer have in common: style, and photos inside the page, so that a page stands alone."""

import base64
import io
from html import escape
from pathlib import Path
from typing import Final

from PIL import Image

from gateway.images import ImageError, Target, decode_image

THUMBNAIL: Final = Target(160, 160, "crop")
SMALL_THUMBNAIL: Final = Target(64, 64, "crop")

STYLE: Final = """
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #1c2330; --muted: #616b7c; --faint: #e3e7ed; --accent: #3b6fd4;
  --good: #2f7fd1; --bad: #d9483b; --third: #22875a; --on-strong: #ffffff; }
@media (prefers-color-scheme: dark) { :root {
  --page: #12151b; --card: #1b2029; --text: #e6e9ef; --muted: #98a2b3; --faint: #2c3442; --accent: #6ea0ff;
  --good: #5aa2ec; --bad: #f0695c; --third: #4cc38a; --on-strong: #0d1117; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 28px 20px 60px; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
svg { font-family: inherit; display: block; max-width: 100%; height: auto; }
h1 { margin: 0; font-size: 26px; } h2 { margin: 0 0 12px; font-size: 18px; }
p { margin: 4px 0; } .muted { color: var(--muted); } .note { font-size: 13px; color: var(--muted); }
section { background: var(--card); border: 1px solid var(--faint); border-radius: 10px; padding: 18px 20px;
  margin-top: 18px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 18px; }
.figures div { background: var(--card); border: 1px solid var(--faint); border-radius: 10px; padding: 12px 16px; }
.figures b { display: block; font-size: 24px; font-weight: 650; font-variant-numeric: tabular-nums; }
.row { display: flex; flex-wrap: wrap; column-gap: 18px; }
.row section { flex: 1 1 440px; min-width: 0; } .row .matrix { flex: 3 1 560px; } .row .pairs { flex: 1 1 360px; }
.broad { width: max-content; min-width: 100%; max-width: calc(100vw - 40px); position: relative; left: 50%;
  transform: translateX(-50%); }
.row > table { flex: 1 1 320px; width: auto; align-self: center; }
.wide, .pairs { overflow-x: auto; } .wide svg { max-width: none; }
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 16px; }
figure { margin: 0; }
figure img { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 8px; display: block; }
.beside { display: flex; gap: 4px; } .beside img { min-width: 0; flex: 1 1 0; }
figcaption { font-size: 13px; line-height: 1.35; margin-top: 6px; overflow-wrap: anywhere; }
figcaption .said { color: var(--bad); } figcaption .true { color: var(--good); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: var(--muted); font-size: 13px; }
th, td { padding: 4px 10px; border-bottom: 1px solid var(--faint); } td { text-align: right; }
th:first-child, td:first-child { text-align: left; } .words th, .words td { text-align: left; }
.words th:last-child, .words td:last-child { text-align: right; }
td.bar { background: linear-gradient(var(--accent) 0 0) left bottom / calc(var(--share) * 100%) 3px no-repeat; }
.rates td { text-align: left; } .rates td:nth-child(2) { text-align: right; }
td.small, .rates td:nth-child(2) { white-space: nowrap; }
td.small img { height: 40px; border-radius: 4px; margin-left: 4px;
  vertical-align: middle; }
input[type=range] { width: 100%; max-width: 520px; accent-color: var(--accent); }
pre { font-size: 12px; overflow-x: auto; margin: 8px 0 0; } summary { cursor: pointer; }
@media (max-width: 600px) { section { padding: 14px 12px; } th, td { padding: 4px 6px; } }
@media print { :root { color-scheme: light; --page: #fff; --card: #fff; --text: #000; --muted: #444; --faint: #ccc;
  --accent: #2456b0; --good: #1f66b0; --bad: #b5362b; --on-strong: #fff; }
  body { max-width: none; padding: 0; font-size: 11pt; } section { border: 0; padding: 8px 0; }
  figure, tr, .figures div { break-inside: avoid; } h2, h2 + .note { break-after: avoid; }
  input[type=range] { display: none; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } .wide { overflow: visible; }
  .broad { position: static; transform: none; } .broad svg { max-width: 100%; height: auto; } }
ul { margin: 0; padding-left: 20px; font-size: 13px; overflow-wrap: anywhere; }
"""


END: Final = "</body></html>"


def document(title: str, body: str, style: str = "") -> str:
    """Returns a page with a title (text), a body (HTML) and additional styles (CSS)."""
    return beginning(title, style) + body + END


def beginning(title: str, style: str = "") -> str:
    """Returns what a page has before its body; END comes after it."""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body>"
    )


def percent(score: float) -> str:
    """Returns a score in percent; `>99%` or `<1%` where it would be rounded to certainty."""
    text = f"{score:.0%}"
    if text == "100%" and score < 1:
        return ">99%"
    return "<1%" if text == "0%" and score > 0 else text


def thumbnail(photo: Path, *, small: bool = False) -> str:
    """Returns a small copy of a photo as a data URL; an empty string if it cannot be read."""
    try:
        return encoded_thumbnail(photo.read_bytes(), SMALL_THUMBNAIL if small else THUMBNAIL)
    except OSError:  # deleted since
        return ""


def encoded_thumbnail(data: bytes, target: Target = THUMBNAIL, quality: int = 80) -> str:
    """Returns a small copy of an encoded photo as a data URL; an empty string if it cannot be decoded."""
    try:
        image = Image.fromarray(decode_image(data, target))
    except ImageError:
        return ""
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
