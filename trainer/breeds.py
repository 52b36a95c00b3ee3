"""The invented breeds of the sample model: what is the same in every dog of one."""

from dataclasses import dataclass

from trainer.scenery import Colour


@dataclass(frozen=True)
class Breed:
    """What is the same in every dog of a breed; lengths in the figure's units."""

    label: str
    length: float  # hip to shoulder
    chest: float  # radius of the body at the shoulder
    waist: float  # radius of the body at the hip
    leg: float  # from the body's axis to the ground
    leg_width: float
    head: float  # radius
    muzzle: float
    neck: float
    coats: tuple[Colour, ...]
    ears: str
    tail: str
    marking: str = ""


WHITE, CREAM, SAND, FAWN = (246, 243, 236), (240, 222, 186), (222, 178, 120), (214, 180, 136)
GOLD, ORANGE, RED, BROWN = (224, 164, 72), (222, 128, 52), (166, 82, 44), (122, 80, 52)
GREY, SLATE, BLACK = (168, 168, 174), (98, 102, 116), (58, 54, 58)

BREEDS = (
    Breed(
        "Carpet Terrier", length=0.80, chest=0.27, waist=0.26, leg=0.42, leg_width=0.075, head=0.23, muzzle=0.15,
        neck=0.20, coats=(CREAM, GREY, GOLD, SLATE, BROWN), ears="hidden", tail="plume", marking="mop",
    ),
    Breed(
        "Freckled Runner", length=0.86, chest=0.24, waist=0.15, leg=0.70, leg_width=0.058, head=0.165, muzzle=0.23,
        neck=0.34, coats=(WHITE, CREAM, (226, 226, 232)), ears="folded", tail="whip", marking="freckles",
    ),
    Breed(
        "Masked Pudge", length=0.62, chest=0.29, waist=0.27, leg=0.46, leg_width=0.085, head=0.26, muzzle=0.10,
        neck=0.22, coats=(FAWN, SAND, CREAM, GREY), ears="button", tail="knot", marking="mask",
    ),
    Breed(
        "Pompom Waterdog", length=0.72, chest=0.21, waist=0.16, leg=0.64, leg_width=0.048, head=0.165, muzzle=0.20,
        neck=0.34, coats=(WHITE, BLACK, GREY, SAND, BROWN), ears="woolly", tail="pompom", marking="pompoms",
    ),
    Breed(
        "Ring-tailed Spitz", length=0.66, chest=0.26, waist=0.23, leg=0.52, leg_width=0.065, head=0.21, muzzle=0.16,
        neck=0.26, coats=(ORANGE, WHITE, RED, BLACK, SAND), ears="prick", tail="ring", marking="ruff",
    ),
    Breed(
        "Saddleback Shepherd", length=0.92, chest=0.25, waist=0.20, leg=0.60, leg_width=0.068, head=0.19, muzzle=0.24,
        neck=0.32, coats=(SAND, GOLD, ORANGE, FAWN), ears="tall", tail="brush", marking="saddle",
    ),
    Breed(
        "Sausage Hound", length=1.36, chest=0.19, waist=0.175, leg=0.32, leg_width=0.066, head=0.165, muzzle=0.25,
        neck=0.26, coats=(RED, BROWN, BLACK, SAND, GOLD), ears="long", tail="whip",
    ),
)  # fmt: skip
"""The breeds of the sample model, in the order of its labels."""
