"""`python -m bloodcell_core VERB …`: see `bloodcell_core.cli`."""

import sys

from bloodcell_core.cli import main

sys.exit(main())
