"""`mpiexec -n 4 lstmcore train ...`: one training on all the processes that a launcher of MPI has started."""

import contextlib
import functools
import os
from collections.abc import Iterator

import typer

from lstmcore.train import Ranks

SHARES = 8


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
    return Ranks(world, exact=world.size in (1, 2, 4, SHARES), shares=SHARES)


@contextlib.contextmanager
def first_alone(ranks: Ranks | None) -> Iterator[bool]:
    """Whether this is the first rank, which does what stands inside while the others wait. They end if it fails."""
    if ranks is None:
        yield True
    elif ranks.first:
        try:
            yield True
        except BaseException:
            ranks.from_first(False)
            raise
        ranks.from_first(True)
    else:
        yield False
        if not ranks.from_first(True):
            raise typer.Exit(2)
