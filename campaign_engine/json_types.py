"""JSON whose shape the code does not decide: columns of JSON, and bodies from providers or programs of others."""

from typing import Any

Json = dict[str, Any]
"""An object of an open shape; its reader checks each value. An object of a known shape has a type of its own."""
