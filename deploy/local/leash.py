"""Run a program that dies with the process that started it: `leash.py PARENT SIGNAL UID:GID PROGRAM ARGUMENTS...`.

Run by path, in isolated mode, so that it starts in milliseconds. It becomes the program; it does not stay beside it.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Give up root if asked to, ask the kernel for a signal at the parent's death, and become the program."""
    parent, number, owner, *command = sys.argv[1:]
    user, group = map(int, owner.split(":"))
    if user != os.getuid():
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    if sys.platform == "linux":  # after setuid, which would clear it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number))
    if os.getppid() != int(parent):  # it died before the line above
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  # that there is no shell is the point


main()
