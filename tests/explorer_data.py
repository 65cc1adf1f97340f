"""What a page of the explorer holds of its numbers."""

import json
import re
from typing import Any


def data(html: str) -> Any:
    """The one piece of JSON in it."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html)
    return json.loads(found)
