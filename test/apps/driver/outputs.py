"""What a program left behind: its exit status, its standard output and every file in its working directory."""

import dataclasses
import difflib
import hashlib
import os
import re
import stat


@dataclasses.dataclass
class Outputs:
    status: int
    files: dict[str, bytes]  # Digest of each file's masked content, or the target of a link.
    samples: dict[str, bytes]  # The content itself while it is small enough to be shown.


SAMPLE = 8 << 20


def _content(program, name, data):
    for mask in program.mask:
        if mask["file"] == name:
            data = re.sub(mask["pattern"].encode(), b"", data, flags=re.MULTILINE)
    if name == "stdout" and program.sort_stdout:
        data = b"\n".join(sorted(data.split(b"\n")))
    return data


def collect(program, status, work, stdout):
    outputs = Outputs(status, {}, {})
    paths = {"stdout": stdout}
    for folder, _, names in os.walk(work):
        for name in names:
            path = os.path.join(folder, name)
            paths["work/" + os.path.relpath(path, work)] = path
    for name, path in sorted(paths.items()):
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            outputs.files[name] = os.readlink(path).encode() if stat.S_ISLNK(mode) else oct(stat.S_IFMT(mode)).encode()
            continue
        with open(path, "rb") as file:
            data = _content(program, name, file.read())
        outputs.files[name] = hashlib.sha256(data).digest()
        if len(data) <= SAMPLE:
            outputs.samples[name] = data
    return outputs


def _first_difference(name, expected, found):
    if expected is None or found is None:
        return [f"{name}: differs"]
    at = next((i for i, (a, b) in enumerate(zip(expected, found)) if a != b), min(len(expected), len(found)))
    head = [f"{name}: {len(expected)} bytes uncut, {len(found)} bytes cut; the first difference is at byte {at}"]
    if b"\0" in expected[:4096]:
        return head
    lines = difflib.unified_diff(expected[max(0, at - 2000):at + 4000].decode(errors="replace").splitlines(),
                                 found[max(0, at - 2000):at + 4000].decode(errors="replace").splitlines(),
                                 "uncut", "cut", n=1, lineterm="")
    return head + [line[:160] for line, _ in zip(lines, range(12))]


def differences(expected, found):
    """Lines that say how two runs differ; none when they are equal."""
    lines = []
    if expected.status != found.status:
        lines.append(f"exit status {expected.status} uncut, {found.status} cut")
    for name in sorted(expected.files.keys() | found.files.keys()):
        if name not in found.files:
            lines.append(f"{name}: missing")
        elif name not in expected.files:
            lines.append(f"{name}: was not there in the uncut run")
        elif expected.files[name] != found.files[name]:
            lines += _first_difference(name, expected.samples.get(name), found.samples.get(name))
    return lines
