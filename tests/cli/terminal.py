"""A terminal in which commands are given as an operator gives them.

Exit codes: 0 done, 1 refused or failed with one clear line, 2 usage. Most run in a fork of a process that has the
commands imported already, with an environment and standard streams of their own; what differs from the console
script is the half second that Python needs to start.
"""

import json
import select
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests import factories
from tests.simulator import running

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "contacts.csv"
CONSOLE_SCRIPT = Path(sys.executable).parent / "campaign-engine"
EMAIL, PASSWORD = "ana@example.com", "a password nobody prints"
NUMBER, TOKEN, APP_SECRET = running.PHONE_NUMBER_ID, running.TOKEN, "an app secret nobody prints"
NOWHERE = "127.0.0.1:1"

FORKING = """
import gc, json, os, sys, traceback
from sqlalchemy.orm import configure_mappers
from cli.main import main
from tests import outgoing

for name in main.list_commands(None):
    main.get_command(None, name)
configure_mappers()
gc.freeze()  # the collector of a fork would copy every page
for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.chdir(asked["folder"])
            os.environ.clear()
            os.environ.update(asked["env"])
            for fd, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
                os.dup2(os.open(name, os.O_RDONLY if mode == "r" else os.O_WRONLY), fd)
                setattr(sys, name, open(fd, mode, encoding="utf-8", closefd=False))
            with outgoing.watched(controls=True) as calls:
                try:
                    main(args=asked["arguments"], prog_name="campaign-engine")
                finally:
                    if calls:
                        raise AssertionError(calls[0])
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert (self.code, self.err) == (0, "")
        return json.loads(self.out)

    @property
    def refusal(self) -> str:
        """The one line that a refused command says, on standard error and nowhere else."""
        assert self.code == 1, self
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("campaign-engine: ")
        return line.removeprefix("campaign-engine: ")

    @property
    def usage(self) -> str:
        """What a command says that was called wrongly."""
        assert (self.code, self.out) == (2, ""), self
        assert self.err.startswith("Usage: campaign-engine")
        return self.err


@dataclass
class Terminal:
    """Gives commands, in an empty folder, with an environment of its own."""

    process: "subprocess.Popen[str]"
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: str = "", **env: str) -> Done:
        for name, content in (("stdin", stdin), ("stdout", ""), ("stderr", "")):
            (self.folder / name).write_text(content)
        asked = {"arguments": arguments, "env": {**self.env, **env}, "folder": str(self.folder)}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], 60)[0], f"{arguments} did not end"
        code = int(self.process.stdout.readline())
        return self._checked(Done(code, (self.folder / "stdout").read_text(), (self.folder / "stderr").read_text()))

    def console_script(self, *arguments: str, stdin: str = "", **env: str) -> Done:
        """Give a command as a person does."""
        done = subprocess.run(
            [CONSOLE_SCRIPT, *arguments],
            input=stdin,
            cwd=self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return self._checked(Done(done.returncode, done.stdout, done.stderr))

    @staticmethod
    def _checked(done: Done) -> Done:
        for secret in (PASSWORD, TOKEN, APP_SECRET, factories.ENCRYPTION_KEY, factories.SECRET_KEY):
            assert secret not in done.out + done.err
        assert "Traceback" not in done.err, done.err
        return done


def rows(database_url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]
