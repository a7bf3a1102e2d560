"""Recipes: functions that return a complete `Experiment`, each with a first line that says what it is for."""

from collections.abc import Callable

from vlb.base.errors import UserError, suggestion
from vlb.store.experiment import Experiment
from vlb.training.recipes.hierarchies import (
    digits_hvae_bottom_up,
    digits_hvae_top_down,
    digits_ladder,
    digits_mixture,
    digits_vae,
    discrete_table,
    mnist_hvae,
    mnist_ladder,
    mnist_vae,
    table,
    table_vae,
)
from vlb.training.recipes.images import (
    cifar10,
    digits,
    digits_cascade,
    digits_lattices,
    fashion_mnist,
    fashion_mnist_lattices,
    images,
    mnist,
)
from vlb.training.recipes.points import clouds, points
from vlb.training.recipes.sounds import prompts, sound
from vlb.training.recipes.tables import iris, moons, table_diffusion
from vlb.training.recipes.volumes import shapes, volumes

RECIPES: dict[str, Callable[[], Experiment]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
    "images": images,
    "sound": sound,
    "prompts": prompts,
    "volumes": volumes,
    "shapes": shapes,
    "points": points,
    "clouds": clouds,
    "iris": iris,
    "moons": moons,
    "table": table,
    "table-vae": table_vae,
    "table-diffusion": table_diffusion,
    "discrete-table": discrete_table,
    "digits-lattices": digits_lattices,
    "fashion-mnist-lattices": fashion_mnist_lattices,
    "digits-cascade": digits_cascade,
    "digits-mixture": digits_mixture,
    "digits-vae": digits_vae,
    "digits-hvae-bottom-up": digits_hvae_bottom_up,
    "digits-hvae-top-down": digits_hvae_top_down,
    "digits-ladder": digits_ladder,
    "mnist-vae": mnist_vae,
    "mnist-hvae": mnist_hvae,
    "mnist-ladder": mnist_ladder,
}


def recipe(name: str) -> Experiment:
    """The experiment of a named recipe. Raises `UserError` with a suggestion for an unknown name."""
    if name not in RECIPES:
        raise UserError(f"there is no recipe {name!r}; {suggestion(name, RECIPES)}")
    return RECIPES[name]()


def describe(name: str) -> str:
    """One line about a recipe."""
    return (RECIPES[name].__doc__ or "").partition("\n")[0]
