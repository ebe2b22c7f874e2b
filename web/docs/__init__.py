"""The reference of the API as a page, made from the OpenAPI document; needs no network and no script."""

from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, current_app, render_template

from campaign_engine.json_types import Json

blueprint = Blueprint("docs", __name__, template_folder=".")

METHODS = ("get", "post", "patch", "put", "delete")


def register(app: Flask) -> None:
    """Serve /docs."""
    app.register_blueprint(blueprint)


@blueprint.get("/docs")
def show() -> Response:
    """Show every operation of the API with its parameters, bodies and answers."""
    spec = current_app.extensions["flask-smorest"]["apis"][""]["ext_obj"].spec.to_dict()
    return Response(render_template("docs.html", spec=spec, groups=_groups(spec), fields_of=_fields_reader(spec)))


@blueprint.get("/docs/docs.css")
def style() -> Response:
    """Return the page's style sheet."""
    answer = Response(Path(__file__).with_name("docs.css").read_bytes(), mimetype="text/css")
    answer.cache_control.max_age = 3600
    return answer


def _groups(spec: Json) -> list[tuple[dict[str, str], list[Json]]]:
    """Return (tag, its operations) in the order of the tags."""
    operations = [
        {"method": method, "path": path, **item[method]}
        for path, item in spec["paths"].items()
        for method in METHODS
        if method in item
    ]
    return [(tag, [each for each in operations if tag["name"] in each["tags"]]) for tag in spec.get("tags", [])]


def _fields_reader(spec: Json) -> Any:
    """Return a function from a schema of the document to rows (field, type, required, description)."""

    def resolved(schema: Json) -> Json:
        reference = schema.get("$ref")
        return spec["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema

    def words(schema: Json) -> str:
        kind = resolved(schema).get("type", "object")
        kind = " or ".join(kind) if isinstance(kind, list) else kind
        return f"list of {words(schema['items'])}" if kind == "array" and "items" in schema else kind

    def rows(schema: Json, prefix: str = "", depth: int = 0) -> list[tuple[str, str, bool, str]]:
        found: list[tuple[str, str, bool, str]] = []
        whole = resolved(schema)
        for name, inner in whole.get("properties", {}).items():
            needed = name in whole.get("required", [])
            found.append((prefix + name, words(inner), needed, inner.get("description", "")))
            target = inner.get("items", inner)
            if depth < 3 and resolved(target).get("properties"):
                found += rows(target, f"{prefix}{name}.", depth + 1)
        return found

    return rows
