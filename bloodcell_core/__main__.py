"""`python -m bloodcell_core VERB …`: see `bloodcell_core.cli`."""

import os
import sys

# Torch's threads that wait for work sleep instead of spinning, or two trainings on one machine take ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    from bloodcell_core.cli import main

    sys.exit(main())
except KeyboardInterrupt:  # while the libraries were loaded; of a verb `main` tells it
    sys.exit("bloodcell_core: interrupted")
