"""JSON whose shape the code does not decide: columns of JSON, and what a provider or a program of others sends."""

from typing import Any

Json = dict[str, Any]
"""An object of an open shape; whoever reads it checks what is taken from it. What has a shape has a type of its own."""
