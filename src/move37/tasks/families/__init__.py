"""Our own task families; the registry is one dict."""

from move37.tasks.families.base import Family, Fields
from move37.tasks.families.chain import Chain
from move37.tasks.families.countdown import Countdown
from move37.tasks.families.fact import Fact
from move37.tasks.families.forms import Forms
from move37.tasks.families.general import General
from move37.tasks.families.greet import Greet
from move37.tasks.families.product import Product
from move37.tasks.families.request import Request
from move37.tasks.families.rewrite import Rewrite
from move37.tasks.families.same import Same
from move37.tasks.families.translate import Translate
from move37.tasks.families.word import Word
from move37.tasks.families.write import Write

FAMILIES: dict[str, type[Family]] = {
    "chain": Chain,
    "product": Product,
    "countdown": Countdown,
    "word": Word,
    "greet": Greet,
    "fact": Fact,
    "rewrite": Rewrite,
    "translate": Translate,
    "write": Write,
    "request": Request,
    "forms": Forms,
    "same": Same,
}

__all__ = ["FAMILIES", "Family", "Fields", "Forms", "General", "Same"]
