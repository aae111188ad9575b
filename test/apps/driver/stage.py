"""Where the programs run: a folder of its own outside the source tree, which may be closed to other accounts, and an
ordinary account made for the run when we are root."""

import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
NPM = ROOT / "build/npm/node_modules"


class Account:
    """Who runs the programs. As root, an ordinary account that lives as long as this object."""

    def __init__(self, as_root=False, name=None):
        self.temporary = None
        if os.getuid() == 0 and not as_root:
            self.temporary = name or f"stint-test-{os.getpid()}"
            subprocess.run(["userdel", self.temporary], check=False, capture_output=True)  # Of a run that was ended hard.
            subprocess.run(["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/sh",
                            self.temporary], check=True)
            entry = pwd.getpwnam(self.temporary)
        else:
            entry = pwd.getpwuid(os.getuid())
        self.uid, self.gid, self.name = entry.pw_uid, entry.pw_gid, entry.pw_name
        self.kind = "root" if self.uid == 0 else "user"

    def identity(self):
        """Arguments for Popen that make the child this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.temporary else {}

    def close(self):
        if self.temporary:
            shutil.rmtree(f"/tmp/hsperfdata_{self.temporary}", ignore_errors=True)  # Java's, which knows no TMPDIR.
            subprocess.run(["userdel", self.temporary], check=False, capture_output=True)


class Stage:
    """The folder: bin/stint, npm, home, and for each program app, input, work, out and state."""

    def __init__(self, account, stint, programs):
        self.account = account
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="stint-apps-"))
        self.path.chmod(0o755)
        self.npm = self.path / "npm"
        self.stint = self.path / "bin/stint"
        self.home = self.folder("home")
        if stint:
            self.stint.parent.mkdir()
            shutil.copy(stint, self.stint)
        for package in {name.rsplit("@", 1)[0] for program in programs for name in program.npm}:
            if (NPM / package).is_dir():
                shutil.copytree(NPM / package, self.npm / package)

    def folder(self, *parts):
        """Makes a folder that belongs to the account."""
        path = self.path.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, self.account.uid, self.account.gid)
        return path

    def environment(self, state):
        """A small, known environment: what a program prints must not depend on the caller's."""
        kept = {name: os.environ[name] for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE") if name in os.environ}
        return {"PATH": f"{self.path}/bin:/usr/local/bin:/usr/bin:/bin:/usr/games", "HOME": str(self.home), "LANG": "C.UTF-8",
                "USER": self.account.name, "TMPDIR": str(self.folder("tmp")), "STINT_HOME": str(state), **kept}

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)
