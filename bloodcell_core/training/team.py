"""Several processes that train one run together, each on a device of its own, as `torchrun` starts them.

One of them leads: it makes the run's folder and is the only one that writes there. The others need to see the same
workspace. A process that was started by itself is a team of one, for which all of this does nothing.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from filelock import FileLock

from bloodcell_core import workspace
from bloodcell_core.errors import LabError

if TYPE_CHECKING:
    from torch import Tensor, nn

PATIENCE = timedelta(days=7)  # the others wait as long as the leader stands in the queue; torchrun ends them if it dies
_held: list[FileLock] = []
"""The lock of this process's device, where it doesn't lead; kept here, as an unreferenced lock is released."""


@dataclass(frozen=True)
class Team:
    """A process's place in its team."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of a batch."""
        return rows[self.rank :: self.size]

    def draw(self, step: int) -> int:
        """The number of a step's random draws: no two processes share theirs."""
        return step * self.size + self.rank

    def sum(self, values: Tensor) -> Tensor:
        """`values` added up over the team, on every process; for one process they are left as they are."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.all_reduce(values)
        return values

    def take_leaders_statistics(self, network: nn.Module) -> None:
        """Gives each process the leader's statistics of batch normalisation, in place: those are kept.

        On CPUs each has others of its own.
        """
        if self.size > 1:
            import torch.distributed

            for statistics in network.buffers():
                torch.distributed.broadcast(statistics, 0)

    def share_statistics(self, network: nn.Module, on_cuda: bool) -> str:
        """Lets batch normalisation take the statistics of the team's whole batch; '' or why it can't, for people.

        In place; the weights stay the same tensors. Only NCCL, on CUDA, supports it: on CPUs each process uses the
        statistics of its own share.
        """
        if self.size == 1:
            return ""
        from torch import nn

        normed = [each for each in network.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
        if normed and not on_cuda:
            return (
                f"batch normalisation goes by each process's own share of a batch: {self.size} processes on CPUs can't "
                "share its statistics, so the result is another than one process's"
            )
        convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
        if any(type(each) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d) for each in normed):
            from timm.layers.norm_act import convert_sync_batchnorm  # keeps the activation in timm's own layers

            convert = convert_sync_batchnorm
        convert(network)
        return ""

    def device(self, wanted: str) -> str:
        """The device that this process is to take: a GPU each. LabError where a single one was asked for by number."""
        if self.size == 1 or wanted == "cpu":
            return wanted
        if ":" in wanted:
            raise LabError(f"several processes can't share {wanted}: use --device auto, cuda or cpu with torchrun")
        import torch

        if wanted == "auto" and not torch.cuda.is_available():
            return "cpu"
        return f"cuda:{int(os.environ.get('LOCAL_RANK', 0))}"

    def assemble(self, wanted: str, run_name: str | None = None) -> str | None:
        """Joins the processes on the device `wanted`, and sends all the run to train: the leader's `run_name`.

        None where it trains none. The others' devices are theirs alone from here on; the leader has its own already.
        LabError where there is no device for it.
        """
        if self.size == 1:
            return run_name
        # Import now: its functions bind the default group at import, and a group kept alive to the interpreter's end
        # aborts the process (SIGABRT).
        import torch.distributed.nn.functional

        device = self.device(wanted)
        on_cuda = device.startswith("cuda")
        if on_cuda:
            from bloodcell_core.device import choose_device

            choose_device(device)  # LabError where this process has none
            torch.cuda.set_device(device)
        torch.distributed.init_process_group("nccl" if on_cuda else "gloo", timeout=PATIENCE)
        told = [run_name]
        torch.distributed.broadcast_object_list(told)
        if told[0] and on_cuda and not self.leads:
            lock = FileLock(workspace.lock_file(f"device-{_machine()}{device.replace(':', '-')}"))
            lock.acquire()
            _held.append(lock)
        return told[0]

    def met(self) -> bool:
        """Whether its processes have been joined; always True for a single one."""
        if self.size == 1:
            return True
        import torch.distributed

        return torch.distributed.is_initialized()

    def part(self, failed: bool = False) -> None:
        """Undoes `assemble`; `failed` where this process breaks off while the others go on."""
        if self.size > 1 and self.met():
            import torch.distributed

            # NCCL would wait for sums that the others never get to, and torchrun for this process to end: then it
            # ends them, too.
            if not (failed and torch.distributed.get_backend() == "nccl"):
                torch.distributed.destroy_process_group()
            while _held:
                _held.pop().release()


def _machine() -> str:
    """The name of this machine with a dash, where it isn't the leader's; '' there.

    Each has a cuda:0 of its own: by one name for all of them this process would wait for the leader's, for ever.
    """
    same = os.environ.get("GROUP_RANK", "0") == "0"  # torchrun's number of the machine; the leader is on the first
    return "" if same else f"{workspace.slug(platform.node())}-"


ALONE = Team()


def this_process() -> Team:
    """This process's place, from what torchrun has put into the environment."""
    return Team(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
