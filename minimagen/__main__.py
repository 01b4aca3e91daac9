"""`python -m minimagen` is the command `minimagen`."""

import sys

from .cli import main

sys.exit(main())
