"""A program under test: one folder with an app.toml that says how it is installed, run, and compared."""

import dataclasses
import pathlib
import re
import string
import subprocess
import tomllib

FOLDER = pathlib.Path(__file__).resolve().parent.parent


class BadProgram(Exception):
    """An app.toml that says something we do not know."""


@dataclasses.dataclass
class Program:
    name: str
    about: str
    kind: str
    version: str  # A shell command that prints one line.
    run: list[str]  # $APP, $NPM and $SIZE are filled in; $$ is a dollar.
    size: dict[str, str]
    packages: list[str] = dataclasses.field(default_factory=list)
    command: str = ""  # Enough instead of the packages, when it is there.
    npm: list[str] = dataclasses.field(default_factory=list)
    setup: str = ""  # A shell command that makes the inputs in its working directory.
    status: int | dict[str, int] = 0  # What it ends with, or that for each size.
    mask: list[dict] = dataclasses.field(default_factory=list)
    sort_stdout: bool = False
    stdout: str = "file"
    terminal: dict = dataclasses.field(default_factory=dict)

    def argv(self, variables):
        return [string.Template(word).substitute(variables) for word in self.run]

    def expected_status(self, length):
        return self.status[length] if isinstance(self.status, dict) else self.status

    def missing(self, npm_folder):
        """Why the program cannot be run here, or an empty string."""
        if self.command and subprocess.run(["sh", "-c", f"command -v {self.command}"], capture_output=True).returncode == 0:
            return ""
        for package in self.packages:
            if not _installed(package):
                return f"Debian package {package} is not installed (test/setup apps)"
        for package in self.npm:
            if not (npm_folder / package.rsplit("@", 1)[0]).is_dir():
                return f"npm package {package} is not installed (test/setup apps)"
        return ""


def _installed(package):
    shown = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True)
    return shown.stdout == "install ok installed"


def load(folder):
    try:
        with open(folder / "app.toml", "rb") as toml:
            program = Program(name=folder.name, **tomllib.load(toml))
    except (TypeError, tomllib.TOMLDecodeError) as error:
        raise BadProgram(f"{folder.name}/app.toml: {error}") from error
    if set(program.size) != {"short", "long"} or program.stdout not in ("file", "pipe"):
        raise BadProgram(f"{folder.name}/app.toml: size needs short and long; stdout is file or pipe")
    for mask in program.mask:
        re.compile(mask["pattern"])
    return program


def load_all():
    return [load(toml.parent) for toml in sorted(FOLDER.glob("*/app.toml"))]
