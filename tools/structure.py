"""Print how the house stands: its rooms, the arrows between them, and counts about its seams.

    python tools/structure.py

Needs nothing but Python; reads the sources and imports none of them. An arrow is
drawn between two rooms of a floor when a module in one imports a module in the other; it goes back when the rooms
import each other, directly or in a circle.
"""

# ruff: noqa: T201 - it prints

import ast
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ratelimit", "campaign_engine", "jobs", "web", "cli", "simulator")
PROVIDERS = re.compile(r"cloud[ _]?api|evolution", re.IGNORECASE)
# The registry and the folders themselves, the history of the schema, the settings named in .env.example, the program
# that plays a provider, and the demonstration at it.
MAY_NAME_A_PROVIDER = (
    "campaign_engine/providers/__init__.py",
    "campaign_engine/providers/cloud_api/",
    "campaign_engine/providers/evolution/",
    "campaign_engine/migrations/",
    "campaign_engine/config.py",
    "simulator/",
    "cli/demo.py",
)
SOURCES = {".py", ".html", ".js", ".sql", ".lua"}
OPEN_DICTS = re.compile(r"\b(?:dict|Mapping)\[str, Any\]")
ALIAS = re.compile(r"\bJson\b")
TURN = "jobs.lane.turns"


@dataclass(frozen=True)
class House:
    """The modules by name: where they are, what they say, and which others they import."""

    sources: Mapping[str, Path]
    trees: Mapping[str, ast.Module]
    imports: Mapping[str, set[str]]

    @classmethod
    def read(cls) -> "House":
        """Read every module of the product."""
        sources = {name_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
        trees = {name: ast.parse(path.read_text()) for name, path in sources.items()}
        return cls(sources, trees, {name: set(imported_by(tree, sources)) - {name} for name, tree in trees.items()})

    @property
    def floors(self) -> list[str]:
        """The packages whose rooms stand side by side; "" is the house itself."""
        return ["", *sorted({room_of(name, path) for name, path in self.sources.items()})]

    @property
    def of_a_turn(self) -> list[str]:
        """What a reader of a turn has before them: its own module, and those that it imports."""
        return sorted([TURN, *(name for name in self.imports[TURN] if not is_init(self.sources[name]))])

    @property
    def bare(self) -> list[str]:
        """Public functions outside the simulator that say nothing of themselves."""
        return [
            each
            for name, tree in self.trees.items()
            if not name.startswith("simulator")
            for each in without_docstring(name, tree)
        ]


def circles_on(floor: str, imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the rooms of a floor that know each other, directly or in a circle."""
    return [sorted(circle) for circle in strongly_connected(arrows_on(floor, imports)) if len(circle) > 1]


def main() -> None:
    """Print it all."""
    house = House.read()
    sources, trees, imports = house.sources, house.trees, house.imports
    rooms = {name: room_of(name, path) for name, path in sources.items()}

    print("Modules per room (lines)")
    lines: Counter[str] = Counter()
    for name, path in sources.items():
        lines[rooms[name]] += len(path.read_text().splitlines())
    for room, count in sorted(Counter(rooms[name] for name in sources if not is_init(sources[name])).items()):
        print(f"  {room:42}{count:4}{lines[room]:8,}")

    print("\nArrows between the rooms of a floor (modules and packages side by side), and those that go back")
    for floor in house.floors:
        circles = circles_on(floor, imports)
        if count := sum(map(len, arrows_on(floor, imports).values())):
            print(f"  {floor or 'the house':42}{count:4}  back: {sum(map(len, circles))}", *circles)
    for room, others in sorted(arrows_on("campaign_engine.services", imports).items()):
        print(f"  {room.rsplit('.', 1)[-1]:12}-> {', '.join(sorted(other.rsplit('.', 1)[-1] for other in others))}")
    in_circles = sum(len(circle) for circle in strongly_connected(imports) if len(circle) > 1)
    print(f"Modules in import circles: {in_circles} of {len(sources)}")

    named = sorted(files_that_name_a_provider())
    print(f"\nFiles that name a provider outside its folder: {len(named)}", *named, sep="\n  ")
    engine = {name: path for name, path in sources.items() if not name.startswith("simulator")}
    texts = {name: path.read_text().splitlines() for name, path in engine.items()}
    open_dicts = Counter(
        name.split(".")[0] for name, lines in texts.items() for line in lines if OPEN_DICTS.search(line)
    )
    aliased = sum(bool(ALIAS.search(line)) and "import" not in line for lines in texts.values() for line in lines)
    print(f"\nLines with dict[str, Any] or Mapping[str, Any]: {open_dicts.total()}", dict(open_dicts))
    print(f"Lines with their alias Json, JSON of an open shape: {aliased}")
    turn = house.of_a_turn
    print(f"\nModules that a turn takes ({TURN} and what it imports): {len(turn)}", *turn, sep="\n  ")
    print(f"\nPublic functions without a docstring, outside simulator/: {len(house.bare)}", *house.bare, sep="\n  ")
    twins = Counter(name.rsplit(".", 1)[-1] for name in engine if not is_init(sources[name]))
    print("\nModules of one name:", ", ".join(f"{name} x{count}" for name, count in sorted(twins.items()) if count > 1))
    types = Counter(node.name for name in engine for node in trees[name].body if isinstance(node, ast.ClassDef))
    print("Types of one name:", ", ".join(f"{name} x{count}" for name, count in sorted(types.items()) if count > 1))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_init(path: Path) -> bool:
    return path.name == "__init__.py"


def room_of(name: str, path: Path) -> str:
    return name if is_init(path) else name.rpartition(".")[0]


def imported_by(tree: ast.Module, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the project's modules that a module imports, wherever in it the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.module in known:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield module if module in known else node.module


def arrows_on(floor: str, imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return who imports whom among the rooms that stand side by side in the package `floor` ("": the house itself)."""
    prefix = f"{floor}." if floor else ""
    arrows: dict[str, set[str]] = defaultdict(set)
    for name, others in imports.items():
        for other in others:
            if name.startswith(prefix) and other.startswith(prefix):
                here, there = (prefix + each.removeprefix(prefix).split(".")[0] for each in (name, other))
                if here != there:
                    arrows[here].add(there)
    return arrows


def files_that_name_a_provider() -> Iterator[str]:
    """Yield product files that name a provider: sources, templates, scripts and statements."""
    paths = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.suffix in SOURCES)
    for path in paths:
        where = path.relative_to(ROOT).as_posix()
        count = 0 if where.startswith(MAY_NAME_A_PROVIDER) else len(PROVIDERS.findall(path.read_text()))
        if count:
            yield f"{where} ({count})"


def without_docstring(name: str, tree: ast.Module) -> Iterator[str]:
    """Yield the public functions of a module, and the public methods of its public classes, that have no docstring."""
    for node in tree.body:
        members = node.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else [node]
        for member in members:
            if not isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) or member.name.startswith("_"):
                continue
            if ast.get_docstring(member) is None:
                owner = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
                yield f"{name}.{owner}{member.name}"


def strongly_connected(arrows: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the sets of nodes that reach each other, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in arrows.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            circle: set[str] = set()
            while node not in circle:
                circle.add(stack.pop())
            found.append(circle)

    sys.setrecursionlimit(10_000)
    for node in list(arrows):
        if node not in index:
            visit(node)
    return found


if __name__ == "__main__":
    main()
