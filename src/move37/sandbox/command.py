"""The command that starts the waiting process: bubblewrap around it, or nothing.

What is there inside: shared libraries, the standard library of this Python, the files of `inside/`, three devices. All of it
read-only. Not there: home directories, /etc, /proc, /sys, the project, installed packages, the network.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from move37.sandbox.inside import case

INSIDE = Path(__file__).parent / "inside"
BOOT = """
import sys, types
for name in ("move37", "move37.sandbox"):
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [sys.argv[2]]
from move37.sandbox.inside.serve import main
main(sys.argv[1] == "private")
"""
FLAGS = ["-B", "-s", "-S", "-P", "-X", "utf8", "-c", BOOT]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
LIBRARIES = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib32", "/lib64")
INSTALL = "apt-get install bubblewrap (Debian, Ubuntu), dnf install bubblewrap (Fedora)"


def plain() -> tuple[list[str], dict[str, str]]:
    """Command and environment of a process without a sandbox: limits, a process group and the filter are all it has."""
    return [_python(), *FLAGS, "plain", str(INSIDE.parent)], dict(ENVIRONMENT)


def bubblewrap(bwrap: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a process in namespaces of its own, that ends when this one does."""
    environment = dict(ENVIRONMENT)
    executable = _python()
    command = [
        *(bwrap, "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
        *("--unshare-cgroup-try", "--uid", "1000", "--gid", "1000", "--hostname", "sandbox"),
        *("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN"),
        *_libraries(),
    ]
    if Path(sys.base_prefix) == Path("/usr"):
        command += ["--ro-bind", executable, executable]
        hidden = [Path("/usr/lib/python3/dist-packages")]
    else:
        home = Path(sys.base_prefix)
        for name in ("lib", "lib64"):
            if (home / name).is_dir():
                command += ["--ro-bind", str(home / name), f"/python/{name}"]
        command += ["--ro-bind", executable, "/python/bin/python"]
        environment["LD_LIBRARY_PATH"] = "/python/lib"
        hidden = [Path("/python/lib") / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"]
        executable = "/python/bin/python"
    for path in hidden:
        real = home / path.relative_to("/python") if path.is_relative_to("/python") else path
        if real.is_dir():
            command += ["--tmpfs", str(path), "--remount-ro", str(path)]
    for device in case.DEVICES:
        command += ["--dev-bind", device, device]
    command += ["--ro-bind", str(INSIDE), "/sandbox/inside", "--dir", "/tmp", "--symlink", "/tmp/stdin", "/dev/stdin"]
    command += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--remount-ro", "/", "--chdir", "/"]
    return [*command, executable, *FLAGS, "private", "/sandbox"], environment


def _python() -> str:
    """The interpreter behind a virtual environment."""
    return os.path.realpath(sys.executable)


def _libraries() -> list[str]:
    """Where the dynamic linker looks, as this system has it: directories, or links to them."""
    out = []
    for path in LIBRARIES:
        if os.path.islink(path):
            out += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            out += ["--ro-bind", path, path]
    return out
