"""What holds for every test: no window, one thread for torch (two collapse on a busy machine), checked shapes."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

# `is_pep484_tower`: an int is a float, as PEP 484 has it and pyright takes it.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook(["diffmaac", "diffmaac_envs"], CHECKER)
