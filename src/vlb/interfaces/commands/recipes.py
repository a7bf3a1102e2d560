"""`vlb recipes`."""


def recipes() -> None:
    """List the recipes, a line each."""
    from vlb.training.recipes import RECIPES, describe

    width = max(map(len, RECIPES))
    for name in RECIPES:
        print(f"{name:<{width}}  {describe(name)}")
