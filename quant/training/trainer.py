"""Training a network from scratch, and the accuracy of a float network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden.arithmetic import ceil_div
from golden.errors import UserError
from golden.reading import check_readable
from quant.data.answers import correct
from quant.data.images import ImageSet
from quant.networks.model import Model, Recipe
from quant.runtime import processes
from quant.runtime.precision import Precision, mixed
from quant.runtime.progress import progress
from quant.runtime.replica import replica
from quant.training.augmentation import draw_moves, erase, move

__all__ = ["Trainer", "float_top1", "make_optimiser", "train"]

_NEXT_PROCESS = 1_000_000
"""The difference between the seeds of one process and the next."""


class Trainer:
    """Trains a network. Training can stop after any epoch and go on later, with the same result.

    Order, augmentation and dropout of an epoch depend only on `seed` and the epoch's number;
    dropout also depends on the process. The caller sets the initial weights. With a precision of
    bfloat16 only products are computed in it; weights stay float32. A training may go on in another
    precision than it began in, for example on another machine.
    """

    def __init__(
        self,
        model: Model,
        module: nn.Module,
        image_set: ImageSet,
        recipe: Recipe,
        *,
        seed: int,
        precision: Precision = "float32",
    ) -> None:
        self.model = model
        # This memory format is faster on CPUs.
        self.module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.replica = replica(self.module)
        self.image_set = image_set
        self.recipe = recipe
        self.seed = seed
        self.precision = precision
        self.epoch = 0
        self.optimiser = make_optimiser(module, recipe, recipe.learning_rate)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, recipe.learning_rate, total_steps=recipe.epochs * self.steps
        )

    @property
    def steps(self) -> int:
        """The number of steps of one epoch."""
        return ceil_div(len(self.image_set), self.recipe.batch)

    def run_epoch(self, label: str = "") -> None:
        """Train for one pass over the images; with a label, show the progress."""
        generator = torch.Generator().manual_seed(self.seed * 1000 + self.epoch)
        torch.manual_seed(self.seed * 1000 + self.epoch + _NEXT_PROCESS * processes.rank())
        device = next(self.module.parameters()).device
        order = torch.randperm(len(self.image_set), generator=generator).split(self.recipe.batch)
        mine = processes.share()
        self.replica.train()
        for index in progress(order, self.steps, label) if label else order:
            moves = draw_moves(len(index), self.recipe, generator)[mine]
            index, batch = index[mine], len(index)
            pixels = move(self.image_set.pixels(index), moves, self.recipe)
            images = self.model.normalise(pixels)
            if self.recipe.erased:
                corners = self._corners(batch, images.shape[2:], generator)[mine]
                images = erase(images, self.recipe.erased, corners)
            images = images.contiguous(memory_format=torch.channels_last).to(device)
            with mixed(device, self.precision):
                logits = self.replica(images)
            labels = self.image_set.labels[index].to(device)
            loss = F.cross_entropy(
                logits.float(),
                labels,
                reduction="sum",
                label_smoothing=self.recipe.label_smoothing,
            )
            loss = loss * processes.world_size() / batch
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
        self.epoch += 1
        self.replica.eval()

    def _corners(self, count: int, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Draw the first pixels of the erased squares; the squares' centres are in the images."""
        sides = torch.tensor(shape)
        centres = (torch.rand(count, 2, generator=generator) * sides).long()
        return centres - self.recipe.erased // 2

    def state(self) -> dict[str, Any]:
        """Return everything that a later `restore` needs."""
        return {
            "epoch": self.epoch,
            "seed": self.seed,
            "images": len(self.image_set),
            "recipe": vars(self.recipe),
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, file: Path) -> None:
        """Go on from a saved state. Raises UserError if it is the state of another training."""
        check_readable(file, "there is nothing to --resume from")
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            for name in ("seed", "images", "recipe"):
                mine = self.state()[name]
                if state[name] != mine:
                    raise UserError(f"{file}: its {name} is {state[name]}, not {mine}")
            self.module.load_state_dict(state["module"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.schedule.load_state_dict(state["schedule"])
            self.epoch = state["epoch"]
        except UserError:
            raise
        except Exception as error:  # a damaged pickle can raise nearly anything
            raise UserError(f"{file}: not a checkpoint of this training: {error}") from None


def train(
    model: Model, module: nn.Module, image_set: ImageSet, recipe: Recipe, *, seed: int, device: str
) -> None:
    """Train `module` in place from its present weights, and leave it in eval mode."""
    trainer = Trainer(model, module.to(device), image_set, recipe, seed=seed)
    for _ in progress(range(recipe.epochs), recipe.epochs, "training the network"):
        trainer.run_epoch()


@torch.no_grad()
def float_top1(model: Model, module: nn.Module, image_set: ImageSet, *, device: str) -> float:
    """Measure the top-1 accuracy of a module, in percent; the module is left in eval mode."""
    module.to(device).eval()
    right = 0.0
    for pixels, labels in image_set[processes.share()].batches(250):
        right += correct(module(model.normalise(pixels).to(device)), labels)
    return 100 * sum(processes.gathered(right)) / len(image_set)


def make_optimiser(module: nn.Module, recipe: Recipe, rate: float) -> torch.optim.Optimizer:
    """Return the optimiser of a recipe for a module's parameters."""
    decay = recipe.weight_decay
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(module.parameters(), rate, weight_decay=decay)
    return torch.optim.SGD(
        module.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=decay
    )
