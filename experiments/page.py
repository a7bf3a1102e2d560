"""Write docs/experiments.md from the result files of a budget, and draw its figures anew.

python experiments/page.py [--budget short]
"""

import argparse

from shared.arms import BUDGETS, FIGURES
from shared.book import PAGE, experiments, page
from shared.style import save, styled

from vlb.base.errors import UserError
from vlb.base.files import write_text


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--budget", choices=BUDGETS, default="short")
    budget = arguments.parse_args().budget
    FIGURES.mkdir(parents=True, exist_ok=True)
    with styled():
        for experiment in experiments():
            try:
                save(experiment.draw(experiment.found(budget)), experiment.figure(budget))
            except UserError as error:
                print(f"left out: {error}")
    write_text(PAGE, page(budget))


if __name__ == "__main__":
    main()
