"""`python -m samlet` is `samlet`."""

import sys

from samlet.cli import main

sys.exit(main())
