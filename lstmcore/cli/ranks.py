"""`mpiexec -n 4 lstmcore train ...`: one training on all the processes that a launcher of MPI has started."""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from lstmcore.train import Ranks


@functools.cache
def started() -> Ranks | None:
    """The ranks, if this is one of them; None for a program that was started by itself. Raises OSError where mpi4py
    is missing or belongs to another MPI."""
    size = (  # MPICH and Intel MPI, Open MPI, and srun with PMIx say it so
        os.environ.get("PMI_SIZE") or os.environ.get("OMPI_COMM_WORLD_SIZE") or os.environ.get("PMIX_RANK")
    )
    if size is None:
        return None
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise OSError(f"several ranks need mpi4py and its MPI: pip install 'lstmcore[mpi]' ({error})") from error
    world = MPI.COMM_WORLD
    said = int(os.environ.get("PMI_SIZE") or os.environ.get("OMPI_COMM_WORLD_SIZE") or world.size)
    if said != world.size:
        raise OSError(
            f"mpiexec has started {said} ranks and mpi4py sees {world.size}: they belong to two MPIs (take the mpiexec "
            "that was installed beside this Python, or build mpi4py for the other)"
        )
    return Ranks(world)


class Together(TyperGroup):
    """Commands that all ranks end together: where one fails, before its training, after it or between two, all do."""

    def invoke(self, ctx: Any) -> Any:
        ranks = None
        with contextlib.suppress(OSError):  # the command itself says it
            ranks = started()
        if ranks is None:
            return super().invoke(ctx)
        with ranks.pulse.beating(), in_one_line(ranks):
            return super().invoke(ctx)


@contextlib.contextmanager
def in_one_line(ranks: Ranks) -> Iterator[None]:
    """As `Ranks.together`; the first rank says what another has failed of."""
    try:
        with ranks.together():
            yield
    except ConnectionAbortedError as error:
        if ranks.first:
            typer.echo(f"lstmcore: {error}", err=True)
        raise typer.Exit(2) from error


@contextlib.contextmanager
def first_alone(ranks: Ranks | None) -> Iterator[bool]:
    """Whether this is the first rank, which does what stands inside while the others wait. They end if it fails."""
    with in_one_line(ranks) if ranks is not None else contextlib.nullcontext():
        yield ranks is None or ranks.first
