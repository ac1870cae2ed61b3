"""Our own task families; the registry is one dict."""

from move37.tasks.families.base import Family, Fields
from move37.tasks.families.chain import Chain
from move37.tasks.families.countdown import Countdown
from move37.tasks.families.product import Product
from move37.tasks.families.word import Word

FAMILIES: dict[str, type[Family]] = {"chain": Chain, "product": Product, "countdown": Countdown, "word": Word}

__all__ = ["FAMILIES", "Family", "Fields"]
