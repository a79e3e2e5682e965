"""`python -m bloodcell_core VERB …`: see `bloodcell_core.cli`."""

import os
import sys

from bloodcell_core.cli import main

# Torch's threads that wait for work sleep instead of spinning, or two trainings on one machine take ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

sys.exit(main())
