"""`python -m voice --like PID ...`: a command with the settings of a server that runs, wherever those came from."""

import os
from pathlib import Path

import click


def take(pid: int) -> None:
    """This process gets the environment and the folder of that one. Linux only; of another user's only root may."""
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        folder = os.readlink(f"/proc/{pid}/cwd")
        os.chdir(folder)
    except OSError as error:
        raise click.ClickException(f"what the process {pid} was told cannot be read: {error.strerror}") from error
    os.environ.clear()
    os.environ.update(dict(os.fsdecode(pair).split("=", 1) for pair in pairs if b"=" in pair))
